package main

import (
	"bytes"
	"fmt"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// ruleGroups are the alert rules as Prometheus and its operator have them.
func ruleGroups() (out []monitoring.RuleGroup) {
	for _, g := range groups {
		x := monitoring.RuleGroup{Name: g.Name}
		for i := range g.Rules {
			r := &g.Rules[i]
			x.Rules = append(x.Rules, monitoring.Rule{
				Alert: r.Alert, Expr: intstr.FromString(r.Expr), For: new(monitoring.Duration(r.For)),
				Labels: map[string]string{"severity": r.Severity}, Annotations: r.annotations(),
			})
		}
		out = append(out, x)
	}
	return out
}

// monitors are what Prometheus' operator reads.
func (p params) monitors() []any {
	return []any{
		monitoring.ServiceMonitor{
			TypeMeta: metav1.TypeMeta{APIVersion: "monitoring.coreos.com/v1", Kind: "ServiceMonitor"}, ObjectMeta: p.meta(aggregator),
			Spec: monitoring.ServiceMonitorSpec{
				Selector:  metav1.LabelSelector{MatchLabels: selector(aggregator)},
				Endpoints: []monitoring.Endpoint{{Port: "metrics", Path: "/metrics", Interval: "30s"}},
			},
		},
		monitoring.PrometheusRule{
			TypeMeta: metav1.TypeMeta{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule"}, ObjectMeta: p.meta("weir"),
			Spec: monitoring.PrometheusRuleSpec{Groups: ruleGroups()},
		},
	}
}

const generated = "# Written by `make generate` from internal/gen/deploygen. Do not edit.\n"

// writeAlerts writes the rules as Prometheus reads them.
func writeAlerts(path string) error {
	b, err := yaml.Marshal(map[string]any{"groups": ruleGroups()})
	if err != nil {
		return err
	}
	head := generated + "# Set the external label weir_url of Prometheus to the address of Weir's page, for the links.\n"
	return os.WriteFile(path, append([]byte(head), b...), 0o644)
}

// writeMonitors writes the objects of Prometheus' operator.
func (p params) writeMonitors(path string) error {
	var b bytes.Buffer
	b.WriteString(generated)
	for _, o := range p.monitors() {
		text, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
