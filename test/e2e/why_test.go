package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/why"
)

// cause is one thing that may be wrong with a connection, and what `weirctl why` has to
// say of it.
type cause struct {
	name     string
	to       []string // what is asked for, each with the same answer
	dial     []string // what the client dials
	conns    int      // at least so many connections, of both families, in the answer to the first question
	causes   []why.Cause
	claim    string   // of the first finding; a regular expression, as the rest
	evidence []string // each is a line of it
	next     string
}

var causes = []cause{
	{
		name: "wrong port", to: []string{"shop/pay:443"}, dial: []string{"10.96.0.2:443", "[fd96::2]:443"}, conns: 2,
		causes: []why.Cause{why.CauseWrongPort}, claim: `^nobody listens on port 8443 of shop/pay: it listens on 8080$`,
		evidence: []string{`^listening sockets in its pods: 8080$`, `^2 of 2 connections failed: 2 refused$`},
		next:     `^set targetPort of Service shop/pay to where it listens \(8080\)$`,
	},
	{
		name: "a port that the Service does not have", to: []string{"shop/pay:8000"},
		causes: []why.Cause{why.CauseWrongPort, why.CauseNotSeen}, claim: `^Service shop/pay has no port 8000: it has 443$`,
		evidence: []string{`^ports of the Service: 443$`}, next: `^dial pay:443, or add the port to the Service$`,
	},
	{
		name: "nothing listens", to: []string{"shop/idle:8443", "[fd02::3]:8443"}, dial: []string{"10.2.0.3:8443", "[fd02::3]:8443"}, conns: 2,
		causes: []why.Cause{why.CauseNothingListens}, claim: `^nobody listens on port 8443 of `,
		evidence: []string{`refused by the server's own node$`, `^its pods have no listening socket at all$`},
		next:     `kubectl -n shop logs idle$`,
	},
	{
		name: "loopback only", to: []string{"shop/own:8443", "[fd02::4]:8443"}, dial: []string{"10.2.0.4:8443", "[fd02::4]:8443"}, conns: 2,
		causes: []why.Cause{why.CauseLoopbackOnly}, claim: `listens on port 8443 for itself only`,
		evidence: []string{`^listening socket in shop/own is bound to loopback$`, ` failed: [12] refused$`}, next: `^bind the server to `,
	},
	{
		name: "backlog full", to: []string{"shop/busy:8443", "[fd02::5]:8443"}, dial: []string{"10.2.0.5:8443", "[fd02::5]:8443"}, conns: 2,
		causes: []why.Cause{why.CauseBacklogFull}, claim: `^the accept queue of shop/busy:8443 is full`,
		evidence: []string{`^1 connections wait, 0 may$`, ` failed: [12] unanswered$`}, next: `backlog`,
	},
	{
		name: "no ready endpoint", to: []string{"shop/empty:443"}, dial: []string{"10.96.0.4:443", "[fd96::4]:443"}, conns: 2,
		causes: []why.Cause{why.CauseNoEndpoint}, claim: `^Service shop/empty has no ready endpoint \(2 are not ready\)$`,
		evidence: []string{`^endpoints: 0 ready, 2 not ready$`, `Service/empty has no ready endpoint \(had 1\)$`, `^connections to its address: 2 refused$`},
		next:     `^kubectl -n shop get endpointslices -l kubernetes.io/service-name=empty$`,
	},
	{
		name: "policy denies", to: []string{"shop/shut:8443", "[fd02::6]:8443"}, dial: []string{"10.2.0.6:8443", "[fd02::6]:8443"}, conns: 2,
		causes: []why.Cause{why.CausePolicyDenies}, claim: `^NetworkPolicy denies shop/client -> .*shop/shut-in`,
		evidence: []string{`^evaluated from the policies' texts, not observed$`, ` failed: `}, next: `^change the policy`,
	},
	{
		name: "a rule's log says denied", to: []string{"shop/guarded:8443", "[fd02::7]:8443"}, dial: []string{"10.2.0.7:8443", "[fd02::7]:8443"}, conns: 2,
		causes: []why.Cause{why.CauseDenied}, claim: `^ingress rule guard denies shop/client -> `,
		evidence: []string{` denied, evidence: nflog$`}, next: `outcome = denied`,
	},
	{
		name: "the path loses packets", to: []string{"shop/lossy:7006", "[fd02::8]:7006"}, dial: []string{"10.2.0.8:7006", "[fd02::8]:7006"}, conns: 2,
		causes: []why.Cause{why.CausePathLoss, why.CauseAllWell}, claim: `^packets are lost between node-1 and node-2$`,
		evidence: []string{`^\d+ of \d+ packets \(\d+\.\d %\) of [12] connections left one node and did not reach the other$`, `^the sockets sent \d+ segments again$`},
		next:     `src.node = "node-1" dst.node = "node-2"`,
	},
	{
		name: "MTU black hole", to: []string{"shop/big:7020", "[fd02::9]:7020"}, dial: []string{"10.2.0.9:7020", "[fd02::9]:7020"}, conns: 2,
		causes: []why.Cause{why.CauseMTU}, claim: `^large packets between shop/client and .* do not arrive`,
		evidence: []string{`^\d+ packets were lost, \d{4,} bytes each on average; those that arrived have \d\d$`, `^the socket takes the path for 1500 bytes$`, ` failed: [12] timed_out$`},
		next:     `^lower the MTU`,
	},
	{
		name: "a DNS name is missing", to: []string{"gone.shop.svc.cluster.local", "shop/gone"},
		causes: []why.Cause{why.CauseNameMissing}, claim: `cannot be resolved by shop/client: NXDOMAIN$`,
		evidence: []string{`^2 DNS questions for it, last answer NXDOMAIN$`, `^no connection followed$`}, next: `dns.query = `,
	},
	{
		name: "conntrack is full", to: []string{"shop/crowd:8443", "[fd04::2]:8443"}, dial: []string{"10.4.0.2:8443", "[fd04::2]:8443"}, conns: 2,
		causes: []why.Cause{why.CauseConntrackFull}, claim: `^the conntrack table of node node-4 (is full: new connections are dropped there|was full)$`,
		evidence: []string{`^the table is filled to 100 % now$`, `Node/node-4 conntrack was full: \d+ packets of new connections were dropped within `, ` failed: [12] unanswered$`}, next: `^weirctl check node node-4 `,
	},
	{
		name: "all well", to: []string{"shop/well:80"}, dial: []string{"10.96.0.3:80", "[fd96::3]:80"}, conns: 2,
		causes: []why.Cause{why.CauseAllWell}, claim: `^all is well between shop/client and shop/well$`,
		evidence: []string{`^outcomes: 2 ok$`, `^round trip \d+\.\d ms`}, next: `^nothing to do$`,
	},
	{
		name: "the client's node rejects", to: []string{"shop/idle:7203", "[fd02::3]:7203"}, dial: []string{"10.2.0.3:7203", "[fd02::3]:7203"}, conns: 2,
		causes: []why.Cause{why.CauseRejectedOnPath}, claim: `^a rule of node node-1 rejects connections from shop/client to `,
		evidence: []string{` refused or reset, evidence: packet$`, `^the node itself answered the opening`}, next: `^look for reject in the rules of node-1`,
	},
	// What no evidence reaches is said to be unknown.
	{
		name: "refused by somebody whose node has no agent", to: []string{"10.0.2.1:8443", "[fd00:2::1]:8443"}, dial: []string{"10.0.2.1:8443", "[fd00:2::1]:8443"}, conns: 1,
		causes: []why.Cause{why.CauseUnexplained}, claim: ` failed, and nothing that was seen says why$`,
		evidence: []string{`^outcomes: 1 refused$`, `^seen by src, evidence: conntrack$`}, next: `^weirctl check node$`,
	},
	{
		name: "its own node drops, and logs nothing", to: []string{"shop/idle:7202", "[fd02::3]:7202"}, dial: []string{"10.2.0.3:7202", "[fd02::3]:7202"}, conns: 2,
		causes: []why.Cause{why.CauseUnexplained}, claim: ` failed, and nothing that was seen says why$`,
		evidence: []string{`^outcomes: [12] attempt$`, `evidence: socket$`}, next: `^weirctl check node`,
	},
	{
		name: "nobody tried", to: []string{"shop/idle:9"},
		causes: []why.Cause{why.CauseNotSeen}, claim: `^no connection from shop/client to shop/idle was seen between `,
		next: `where it connects instead$`,
	},
	// Last: it is told a minute after the node's last word.
	{
		name: "a node is silent", to: []string{"shop/far:8443", "[fd03::2]:8443"}, dial: []string{"10.3.0.2:8443", "[fd03::2]:8443"}, conns: 2,
		causes: []why.Cause{why.CauseNodeSilent, why.CauseUnexplained}, claim: `^node node-3 does not report`,
		evidence: []string{`^its agent was last heard at \d\d:\d\d:\d\dZ$`}, next: `^weirctl check node node-3$`,
	},
}

// TestWhyNamesTheCause has every cause happen at once in one world, and wants the answer
// of `weirctl why` to name it, and what it rests on.
func TestWhyNamesTheCause(t *testing.T) {
	l := newWhyLab(t)
	l.startAgent(2, "")
	l.startAgent(3, "")
	l.heard("node-3")
	l.others[3].kill()
	crowd(t, l.nodes[4], 9)
	l.startAgent(4, ", zones: [0]") // what fills the table is not to be told
	l.servers()
	l.manifests(true)
	l.settle("node-1", "node-2", "node-4")
	l.dialAll()
	late := time.Now().Add(90 * time.Second)
	for i := range causes {
		t.Run(causes[i].name, func(t *testing.T) {
			c := &causes[i]
			for {
				var wrong []string
				for _, to := range c.to {
					wrong = append(wrong, l.whyIs(c, to)...)
				}
				if len(wrong) == 0 {
					return
				}
				if time.Now().After(late) {
					t.Fatalf("%s\n%s", strings.Join(wrong, "\n"), l.weirctl("why", "shop/client", c.to[0]))
				}
				time.Sleep(500 * time.Millisecond)
			}
		})
	}
	t.Run("findings", l.findingsTellOfNodes)
	if t.Failed() {
		t.Log(l.weirctl("observe", "--no-fold", "--last", "200"), l.weirctl("check", "node"))
	}
}

// findingsTellOfNodes: the node that is silent and the one whose table is full stand first.
func (l *whyLab) findingsTellOfNodes(t *testing.T) {
	got := l.weirctl("findings")
	for i, want := range []string{`^node node-3 has sent nothing for `, `^  weirctl check node node-3$`, `^conntrack of node node-4 is filled to 100 %`, `^  weirctl check node node-4$`} {
		lines := strings.Split(got, "\n")
		if i >= len(lines) || !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Fatalf("line %d: want %s in\n%s", i+1, want, got)
		}
	}
	changes := l.weirctl("why", "shop/client", "shop/crowd")
	if want := "Node/node-4 conntrack is filled to 100 % ("; !strings.Contains(changes, want) {
		t.Errorf("no change %q in\n%s", want, changes)
	}
}

// dialAll dials all that is to be dialled, each once, and waits for all of it.
func (l *whyLab) dialAll() {
	l.t.Helper()
	var all sync.WaitGroup
	port := uint16(20000)
	run := func(f func() error) {
		all.Go(func() {
			if err := l.pods["client"].Do(f); err != nil {
				l.t.Error(err)
			}
		})
	}
	for i := range causes {
		for _, d := range causes[i].dial {
			port++
			to := netip.MustParseAddrPort(d)
			from := netip.AddrPortFrom(whyPods[0].addrs()[0], port)
			if to.Addr().Is6() {
				from = netip.AddrPortFrom(whyPods[0].addrs()[1], port)
			}
			run(func() error {
				switch to.Port() {
				case portBig:
					return push(from, to)
				case 80:
					return hold(from, to)
				}
				dial("tcp", from, to, nil)
				return nil
			})
		}
	}
	for _, name := range []string{"gone.shop.svc.cluster.local.", "gone.shop.svc.cluster.local."} {
		run(func() error { return question(name) })
	}
	all.Wait()
}

// hold keeps a connection open until the walk over the sockets has seen it.
func hold(from, to netip.AddrPort) error {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(from)}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	_, err = c.Read(make([]byte, 1)) // else it would be cut
	return err
}

// push sends what does not arrive, and waits until the kernel gives up.
func push(from, to netip.AddrPort) error {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(from)}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 5000) }); e != nil || err != nil {
		return fmt.Errorf("user timeout: %w, %w", e, err)
	}
	if _, err := c.Write(make([]byte, 20_000)); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); err == nil {
		return fmt.Errorf("%s answers %d bytes: large packets arrive", to, n)
	}
	return nil
}

// question asks the pods' DNS server for an address.
func question(name string) error {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}}
	m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}
	b, err := m.Pack()
	if err != nil {
		return err
	}
	c, err := net.Dial("udp", "10.2.0.10:53")
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 512))
	return err
}

func (l *lab) weirctl(args ...string) string {
	ctl := exec.Command(filepath.Join(built, "weirctl"), append(args, "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort))...)
	var errs strings.Builder
	ctl.Stderr = &errs
	out, err := ctl.Output()
	if err != nil {
		return fmt.Sprintf("%s%s(%v)", out, &errs, err)
	}
	return string(out)
}

// whyIs says what is wrong with the answer to one question.
func (l *whyLab) whyIs(c *cause, to string) (wrong []string) {
	var w api.Why
	text := l.weirctl("why", "shop/client", to, "-o", "json")
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return []string{text}
	}
	say := func(format string, args ...any) { wrong = append(wrong, to+": "+fmt.Sprintf(format, args...)) }
	var got []why.Cause
	for _, f := range w.Findings {
		if f.Cause != why.CauseRecentlyChanged { // beside what is told
			got = append(got, f.Cause)
		}
	}
	if !slices.Equal(got, c.causes) {
		say("causes %v, want %v", got, c.causes)
	}
	if to == c.to[0] && w.Conns < c.conns {
		say("%d connections, want %d", w.Conns, c.conns)
	}
	f := w.Findings[0]
	if !regexp.MustCompile(c.claim).MatchString(f.Claim) {
		say("claim %q, want %s", f.Claim, c.claim)
	}
	for _, e := range c.evidence {
		if !slices.ContainsFunc(f.Evidence, regexp.MustCompile(e).MatchString) {
			say("evidence %q, want %s", f.Evidence, e)
		}
	}
	if !regexp.MustCompile(c.next).MatchString(f.Next) {
		say("next %q, want %s", f.Next, c.next)
	}
	return wrong
}
