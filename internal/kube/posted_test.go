package kube

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodPolicies = `# two documents, one a list
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: pay-in, namespace: shop}
spec:
  podSelector: {matchLabels: {app: pay}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: cart}}}]
    ports: [{port: 8443}]
---
# nothing here
---
apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: db-in}
  spec: {podSelector: {}, policyTypes: [Ingress]}
`

func TestReadPolicies(t *testing.T) {
	list, err := ReadPolicies("p.yaml", []byte(goodPolicies), "data")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list {
		got = append(got, p.Namespace+"/"+p.Name)
	}
	if d := cmp.Diff([]string{"shop/pay-in", "data/db-in"}, got); d != "" {
		t.Error(d)
	}
	if r := list[0].IngressRules; len(r) != 1 || len(r[0].Peers) != 1 || len(r[0].Ports) != 1 || r[0].Ports[0].From != 8443 {
		t.Errorf("%+v", list[0])
	}
}

// TestReadPoliciesErrors: every error names the line and the key.
func TestReadPoliciesErrors(t *testing.T) {
	const head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: a\n  namespace: shop\nspec:\n" // 6 lines
	for text, want := range map[string]string{
		"":                          "p.yaml: it holds no NetworkPolicy",
		"# nothing\n":               "p.yaml: it holds no NetworkPolicy",
		"- a\n":                     "p.yaml:1: a NetworkPolicy is wanted here",
		"a: [\n":                    "p.yaml:",
		"a: 1\na: 2\n":              `p.yaml:2: mapping key "a" already defined at line 1`,
		"kind: Pod\napiVersion: v1": `p.yaml:1: kind: apiVersion "v1" kind "Pod" cannot be simulated`,
		"apiVersion: crd.antrea.io/v1beta1\nkind: ClusterNetworkPolicy":                                    `p.yaml:2: kind: apiVersion "crd.antrea.io/v1beta1" kind "ClusterNetworkPolicy" cannot be simulated`,
		head + "  podSelector: {}\n  ingres: []\n":                                                         `p.yaml:8: unknown field "spec.ingres": did you mean ingress?`,
		head + "  podSelector: {}\n  ingress:\n  - from: []\n  - form: []\n":                               `p.yaml:10: unknown field "spec.ingress[1].form": did you mean from?`,
		head + "  podSelector: {}\n  policyTypes: [Ingress, Egres]\n":                                      `p.yaml:8: spec.policyTypes[1]: "Egres" is unknown`,
		head + "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 10.0.0.0/33\n":     `p.yaml:11: spec.ingress[0].from[0].ipBlock.cidr: "10.0.0.0/33" is no CIDR: write it like 10.0.0.0/16`,
		head + "  podSelector: {}\n  egress:\n  - to: []\n  - ports:\n    - port: 99999\n":                 `p.yaml:11: spec.egress[1].ports[0].port`,
		head + "  podSelector: {}\n  ingress:\n  - ports:\n    - protocol: ICMP\n":                         `p.yaml:10: spec.ingress[0].ports[0].protocol`,
		head + "  podSelector:\n    matchLabels:\n      app: true\n":                                       `p.yaml:8: cannot unmarshal bool into Go struct field LabelSelector.spec.podSelector.matchLabels of type string: put "" around the value`,
		head + "  podSelector: {}\n  ingress:\n  - from:\n    - namespaceSelektor: {}\n":                   `p.yaml:10: unknown field "spec.ingress[0].from[0].namespaceSelektor": did you mean namespaceSelector?`,
		head + "  podSelector: {}\n  ingress:\n  - zzzzzzzzzz: {}\n":                                       `p.yaml:9: unknown field "spec.ingress[0].zzzzzzzzzz": use ports, from`,
		head + "  podSelector:\n    matchExpressions:\n    - {key: a, operator: Is}\n":                     "p.yaml:9: spec.podSelector.matchExpressions[0].operator",
		head + "  podSelector: {}\n  podSelector: {}\n":                                                    `p.yaml:8: mapping key "podSelector" already defined at line 7`,
		head + "  podSelector: {}\n---\n" + head + "  podSelector: {}\n":                                   "p.yaml:9: shop/a stands there twice, first at line 1",
		"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: a}\n":                "p.yaml:1: metadata.name is missing",
		"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: {}\nmetadata:\n  name: a\n":          "p.yaml:4: metadata.namespace is missing",
		"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b, x: 1}":   `p.yaml:3: unknown field "metadata.x": take it out`,
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n": "p.yaml:1: kind",
		strings.Repeat("#", MaxPolicyText+1):                                                               "p.yaml: 1048577 bytes are too many",
		head + "  podSelector: {}\n  ingress: 3\n":                                                         "p.yaml:8: cannot unmarshal number",
		head + "  podSelector: {}\n  1: 2\n":                                                               "p.yaml:",
	} {
		_, err := ReadPolicies("p.yaml", []byte(text), "")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.300s\ngives %v, want %s", text, err, want)
		}
	}
	// All at once.
	_, err := ReadPolicies("p.yaml", []byte(head+"  podSelector: {}\n  ingres: []\n  egres: []\n---\nkind: Pod\n"), "")
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three errors are wanted: %v", err)
	}
}

func FuzzReadPolicies(f *testing.F) {
	f.Add([]byte(goodPolicies))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("a: &a {b: *a}\nkind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nspec: *a"))
	f.Add([]byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 1, endPort: 2}]}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ReadPolicies("p.yaml", text, "shop")
		if err == nil && len(list) == 0 {
			t.Error("neither a policy nor an error")
		}
		for _, p := range list {
			if p.Name == "" || p.Namespace == "" {
				t.Errorf("%+v has no name", p)
			}
		}
		if err != nil && !strings.HasPrefix(err.Error(), "p.yaml:") {
			t.Errorf("the error does not name the file: %v", err)
		}
	})
}
