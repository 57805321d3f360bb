package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/internal/config"
)

// TestUpToDate compares the committed file with what the source gives.
func TestUpToDate(t *testing.T) {
	want, err := render(defaults())
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../../deploy/observe.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), string(want)); d != "" {
		t.Errorf("deploy/observe.yaml is not what the source gives: run `make generate` (-have +want)\n%s", d)
	}
}

// TestConfigs reads the ConfigMaps as the binaries do.
func TestConfigs(t *testing.T) {
	for _, p := range []params{defaults(), {Version: "v9", Images: "registry.example/weir", Namespace: "obs", Aggregators: 3, Storage: "1Gi"}} {
		out, err := render(p)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for d := range bytes.SplitSeq(out, []byte("\n---\n")) {
			var c corev1.ConfigMap
			if err := yaml.Unmarshal(d, &c); err != nil {
				t.Fatal(err)
			}
			if c.Kind != "ConfigMap" {
				continue
			}
			for file, text := range c.Data {
				seen++
				if file == "agent.yaml" {
					a := config.DefaultAgent()
					if err := config.Load(file, []byte(text), config.AgentKind, a, nil); err != nil {
						t.Error(err)
					}
					if len(a.Send.Aggregators) != p.Aggregators {
						t.Errorf("%d aggregators in the agent's file, want %d", len(a.Send.Aggregators), p.Aggregators)
					}
				} else if err := config.Load(file, []byte(text), config.AggregatorKind, config.DefaultAggregator(), nil); err != nil {
					t.Error(err)
				}
			}
		}
		if seen != 2 {
			t.Errorf("%d configuration files, want 2", seen)
		}
		if s := string(out); !strings.Contains(s, "image: "+p.Images+"/agent:"+p.Version) || !strings.Contains(s, "namespace: "+p.Namespace) {
			t.Error("the parameters are not in the manifests")
		}
	}
}

func TestWrongParams(t *testing.T) {
	p := defaults()
	p.Aggregators = 0
	if _, err := render(p); err == nil {
		t.Error("no aggregator gives no error")
	}
	p = defaults()
	p.Storage = "much"
	if _, err := render(p); err == nil {
		t.Error("a storage that is no quantity gives no error")
	}
}
