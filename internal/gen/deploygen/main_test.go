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

// TestUpToDate compares the committed files with what the source gives.
func TestUpToDate(t *testing.T) {
	all := defaults()
	if err := all.setEvidence("dns,icmp,resets,sockets"); err != nil {
		t.Fatal(err)
	}
	for file, p := range map[string]params{"observe.yaml": defaults(), "observe-evidence.yaml": all} {
		want, err := render(p)
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile("../../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(have), string(want)); d != "" {
			t.Errorf("deploy/%s is not what the source gives: run `make generate` (-have +want)\n%s", file, d)
		}
	}
}

// TestEvidence: each source brings the rights that it needs, and no other.
func TestEvidence(t *testing.T) {
	for list, want := range map[string]string{
		"": "NET_ADMIN", "dns": "NET_ADMIN NET_RAW", "icmp,dns,icmp": "NET_ADMIN NET_RAW", "sockets": "NET_ADMIN SYS_ADMIN /run/netns",
		"sockets,icmp": "NET_ADMIN NET_RAW SYS_ADMIN /run/netns",
	} {
		p := defaults()
		if err := p.setEvidence(list); err != nil {
			t.Fatal(err)
		}
		pod := p.agentPod()
		var got []string
		for _, c := range pod.Containers[0].SecurityContext.Capabilities.Add {
			got = append(got, string(c))
		}
		for _, v := range pod.Volumes {
			if v.HostPath != nil {
				got = append(got, v.HostPath.Path)
			}
		}
		if d := cmp.Diff(strings.Fields(want), got); d != "" || pod.HostPID {
			t.Errorf("%q: host pids %t, %s", list, pod.HostPID, d)
		}
		for _, r := range got[1:] {
			if !strings.Contains(p.rights(), "#   "+r+" ") {
				t.Errorf("%q: %s is not explained in\n%s", list, r, p.rights())
			}
		}
	}
	p := defaults()
	if err := p.setEvidence("dns,socket"); err == nil {
		t.Error("an unknown source is taken")
	}
}

// TestConfigs reads the ConfigMaps as the binaries do.
func TestConfigs(t *testing.T) {
	for _, p := range []params{
		defaults(), {Version: "v9", Images: "registry.example/weir", Namespace: "obs", Aggregators: 3, Storage: "1Gi", Evidence: []string{"dns", "icmp", "resets", "sockets"}},
	} {
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
					if on := len(p.Evidence) > 0; a.Sockets.Enabled != on || a.DNS.Enabled != on || a.ICMP.Enabled != on || a.Resets.Enabled != on {
						t.Errorf("sockets %t, dns %t, icmp %t, want %t", a.Sockets.Enabled, a.DNS.Enabled, a.ICMP.Enabled, on)
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
