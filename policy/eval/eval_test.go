package eval_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/kube"
	"github.com/weirnet/weir/policy/eval"
)

// cast is the cluster of a truth table, as kubectl would have it.
type cast struct {
	pods     map[string]*cluster.Pod
	nodes    map[string]*cluster.Node
	ns       map[string]*cluster.Namespace
	policies map[string][]*cluster.NetworkPolicy // by namespace
}

func read(t *testing.T, manifests []byte) *cast {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), manifests, 0o600); err != nil {
		t.Fatal(err)
	}
	events, err := kube.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &cast{map[string]*cluster.Pod{}, map[string]*cluster.Node{}, map[string]*cluster.Namespace{}, map[string][]*cluster.NetworkPolicy{}}
	for _, e := range events {
		switch {
		case e.Pod != nil:
			c.pods[e.Pod.Namespace+"/"+e.Pod.Name] = e.Pod
		case e.Node != nil:
			c.nodes[e.Node.Name] = e.Node
		case e.Namespace != nil:
			c.ns[e.Namespace.Name] = e.Namespace
		case e.NetworkPolicy != nil:
			c.policies[e.NetworkPolicy.Namespace] = append(c.policies[e.NetworkPolicy.Namespace], e.NetworkPolicy)
		}
	}
	return c
}

// side finds an end by namespace/pod, node name or address; namespace/pod@6 is a pod by its
// address of IPv6.
func (c *cast) side(t *testing.T, s string) eval.Side {
	t.Helper()
	s, six := strings.CutSuffix(s, "@6")
	if p := c.pods[s]; p != nil {
		out := eval.Side{
			Selectable: !p.HostNetwork, IsNode: p.HostNetwork, Namespace: p.Namespace, Name: p.Name, Node: p.Node,
			Labels: cluster.ParseLabels(p.Labels), Ports: p.Ports,
		}
		for _, a := range p.IPs {
			if a.Is6() == six {
				out.Addr = a
			}
		}
		if n := c.ns[p.Namespace]; n != nil {
			out.NamespaceLabels = cluster.ParseLabels(n.Labels)
		}
		return out
	}
	if n := c.nodes[s]; n != nil {
		return eval.Side{IsNode: true, Node: n.Name, Addr: n.Addresses[0]}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatalf("%s is no pod, node or address of this table", s)
	}
	return eval.Side{Addr: a}
}

var protos = map[string]uint8{"tcp": cluster.ProtoTCP, "udp": cluster.ProtoUDP, "sctp": cluster.ProtoSCTP, "icmp": 1}

// TestTruthTables runs every line "SRC -> DST PORT/PROTO = verdict [: text]".
func TestTruthTables(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no truth tables: %v", err)
	}
	lines := 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var world *cast
			for _, f := range ar.Files {
				if f.Name == "cluster.yaml" {
					world = read(t, f.Data)
					continue
				}
				for n, line := range strings.Split(string(f.Data), "\n") {
					if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
						continue
					}
					lines++
					if got := judge(t, world, line); got != line {
						t.Errorf("%s, %s, line %d:\n got %s\nwant %s", file, f.Name, n+1, got, line)
					}
				}
			}
		})
	}
	if lines < 60 {
		t.Errorf("only %d lines of truth were found", lines)
	}
}

// judge answers a line; the text is compared where the line has one.
func judge(t *testing.T, c *cast, line string) string {
	t.Helper()
	head, want, ok := strings.Cut(line, " = ")
	f := strings.Fields(head)
	if !ok || len(f) != 4 || f[1] != "->" {
		t.Fatalf("%q: want SRC -> DST PORT/PROTO = verdict", line)
	}
	port, proto, _ := strings.Cut(f[3], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || protos[proto] == 0 {
		t.Fatalf("%q: bad port or protocol", line)
	}
	p := &eval.Packet{Src: c.side(t, f[0]), Dst: c.side(t, f[2]), Proto: protos[proto], Port: uint16(n)}
	d := eval.Evaluate(c.policies[p.Src.Namespace], c.policies[p.Dst.Namespace], p)
	got := fmt.Sprintf("%s = %s", head, word(d.Verdict))
	if strings.Contains(want, ": ") {
		got += ": " + d.String()
	}
	return got
}
