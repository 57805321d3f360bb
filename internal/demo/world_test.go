package demo

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

func TestManifestsMakeAWorld(t *testing.T) {
	w, err := readWorld(false)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.nodes) != 3 || len(w.pods) != 10 || len(w.services) != 4 {
		t.Fatalf("world has %d nodes, %d pods, %d services; want 3, 10, 4", len(w.nodes), len(w.pods), len(w.services))
	}
	for i := range w.pods {
		p := &w.pods[i]
		for f, a := range p.addrs {
			in := false
			for j := range w.nodes {
				n := &w.nodes[j]
				in = in || n.name == p.node && (n.podCIDRs[f].Contains(a) || p.host && n.addrs[f] == a)
			}
			if !in {
				t.Errorf("pod %s: %s is no address of %s", p.name, a, p.node)
			}
		}
	}
	for i := range w.services {
		s := &w.services[i]
		if len(w.servers(&shape{to: "svc/" + s.name})) == 0 {
			t.Errorf("service %s: no pod stands behind its endpoints", s.name)
		}
	}
}

func TestShapesAreTold(t *testing.T) {
	w, err := readWorld(false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, s := range shapes() {
		if _, err := w.target(&s); err != nil {
			t.Error(err)
		}
		if s.from != outside && w.pod(s.from) == nil {
			t.Errorf("shape %s: no pod %s", s.name, s.from)
		}
		if len(s.want) == 0 {
			t.Errorf("shape %s: no outcome is wanted", s.name)
		}
		key := fmt.Sprint(s.key(), s.phase == after)
		if other, ok := seen[key]; ok {
			t.Errorf("shapes %s and %s cannot be told apart (%s)", s.name, other, key)
		}
		seen[key] = s.name
	}
}

func TestRulesParse(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("nft is not installed; TestWorld loads the rules for real")
	}
	w, err := readWorld(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, rules := range []string{fabricRules(false), fabricRules(true), nodeRules(w, &w.nodes[0]), nodeRules(w, &w.nodes[2])} {
		cmd := exec.Command(nft, "-c", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "not permitted") {
			t.Errorf("nft refuses the rules: %v\n%s\n%s", err, out, rules)
		}
	}
}
