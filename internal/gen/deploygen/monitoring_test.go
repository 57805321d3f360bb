package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// TestWatchIsGenerated: the committed rules and monitors are what the code makes, both have
// the same rules, and every key is one of the operator's types.
func TestWatchIsGenerated(t *testing.T) {
	dir := t.TempDir()
	alerts, monitors := filepath.Join(dir, "alerts"), filepath.Join(dir, "monitors")
	if err := writeWatch(defaults(), alerts, monitors); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for made, file := range map[string]string{alerts: "../../../deploy/alerts/weir.yaml", monitors: "../../../deploy/monitoring.yaml"} {
		if d := cmp.Diff(read(file), read(made)); d != "" {
			t.Errorf("%s: run make generate (-file +code):\n%s", file, d)
		}
	}
	docs := strings.Split(read(monitors), "---\n")
	var m monitoring.ServiceMonitor
	var r monitoring.PrometheusRule
	if err := yaml.UnmarshalStrict([]byte(docs[1]), &m); err != nil {
		t.Error(err)
	}
	if err := yaml.UnmarshalStrict([]byte(docs[2]), &r); err != nil {
		t.Error(err)
	}
	var plain monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict([]byte(read(alerts)), &plain); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(plain.Groups, r.Spec.Groups); d != "" || len(plain.Groups) == 0 {
		t.Errorf("the rules differ:\n%s", d)
	}
	port := false
	for o := range strings.SplitSeq(read("../../../deploy/observe.yaml"), "---\n") {
		port = port || strings.Contains(o, "kind: Service\n") && strings.Contains(o, "name: "+m.Spec.Endpoints[0].Port) && strings.Contains(o, m.Spec.Selector.MatchLabels["app.kubernetes.io/name"])
	}
	if !port {
		t.Error("the ServiceMonitor names no port of a Service of observe.yaml")
	}
}
