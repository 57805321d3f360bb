package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/testenv"
)

const canaryManifests = `---
apiVersion: v1
kind: Pod
metadata: {name: client-2, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {nodeName: node-1}
status: {phase: Running, startTime: "2026-01-01T00:00:00Z", hostIP: 10.0.1.2, podIP: 10.1.1.2, podIPs: [{ip: 10.1.1.2}, {ip: "fd01:1::2"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, "fd96::1"]
  ports: [{name: tcp, protocol: TCP, port: 61996}, {name: udp, protocol: UDP, port: 61997}]
`

// newCanaryWorld is two nodes whose agents probe every way: to each other, from pod to pod
// on one node and across, through a Service, and to a server outside.
func newCanaryWorld(t testing.TB) *twoNodes {
	t.Helper()
	return newTwoNodes(t, twoNodesMore{
		manifests: canaryManifests,
		agent:     "probe: {interval: 12s, wait: 10s, namespace: shop, external: [\"203.0.113.1:443\", \"[2001:db8:113::1]:443\"]}\n",
		world: func(l *twoNodes) (netns [2][]string) {
			second := testenv.NewSpace(t)
			testenv.Link(t, l.nodes[0], "pod3", second, "eth0")
			l.nodes[0].Sh("ip addr add 10.1.1.1/24 dev pod3; ip addr add fd01:1::1/64 dev pod3 nodad")
			second.Sh("ip addr add 10.1.1.2/24 dev eth0; ip addr add fd01:1::2/64 dev eth0 nodad; ip route add default via 10.1.1.1; ip route add default via fd01:1::1")
			l.router.Sh("ip addr add 203.0.113.1/32 dev lo; ip addr add 2001:db8:113::1/128 dev lo nodad")
			l.outside("203.0.113.1", "2001:db8:113::1")
			return [2][]string{{second.Path}, nil}
		},
	})
}

// outside has servers listen at the router's addresses.
func (l *twoNodes) outside(ips ...string) {
	l.t.Helper()
	err := l.router.Do(func() error {
		for _, ip := range ips {
			s, err := net.Listen("tcp", net.JoinHostPort(ip, "443"))
			if err != nil {
				return err
			}
			l.t.Cleanup(func() { _ = s.Close() })
			go answerTCP(s, 0)
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// coverageOf gives the rows of a node at the aggregator by class and family.
func (l *lab) coverageOf(node string) (map[string]coverage.Row, error) {
	out, err := exec.Command(filepath.Join(built, "weirctl"), "check", "node", node, "-o", "json", "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort)).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	var list []coverage.Table
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 {
		return nil, fmt.Errorf("%d tables: %w", len(list), err)
	}
	rows := map[string]coverage.Row{}
	for _, r := range list[0].Rows {
		rows[r.Class+"/"+r.Family] = r
	}
	return rows, nil
}

// TestCanariesOnEveryWay: canaries go between nodes and pods, through a Service and
// outside, by both families; the aggregator finds each booked by every hop, the other
// node's word and all names included; and the nodes' coverage says so beside what
// inspection says. What a rule keeps from conntrack, inspection cannot know, is then no.
func TestCanariesOnEveryWay(t *testing.T) {
	l := newCanaryWorld(t)
	eventually(t, "a run of each node that every hop booked", 120*time.Second, func() error {
		return l.wellProbed()
	})
	all := []string{"same-node", "cross-node", "service", "host", "external"}
	eventually(t, "canaries in the coverage", 60*time.Second, func() error {
		rows, err := l.coverageOf("node-1")
		if err != nil {
			return err
		}
		for _, class := range all {
			for _, family := range []string{"v4", "v6"} {
				if r := rows[class+"/"+family]; r.Seen != coverage.SeenYes || r.Canary != coverage.CanaryBooked {
					return fmt.Errorf("%s/%s: %+v", class, family, r)
				}
			}
		}
		return nil
	})
	l.verifyCrosses()
	l.refusedHere()
	l.hideFromConntrack()
	l.drain()
}

// wellProbed wants the newest judged run of both nodes to be right, on every way.
func (l *twoNodes) wellProbed() error {
	page, err := get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/verify", l.apiPort))
	if err != nil {
		return err
	}
	var list []canary.NodeRuns
	if err := json.Unmarshal([]byte(page), &list); err != nil || len(list) != 2 {
		return fmt.Errorf("%d nodes: %w: %s", len(list), err, page)
	}
	// node-2 has no second pod.
	want := [2]map[string]int{
		{"host": 8 + 6, "same-node": 6, "cross-node": 6, "service": 4, "external": 2},
		{"host": 8 + 6, "cross-node": 6, "external": 2}, // whose Service answers at the client itself, where no rule lets it
	}
	for i, n := range list {
		if n.Verdict == nil || n.Verdict.Broken != "" || n.Result != canary.ResultOK || i == 0 && len(n.Verdict.Skipped) > 0 {
			return fmt.Errorf("%s: %s, skipped %+v", n.Node, n.Result, n.Verdict)
		}
		got := map[string]int{}
		for k := range n.Verdict.Canaries {
			got[n.Verdict.Canaries[k].Class]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want[i]) {
			return fmt.Errorf("%s has canaries %v, want %v", n.Node, got, want[i])
		}
		if !slices.ContainsFunc(n.Verdict.Hops, func(h canary.Hop) bool { return h.Name == canary.StagePeer && slices.Contains(h.States, canary.OK) }) {
			return fmt.Errorf("%s: the other node's word is not asked", n.Node)
		}
	}
	return nil
}

// verifyCrosses: weirctl verify takes the ways from the agent, and names them.
func (l *twoNodes) verifyCrosses() {
	l.t.Helper()
	cmd := exec.Command(filepath.Join(built, "weirctl"), "verify", "--wait", "60s", "--netns", l.nodes[0].Path,
		"--agent", fmt.Sprintf("127.0.0.1:%d", l.agentMetrics), "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort))
	out, err := cmd.CombinedOutput()
	for _, want := range []string{
		"host        v4      node-1       node-2 ", "same-node   v6      shop/client  shop/client-2 ", "cross-node  v4      shop/client  shop/server ",
		"service     v6      shop/client  shop/web (shop/server) ", "external    v4      shop/client  203.0.113.1:443 ", "every hop booked every canary exactly",
	} {
		if err != nil || !strings.Contains(string(out), want) {
			l.t.Errorf("weirctl verify, %v: no %q in\n%s", err, want, out)
		}
	}
	l.t.Logf("%s", out)
}

// refusedHere: a connection that is refused within one node, or across, says by whom; from
// a node to itself nothing proves it.
func (l *twoNodes) refusedHere() {
	l.t.Helper()
	eventually(l.t, "who refused", 30*time.Second, func() error {
		got, err := l.lastRecords()
		if err != nil {
			return err
		}
		seen := map[flow.Scope]int{}
		for _, r := range got {
			if r.Outcome != flow.OutcomeRefused || !r.Canary || !r.Final {
				continue
			}
			want := flow.ResetByDst
			if r.SrcKind == flow.EndNode && r.Scope == flow.ScopeSameNode {
				want = flow.ResetByUnknown
			}
			if r.ResetBy != want {
				return fmt.Errorf("%s to %s port %d: refused by %s, want %s; seen by %s, evidence %06b, half %t, at %d", r.SrcIP, r.DstIP, r.DstPort,
					flow.ResetByWords[r.ResetBy], flow.ResetByWords[want], flow.SeenByWords[r.SeenBy], r.Evidence, r.Half, r.End)
			}
			seen[r.Scope]++
		}
		if seen[flow.ScopeSameNode] == 0 || seen[flow.ScopeCrossNode] == 0 {
			return fmt.Errorf("refused connections by scope: %v", seen)
		}
		return nil
	})
}

// hideFromConntrack: a rule exempts what goes to the other node's pods from tracking. The
// agent's inspection, at loopback, goes on well; the canary does not come.
func (l *twoNodes) hideFromConntrack() {
	l.t.Helper()
	dst := netip.MustParseAddr("10.2.0.2")
	l.nodes[0].Sh(fmt.Sprintf("nft 'add table ip hide; add chain ip hide pre { type filter hook prerouting priority raw; }; add rule ip hide pre ip daddr %s notrack'", dst))
	eventually(l.t, "cross-node v4 to be no", 90*time.Second, func() error {
		rows, err := l.coverageOf("node-1")
		if err != nil {
			return err
		}
		r := rows["cross-node/v4"]
		if r.Seen != coverage.SeenNo || r.Inspected == coverage.SeenNo || r.Canary != coverage.CanaryMissing || !strings.Contains(r.Why, "inspection says partly") ||
			!strings.Contains(r.Why, "the kernel does not track it") || r.Remedy == "" {
			return fmt.Errorf("cross-node/v4: %+v", r)
		}
		if v6 := rows["cross-node/v6"]; v6.Seen != coverage.SeenYes {
			return fmt.Errorf("cross-node/v6: %+v", v6)
		}
		return nil
	})
}
