package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirnet/weir/internal/testenv"
)

// The ports of the world in which causes are asked for.
const (
	portServer = 8443 // what clients dial
	portMoved  = 8080 // where a server listens instead
	portBig    = 7020 // between the nodes, packets above 1300 bytes vanish without a word
	portDNS    = 53
)

// whyPod is a server of that world, by what is wrong with it.
type whyPod struct {
	name    string
	node, n int
	listen  []uint16
}

var whyPods = []whyPod{
	{"client", 1, 2, nil},
	{"pay-1", 2, 2, []uint16{portMoved}},
	{"idle", 2, 3, nil},
	{"own", 2, 4, nil}, // on loopback
	{"busy", 2, 5, nil},
	{"shut", 2, 6, []uint16{portServer}},
	{"guarded", 2, 7, []uint16{portServer}},
	{"lossy", 2, 8, []uint16{portLossy}},
	{"big", 2, 9, []uint16{portBig}},
	{"names", 2, 10, nil},
	{"far", 3, 2, nil},
	{"crowd", 4, 2, []uint16{portServer}},
}

func (p *whyPod) addrs() [2]netip.Addr {
	return [2]netip.Addr{
		netip.AddrFrom4([4]byte{10, byte(p.node), 0, byte(p.n)}),
		netip.AddrFrom16([16]byte{0: 0xfd, 1: byte(p.node), 15: byte(p.n)}),
	}
}

const whyRouterRules = `table inet path {
	chain forward { type filter hook forward priority filter
		tcp dport 7006 tcp flags & syn == 0 numgen random mod 5 == 0 drop
		tcp dport 7020 meta length > 1300 drop
	}
}
`

// As a node that runs kube-proxy and a CNI with policies has them: "empty" is a Service
// without an endpoint, "shut" is behind a policy that drops without a log.
const whyNodeRules = `table inet node {
	chain services { type nat hook prerouting priority dstnat
		ip daddr 10.96.0.2 tcp dport 443 dnat ip to 10.2.0.2:8443
		ip6 daddr fd96::2 tcp dport 443 dnat ip6 to [fd02::2]:8443
		ip daddr 10.96.0.3 tcp dport 80 dnat ip to 10.2.0.2:8080
		ip6 daddr fd96::3 tcp dport 80 dnat ip6 to [fd02::2]:8080
	}
	chain forward { type filter hook forward priority filter
		ct state established,related accept
		ip daddr 10.96.0.4 reject with icmp type port-unreachable
		ip6 daddr fd96::4 reject with icmpv6 type port-unreachable
		iifname "pod*" tcp dport 7202 drop
		iifname "pod*" ip6 daddr fd02::3 tcp dport 7203 reject with icmpv6 type admin-prohibited
		iifname "pod*" tcp dport 7203 reject with tcp reset
		oifname "pod6" drop
		oifname "pod7" tcp dport 8443 log group 5 prefix "DENY:guard" drop
	}
}
`

// whyLab is client -- node-1 -- router -- three nodes with servers, an agent for each.
type whyLab struct {
	*lab   // its agent is node-1's
	pods   map[string]*testenv.Space
	others map[int]*proc // agents by node
	nodes  map[int]*testenv.Space
}

func newWhyLab(t testing.TB) *whyLab {
	t.Helper()
	testenv.NeedTool(t, "nft")
	l := &whyLab{
		lab:  &lab{world: &world{t: t}, dir: t.TempDir(), apiPort: freePort(t), metrics: freePort(t), agentMetrics: freePort(t), collect: freePort(t)},
		pods: map[string]*testenv.Space{}, others: map[int]*proc{}, nodes: map[int]*testenv.Space{},
	}
	router := newRouter(t, whyRouterRules)
	for k := 1; k <= 4; k++ {
		l.nodes[k] = newNode(t, router, k, whyNodeRules)
	}
	for _, p := range whyPods {
		l.pods[p.name] = newPod(t, l.nodes[p.node], p.node, p.n)
	}
	l.manifests(false)
	l.agg = daemon(t, l.dir, "aggregator", "weir-aggregator", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %[1]s/data
cluster: {manifests: %[1]s/manifests}
collect: {tls: "", tcp: "127.0.0.1:%[2]d"}
correlate: {activeTimeout: 2s, inactiveTimeout: 60s, halfTimeout: 8s}
api: {auth: none, callerRate: 1000, listen: "127.0.0.1:%[3]d"}
metrics: {listen: "127.0.0.1:%[4]d"}
`, l.dir, l.collect, l.apiPort, l.metrics))
	l.agent = l.agentOf(1, l.agentMetrics, "")
	l.agg.start()
	l.waitReady(l.metrics)
	l.agent.start()
	return l
}

// startAgent starts that of one more node.
func (l *whyLab) startAgent(k int, conntrack string) {
	l.t.Helper()
	l.others[k] = l.agentOf(k, freePort(l.t), conntrack)
	l.others[k].start()
}

func (l *whyLab) agentOf(k, metrics int, conntrack string) *proc {
	var spaces []string
	for _, p := range whyPods {
		if p.node == k {
			spaces = append(spaces, l.pods[p.name].Path)
		}
	}
	return daemon(l.t, l.dir, fmt.Sprintf("agent-%d", k), "weir-agent", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AgentConfig
nodeName: node-%d
observeOnly: true
conntrack: {netns: %s, pollInterval: 1s%s}
track: {activeTimeout: 1s, idleTimeout: 2s}
icmp: {enabled: true}
resets: {enabled: true}
dns: {enabled: true}
sockets: {enabled: true, interval: 500ms, netns: [%s]}
nflog: {enabled: true, prefixes: [{group: 5, prefix: "DENY:"}]}
names: {source: manifests, manifests: %s/manifests}
send: {transport: tcp, aggregators: ["127.0.0.1:%d"]}
metrics: {listen: "127.0.0.1:%d"}
`, k, l.nodes[k].Path, conntrack, strings.Join(spaces, ", "), l.dir, l.collect, metrics))
}

// manifests writes the cluster's objects; edited is after somebody tightened a policy
// and the last endpoint of a Service failed its probe.
func (l *whyLab) manifests(edited bool) {
	l.t.Helper()
	var b strings.Builder
	for k := 1; k <= 4; k++ {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Node
metadata: {name: node-%[1]d}
spec: {podCIDR: 10.%[1]d.0.0/24, podCIDRs: [10.%[1]d.0.0/24, "fd0%[1]d::/64"]}
status: {addresses: [{type: InternalIP, address: 10.0.%[1]d.2}, {type: InternalIP, address: "fd00:%[1]d::2"}]}
---
`, k)
	}
	for _, p := range whyPods {
		a := p.addrs()
		fmt.Fprintf(&b, `apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s}, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {nodeName: node-%[2]d}
status: {phase: Running, startTime: "2026-01-01T00:00:00Z", hostIP: 10.0.%[2]d.2, podIP: %[3]s, podIPs: [{ip: %[3]s}, {ip: "%[4]s"}]}
---
`, p.name, p.node, a[0], a[1])
	}
	for i, s := range []struct {
		name           string
		port, target   uint16
		endpoint, ipv6 string
		ready          bool
	}{
		{"pay", 443, portServer, "10.2.0.2", "fd02::2", true},
		{"well", 80, portMoved, "10.2.0.2", "fd02::2", true},
		{"empty", 443, portServer, "10.2.0.3", "fd02::3", !edited},
	} {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop}
spec: {type: ClusterIP, clusterIP: 10.96.0.%[2]d, clusterIPs: [10.96.0.%[2]d, "fd96::%[2]d"], ports: [{name: web, protocol: TCP, port: %[3]d, targetPort: %[4]d}]}
---
`, s.name, i+2, s.port, s.target)
		for family, a := range map[string]string{"IPv4": s.endpoint, "IPv6": s.ipv6} {
			fmt.Fprintf(&b, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]s, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: %[2]s
ports: [{name: web, protocol: TCP, port: %[3]d}]
endpoints: [{addresses: ["%[4]s"], conditions: {ready: %[5]t}}]
---
`, s.name, family, s.target, a, s.ready)
		}
	}
	peer := "client"
	if edited {
		peer = "office"
	}
	fmt.Fprintf(&b, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut-in, namespace: shop}
spec:
  podSelector: {matchLabels: {app: shut}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: %s}}}], ports: [{protocol: TCP, port: %d}]}]
`, peer, portServer)
	dir := filepath.Join(l.dir, "manifests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "new.yaml"), []byte(b.String()), 0o600); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(l.dir, "new.yaml"), filepath.Join(dir, "all.yaml")); err != nil {
		l.t.Fatal(err)
	}
}

// servers let every pod answer, or fail to, as its name says.
func (l *whyLab) servers() {
	l.t.Helper()
	for _, p := range whyPods {
		addrs := p.addrs()
		err := l.pods[p.name].Do(func() error {
			for i, a := range addrs {
				for _, port := range p.listen {
					if err := l.answer(netip.AddrPortFrom(a, port)); err != nil {
						return err
					}
				}
				var err error
				switch p.name {
				case "own":
					err = l.answer(netip.AddrPortFrom([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}[i], portServer))
				case "busy":
					err = fullQueue(l.t, netip.AddrPortFrom(a, portServer))
				case "names":
					err = l.noName(netip.AddrPortFrom(a, portDNS))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			l.t.Fatalf("%s: %v", p.name, err)
		}
	}
}

func (l *whyLab) answer(at netip.AddrPort) error {
	s, err := net.Listen("tcp", at.String())
	if err == nil {
		l.t.Cleanup(func() { _ = s.Close() })
		go answerTCP(s, at.Port())
	}
	return err
}

// noName answers every question with NXDOMAIN.
func (l *whyLab) noName(at netip.AddrPort) error {
	u, err := net.ListenPacket("udp", at.String())
	if err != nil {
		return err
	}
	l.t.Cleanup(func() { _ = u.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response, m.RCode = true, dnsmessage.RCodeNameError
			if b, err := m.Pack(); err == nil {
				_, _ = u.WriteTo(b, from)
			}
		}
	}()
	return nil
}

// heard waits until the aggregator knows what the nodes see.
func (l *lab) heard(nodes ...string) {
	l.t.Helper()
	eventually(l.t, "the nodes' coverage", 60*time.Second, func() error {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/coverage", l.apiPort))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var b strings.Builder
		if err := res.Write(&b); err != nil {
			return err
		}
		if i := slices.IndexFunc(nodes, func(n string) bool { return !strings.Contains(b.String(), `"`+n+`"`) }); i >= 0 {
			return fmt.Errorf("%s has told nothing: %s", nodes[i], b.String())
		}
		return nil
	})
}
