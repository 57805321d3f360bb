package kube

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

const world = `# two objects and a list
apiVersion: v1
kind: Node
metadata: {name: n1, uid: 00000000-0000-4000-8000-00000000000a, labels: {topology.kubernetes.io/zone: za}}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: n1}]}
---
# nothing but a comment
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata:
    name: web-7f-a
    namespace: shop
    labels: {pod-template-hash: 7f, app: web}
    ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-7f, uid: x, controller: true}]
  spec: {nodeName: n1, containers: [{name: c, image: x, ports: [{containerPort: 8080}]}]}
  status: {podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}, {ip: "fd00:1::5"}]}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], ports: [{name: http, port: 80, targetPort: 8080}]}
`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", world)
	write(t, dir, "notes.txt", "no manifest")
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []cluster.Event{
		{Node: &cluster.Node{
			Name: "n1", UID: cluster.UID{6: 0x40, 8: 0x80, 15: 10}, Zone: "za", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		}},
		{Pod: &cluster.Pod{
			Namespace: "shop", Name: "web-7f-a", Node: "n1", IPs: []netip.Addr{netip.MustParseAddr("10.244.1.5"), netip.MustParseAddr("fd00:1::5")},
			Ports: []cluster.Port{{Proto: 6, Number: 8080}}, Owner: cluster.Owner{Kind: "ReplicaSet", Name: "web-7f"}, TemplateHash: "7f", Images: []string{"x"},
			Labels: `{"app":"web","pod-template-hash":"7f"}`,
		}},
		{Service: &cluster.Service{
			Namespace: "shop", Name: "web", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.7")},
			Ports: []cluster.Port{{Name: "http", Proto: 6, Number: 80, Target: 8080}},
		}},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// TestLoadErrors wants every error to say where it is and what to do.
func TestLoadErrors(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown field", "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nspec: {nodName: n1}\n", `a.yaml: document 2: Pod a: unknown field "spec.nodName"`},
		{"wrong type", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nspec: {hostNetwork: 3}\n", `a.yaml: document 1: Pod a: cannot unmarshal number into Go struct field PodSpec.spec.hostNetwork of type bool`},
		{"address", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nstatus: {podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.256}]}\n", `a.yaml: document 1: Pod a: status.podIPs[1].ip: "10.0.0.256" is no IP address`},
		{"port", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: {ports: [{port: 70000}]}\n", `a.yaml: document 1: Service a: spec.ports[0].port: 70000 is no port: 1 to 65535`},
		{"protocol", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: {ports: [{port: 70, protocol: tcp}]}\n", `a.yaml: document 1: Service a: spec.ports[0].protocol: "tcp" is no protocol: TCP, UDP or SCTP`},
		{"kind", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", `a.yaml: document 1: apiVersion "apps/v1" kind "Deployment" names no flow: keep Pod, Node, Service, Namespace (v1), EndpointSlice (discovery.k8s.io/v1), ReplicaSet (apps/v1) and NetworkPolicy (networking.k8s.io/v1) here`},
		{"no name", "apiVersion: v1\nkind: Pod\nmetadata: {namespace: b}\n", `a.yaml: document 1: Pod: metadata.name is missing`},
		{"no namespace", "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\n", `a.yaml: document 1: Pod b: metadata.namespace is missing: write default if that is meant`},
		{"twice", "apiVersion: v1\nkind: Node\nmetadata: {name: b}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: b}\n", `a.yaml: document 2: Node b: stands here twice, first in DIR/a.yaml: document 1: Node b`},
		{"syntax", "apiVersion: v1\nkind: [Node\n", `a.yaml: document 1: line 2: did not find expected ',' or ']'`},
		{"in a list", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Node, metadata: {name: no1}, x: 1}]\n", `a.yaml: document 1: items[0]: Node no1: unknown field "x"`},
		{"CIDR", "apiVersion: v1\nkind: Node\nmetadata: {name: no1}\nspec: {podCIDR: 10.0.0.0}\n", `a.yaml: document 1: Node no1: spec.podCIDRs: "10.0.0.0" is no CIDR`},
		{"policy field", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelektor: {}}\n", `a.yaml: document 1: NetworkPolicy a: unknown field "spec.podSelektor"`},
		{"policy type", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, policyTypes: [In]}\n", `a.yaml: document 1: NetworkPolicy a: spec.policyTypes[0]: "In" is unknown: use Ingress or Egress`},
		{"policy operator", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}\n", `a.yaml: document 1: NetworkPolicy a: spec.podSelector.matchExpressions[0].operator: "in" is unknown: use In, NotIn, Exists or DoesNotExist`},
		{"policy values", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {matchExpressions: [{key: a, operator: In}]}}\n", `a.yaml: document 1: NetworkPolicy a: spec.podSelector.matchExpressions[0].values: operator In needs at least one value`},
		{"policy no values", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.ingress[0].from[0].namespaceSelector.matchExpressions[0].values: operator Exists takes none`},
		{"policy peer", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, ingress: [{from: [{}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.ingress[0].from[0]: a peer needs ipBlock, podSelector or namespaceSelector`},
		{"policy two peers", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, egress: [{to: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.egress[0].to[0]: ipBlock and selectors exclude each other: make them two peers`},
		{"policy block", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0}}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.egress[0].to[0].ipBlock.cidr: "10.0.0.0" is no CIDR: write it like 10.0.0.0/16`},
		{"policy except", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.egress[0].to[0].ipBlock.except[0]: "11.0.0.0/16" is no CIDR within 10.0.0.0/8`},
		{"policy port", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, ingress: [{ports: [{port: 0}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.ingress[0].ports[0].port: 0 is no port: 1 to 65535`},
		{"policy end port", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 79}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.ingress[0].ports[0].endPort: 79 is below port 80`},
		{"policy named range", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, ingress: [{ports: [{port: web, endPort: 79}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.ingress[0].ports[0].port: a named port needs a name, and takes no endPort`},
		{"policy protocol", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}, ingress: [{ports: [{protocol: ICMP}]}]}\n", `a.yaml: document 1: NetworkPolicy a: spec.ingress[0].ports[0].protocol: "ICMP" is no protocol: TCP, UDP or SCTP`},
	} {
		dir := t.TempDir()
		write(t, dir, "a.yaml", c.yaml)
		_, err := Load(dir)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), dir+"/"); got != strings.ReplaceAll(c.want, "DIR", dir) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there gives no error")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(world))
	f.Fuzz(func(_ *testing.T, data []byte) { loadFile("f", data, map[ref]object{}) })
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

// TestDir changes a directory under a running source: right, wrong, right again.
func TestDir(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", world)
	m := cluster.NewModel(cluster.DefaultLimits())
	d := FromDir(dir, m, Deps{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	eventually(t, "synced", d.Ready)
	at := flow.Addr16(netip.MustParseAddr("10.244.1.5"))
	who := func(ms int64) string {
		if id := m.Index().Lookup(at, 6, 80, ms); id != nil {
			return id.Name
		}
		return ""
	}
	before := time.Now().UnixMilli()
	if got := who(before - 3600_000); got != "web-7f-a" {
		t.Errorf("an hour ago: %q: what the directory begins with describes the past as well", got)
	}

	write(t, dir, "a.yaml", strings.ReplaceAll(world, "nodeName", "noodName"))
	eventually(t, "stale", func() bool { return d.Status().Stale })
	if s := d.Status(); !strings.Contains(s.Error, "noodName") || who(before) != "web-7f-a" {
		t.Errorf("after a wrong change: %+v, %q", s, who(before))
	}

	write(t, dir, "a.yaml", strings.ReplaceAll(world, "web-7f-a", "web-7f-b"))
	eventually(t, "the new pod", func() bool { return who(time.Now().UnixMilli()) == "web-7f-b" })
	if s := d.Status(); s.Stale || s.Error != "" || s.Errors != 1 {
		t.Errorf("after a right change: %+v", s)
	}
	if got := who(before); got != "web-7f-a" {
		t.Errorf("flows of before the change are now of %q", got)
	}
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "empty", func() bool { return m.Stats().Pods == 0 && m.Stats().Nodes == 0 && m.Stats().Services == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	write(t, dir, "a.yaml", "kind: [")
	if err := FromDir(dir, m, Deps{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "a.yaml: document 1") {
		t.Errorf("a directory that is wrong from the start: %v", err)
	}
}

func TestHostNode(t *testing.T) {
	e, err := HostNode("h")
	if err != nil || e.Node.Name != "h" {
		t.Error(e, err)
	}
}

// TestNetworkPolicy reads every part of a policy.
func TestNetworkPolicy(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop, uid: 00000000-0000-4000-8000-00000000000b, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  podSelector: {matchLabels: {z: "1", a: "2"}, matchExpressions: [{key: k, operator: NotIn, values: [v]}]}
  ingress:
  - from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 10.0.0.7/8, except: [10.1.0.0/16]}}]
    ports: [{port: 80}, {port: http}, {protocol: UDP, port: 53, endPort: 55}, {protocol: SCTP}]
  egress: [{}]
`)
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, web := cluster.Selector{}, cluster.Selector{{Key: "app", Op: cluster.In, Values: []string{"web"}}}
	want := []cluster.Event{{NetworkPolicy: &cluster.NetworkPolicy{
		Namespace: "shop", Name: "p", UID: cluster.UID{6: 0x40, 8: 0x80, 15: 11}, StartMs: 1767225600000, Ingress: true, Egress: true,
		Pods: cluster.Selector{{Key: "a", Op: cluster.In, Values: []string{"2"}}, {Key: "z", Op: cluster.In, Values: []string{"1"}}, {Key: "k", Op: cluster.NotIn, Values: []string{"v"}}},
		IngressRules: []cluster.PolicyRule{{
			Peers: []cluster.PolicyPeer{
				{Namespaces: &all, Pods: &web},
				{Block: netip.MustParsePrefix("10.0.0.0/8"), Except: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
			},
			Ports: []cluster.PolicyPort{{Proto: 6, From: 80, To: 80}, {Proto: 6, Name: "http"}, {Proto: 17, From: 53, To: 55}, {Proto: 132}},
		}},
		EgressRules: []cluster.PolicyRule{{}},
	}}}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}
