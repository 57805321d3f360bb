package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
)

// Ports of the two-node world. What happens to a connection is in its port.
const (
	portOK        = 7000 // answered
	portResetDst  = 7001 // the server resets
	portResetSrc  = 7002 // answered; the client resets
	portVanish    = 7003 // answered; then both ends are silent
	portMute      = 7004 // arrives, and nothing comes back
	portNobody    = 7005 // nobody listens
	portLossy     = 7006 // answered; one packet in five is lost between the nodes
	portPathRST   = 7010 // a router answers in the server's name
	portPathICMP  = 7011 // a router says that it is prohibited
	portLost      = 7012 // what is sent is lost between the nodes
	portReplyLost = 7013 // what comes back is lost between the nodes
	portHalf      = 7014 // the answer comes to the client's node and not to the client
	portSrcDeny   = 7201 // the client's node logs and drops
	portSrcDrop   = 7202 // the client's node drops
	portSrcRST    = 7203 // the client's node rejects
	portDstDeny   = 7204 // the server's node logs and drops
	portDstRST    = 7205 // the server's node rejects
)

const routerRules = `table inet path {
	chain forward { type filter hook forward priority filter
		tcp dport 7010 reject with tcp reset
		meta l4proto { tcp, udp } th dport 7011 reject with icmpx type admin-prohibited
		meta l4proto { tcp, udp } th dport 7012 drop
		meta l4proto { tcp, udp } th sport 7013 drop
		tcp dport 7006 tcp flags & syn == 0 numgen random mod 5 == 0 drop
	}
}
`

// Both nodes have the same rules; each acts on what leaves or enters its own pod.
const nodeRules = `table inet node {
	chain services { type nat hook prerouting priority dstnat
		ip daddr 10.96.0.1 dnat ip to 10.2.0.2
		ip6 daddr fd96::1 dnat ip6 to fd02::2
	}
	chain forward { type filter hook forward priority filter
		ct state established,related accept
		iifname "pod2" meta l4proto { tcp, udp } th dport 7201 log group 5 prefix "DENY:no-egress" drop
		iifname "pod2" tcp dport 7202 drop
		iifname "pod2" tcp dport 7203 reject with tcp reset
		oifname "pod2" meta l4proto { tcp, udp } th dport 7204 log group 5 prefix "DENY:guard" drop
		oifname "pod2" tcp dport 7205 reject with tcp reset
	}
}
`

// Short timeouts, so that a connection that died proves it.
const nodeSysctls = `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
cd /proc/sys/net/netfilter
for s in acct=1 timestamp=1 udp_timeout=3 udp_timeout_stream=5 tcp_timeout_syn_sent=4 tcp_timeout_syn_recv=4 tcp_timeout_established=10 \
	tcp_timeout_fin_wait=5 tcp_timeout_close_wait=5 tcp_timeout_last_ack=5 tcp_timeout_time_wait=3 tcp_timeout_close=3; do
	echo ${s#*=} > nf_conntrack_${s%=*}
done
`

const manifestsYAML = `apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24, "fd01::/64"]}
status: {addresses: [{type: InternalIP, address: 10.0.1.2}, {type: InternalIP, address: "fd00:1::2"}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
spec: {podCIDR: 10.2.0.0/24, podCIDRs: [10.2.0.0/24, "fd02::/64"]}
status: {addresses: [{type: InternalIP, address: 10.0.2.2}, {type: InternalIP, address: "fd00:2::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {nodeName: node-1}
status: {phase: Running, startTime: "2026-01-01T00:00:00Z", hostIP: 10.0.1.2, podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}, {ip: "fd01::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {nodeName: node-2}
status: {phase: Running, startTime: "2026-01-01T00:00:00Z", hostIP: 10.0.2.2, podIP: 10.2.0.2, podIPs: [{ip: 10.2.0.2}, {ip: "fd02::2"}]}
`

// twoNodes is client pod -- node-1 -- router -- node-2 -- server pod, with an agent for
// each node and one aggregator.
type twoNodes struct {
	*lab          // its agent is node-1's
	agent2        *proc
	client, serve *testenv.Space
	nodes         [2]*testenv.Space
	router        *testenv.Space
}

// twoNodesMore is what a test has beyond the plain world.
type twoNodesMore struct {
	manifests string                                // further objects
	agent     string                                // further keys of the agents
	aggregate string                                // further keys of the aggregator
	slow      bool                                  // the table is read, and the live told, every minute only
	defaults  bool                                  // every time is the product's own
	world     func(l *twoNodes) (netns [2][]string) // further namespaces, and those of pods on each node
}

// times are keys of the configurations.
type times struct{ poll, track, sockets, correlate string }

func (m *twoNodesMore) times() times {
	if m.defaults {
		return times{}
	}
	every := "1s"
	if m.slow {
		every = "60s"
	}
	return times{
		", pollInterval: " + every, "activeTimeout: " + every + ", idleTimeout: 60s", ", interval: 500ms",
		"activeTimeout: 2s, inactiveTimeout: 60s, halfTimeout: 8s",
	}
}

// newSpaces makes the namespaces, and gives the nodes'.
func (l *twoNodes) newSpaces() {
	l.router = newRouter(l.t, routerRules)
	var pods [2]*testenv.Space
	for i := range l.nodes {
		l.nodes[i] = newNode(l.t, l.router, i+1, nodeRules)
		pods[i] = newPod(l.t, l.nodes[i], i+1, 2)
	}
	l.client, l.serve = pods[0], pods[1]
	l.serve.Sh("nft 'add table inet pod; add chain inet pod in { type filter hook input priority 0; }; add rule inet pod in tcp dport 7004 drop'")
	l.client.Sh("nft 'add table inet pod; add chain inet pod in { type filter hook input priority 0; }; add rule inet pod in tcp sport 7014 drop'")
}

// newRouter makes what lies between the nodes.
func newRouter(t testing.TB, rules string) *testenv.Space {
	t.Helper()
	router := testenv.NewSpace(t)
	router.Sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0\nnft -f - <<R\n" + rules + "R")
	return router
}

// newNode makes node k: 10.0.k.2 and fd00:k::2 towards the router, which sends it what is
// for its pods, 10.k.0.0/24 and fd0k::/64.
func newNode(t testing.TB, router *testenv.Space, k int, rules string) *testenv.Space {
	t.Helper()
	node := testenv.NewSpace(t)
	testenv.Link(t, router, fmt.Sprintf("node%d", k), node, "eth0")
	router.Sh(fmt.Sprintf(`ip addr add 10.0.%[1]d.1/24 dev node%[1]d; ip addr add fd00:%[1]d::1/64 dev node%[1]d nodad
ip route add 10.%[1]d.0.0/24 via 10.0.%[1]d.2; ip route add fd0%[1]d::/64 via fd00:%[1]d::2`, k))
	node.Sh(nodeSysctls + fmt.Sprintf(`ip addr add 10.0.%[1]d.2/24 dev eth0; ip addr add fd00:%[1]d::2/64 dev eth0 nodad
ip route add default via 10.0.%[1]d.1; ip route add default via fd00:%[1]d::1
nft -f - <<R
%[2]sR`, k, rules))
	return node
}

// newPod makes a pod of node k: 10.k.0.n and fd0k::n, behind the node's link podN.
func newPod(t testing.TB, node *testenv.Space, k, n int) *testenv.Space {
	t.Helper()
	pod := testenv.NewSpace(t)
	testenv.Link(t, node, fmt.Sprintf("pod%d", n), pod, "eth0")
	node.Sh(fmt.Sprintf(`ip addr add 10.%[1]d.0.1/32 dev pod%[2]d; ip addr add fd0%[1]d::1/128 dev pod%[2]d nodad
ip route add 10.%[1]d.0.%[2]d dev pod%[2]d; ip route add fd0%[1]d::%[2]x dev pod%[2]d`, k, n))
	pod.Sh(fmt.Sprintf(`ip addr add 10.%[1]d.0.%[2]d/24 dev eth0; ip addr add fd0%[1]d::%[2]x/64 dev eth0 nodad
sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
ip route add default via 10.%[1]d.0.1; ip route add default via fd0%[1]d::1`, k, n))
	return pod
}

func newTwoNodes(t testing.TB, more twoNodesMore) *twoNodes {
	t.Helper()
	testenv.NeedTool(t, "nft")
	l := &twoNodes{lab: &lab{world: &world{t: t}, dir: t.TempDir(), apiPort: freePort(t), metrics: freePort(t), agentMetrics: freePort(t), collect: freePort(t)}}
	l.newSpaces()
	var pods [2][]string
	if more.world != nil {
		pods = more.world(l)
	}
	manifests := filepath.Join(l.dir, "manifests")
	if err := os.Mkdir(manifests, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(manifests, "all.yaml"), []byte(manifestsYAML+more.manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	times := more.times()
	l.agg = daemon(t, l.dir, "aggregator", "weir-aggregator", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %[1]s/data
collect: {tls: "", tcp: "127.0.0.1:%[2]d"}
correlate: {%[6]s}
api: {auth: none, callerRate: 1000, listen: "127.0.0.1:%[3]d"}
metrics: {listen: "127.0.0.1:%[4]d"}
sinks:
- name: file
  kind: jsonl
  spool: {batchAge: 100ms, fsyncEvery: 50ms}
  jsonl: {path: %[1]s/flows.jsonl, maxBytes: 1000000000}
%[5]s`, l.dir, l.collect, l.apiPort, l.metrics, more.aggregate, times.correlate))
	agent := func(i, metrics int, pod *testenv.Space) *proc {
		return daemon(t, l.dir, fmt.Sprintf("agent-%d", i), "weir-agent", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AgentConfig
nodeName: node-%[1]d
observeOnly: true
conntrack: {netns: %[2]s%[7]s}
track: {%[9]s}
icmp: {enabled: true}
resets: {enabled: true}
sockets: {enabled: true, netns: [%[3]s]%[10]s}
nflog: {enabled: true, prefixes: [{group: 5, prefix: "DENY:"}]}
names: {source: manifests, manifests: %[4]s}
send: {transport: tcp, aggregators: ["127.0.0.1:%[5]d"]}
metrics: {listen: "127.0.0.1:%[6]d"}
%[8]s`, i, l.nodes[i-1].Path, strings.Join(append(pods[i-1], pod.Path), ", "), manifests, l.collect, metrics, times.poll, more.agent, times.track, times.sockets))
	}
	metrics2 := freePort(t)
	l.agent, l.agent2 = agent(1, l.agentMetrics, l.client), agent(2, metrics2, l.serve)
	l.startAll()
	l.agent2.start()
	l.waitReady(metrics2)
	return l
}

// settle waits until the silence of each node says something: its coverage is known, and
// it was sound since before the tolerance between two clocks.
func (l *lab) settle(nodes ...string) {
	l.t.Helper()
	const tolerance = 5 * time.Second
	l.heard(nodes...)
	time.Sleep(tolerance + 3*time.Second)
}

// targets are the ways to the server: family, and direct or through a Service.
var targets = []struct {
	name    string
	addr    netip.Addr
	client  netip.Addr
	service bool
}{
	{"v4", netip.MustParseAddr("10.2.0.2"), netip.MustParseAddr("10.1.0.2"), false},
	{"v6", netip.MustParseAddr("fd02::2"), netip.MustParseAddr("fd01::2"), false},
	{"v4 by Service", netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.1.0.2"), true},
	{"v6 by Service", netip.MustParseAddr("fd96::1"), netip.MustParseAddr("fd01::2"), true},
}
