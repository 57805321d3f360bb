package nflog

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
)

// lab is a node with two pods behind veths, whose rules deny by NFLOG group 5 and 6.
func lab(t testing.TB) (node, a, b *testenv.Space) {
	t.Helper()
	testenv.NeedTool(t, "nft")
	node, a, b = testenv.NewSpace(t), testenv.NewSpace(t), testenv.NewSpace(t)
	testenv.Link(t, node, "va", a, "eth0")
	testenv.Link(t, node, "vb", b, "eth0")
	node.Sh(`
ip addr add 10.1.0.1/24 dev va; ip addr add fd01::1/64 dev va nodad
ip addr add 10.2.0.1/24 dev vb; ip addr add fd02::1/64 dev vb nodad
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
	a.Sh(`ip addr add 10.1.0.2/24 dev eth0; ip addr add fd01::2/64 dev eth0 nodad
ip route add default via 10.1.0.1; ip route add default via fd01::1`)
	b.Sh(`ip addr add 10.2.0.2/24 dev eth0; ip addr add fd02::2/64 dev eth0 nodad
ip route add default via 10.2.0.1; ip route add default via fd02::1`)
	node.Sh(`nft -f - <<'END'
table inet t {
  chain f {
    type filter hook forward priority 0; policy accept;
    tcp dport 80 log prefix "DENY:shop/web ingress-3" group 5 drop
    udp dport 53 log prefix "REJ:dns" group 5 reject
    icmp type echo-request log prefix "DENY:ping" group 6 drop
    icmpv6 type echo-request log prefix "DENY:ping" group 6 drop
    tcp dport 81 log prefix "AUDIT:web" group 5 drop
  }
}
END`)
	return node, a, b
}

var labRules = []Rule{
	{Group: 5, Prefix: "DENY:", Action: flow.RuleActionDrop, Names: NamesBoth},
	{Group: 5, Prefix: "REJ:", Action: flow.RuleActionReject},
	{Group: 6, Prefix: "", Action: flow.RuleActionDrop, Names: NamesNothing},
}

func listen(t testing.TB, o Options) *Listener {
	t.Helper()
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Stop()
		for range l.Denials() { // until it is closed
		}
	})
	return l
}

// attempt sends one SYN or datagram from a pod and gives the client's port.
func attempt(t testing.TB, from *testenv.Space, network, addr string) (port uint16) {
	t.Helper()
	err := from.Do(func() error {
		if network == "udp" {
			c, err := net.Dial("udp", addr)
			if err != nil {
				return err
			}
			defer c.Close()
			port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			_, err = c.Write([]byte("x"))
			return err
		}
		d := net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: &net.TCPAddr{Port: 40000 + int(addr[len(addr)-1])}}
		port = uint16(d.LocalAddr.(*net.TCPAddr).Port)
		c, err := d.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return errors.New(addr + " answered, though a rule drops it")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// next gives the next denial.
func next(t testing.TB, l *Listener, held *[]Denial) Denial {
	t.Helper()
	for len(*held) == 0 {
		select {
		case b, ok := <-l.Denials():
			if !ok {
				t.Fatal("the listener ended")
			}
			*held = b
		case <-time.After(10 * time.Second):
			t.Fatalf("no denial came; %+v", l.Stats())
		}
	}
	d := (*held)[0]
	*held = (*held)[1:]
	return d
}

// TestDenials has real rules deny real packets of both families.
func TestDenials(t *testing.T) {
	node, a, _ := lab(t)
	l := listen(t, Options{NetNS: node.Path, Rules: labRules})
	var held []Denial
	for _, c := range []struct {
		network, addr string
		want          Denial
	}{
		{"tcp", "10.2.0.2:80", Denial{Group: 5, Prefix: "DENY:shop/web ingress-3", Action: flow.RuleActionDrop, Policy: "shop/web", Rule: "ingress-3"}},
		{"tcp", "[fd02::2]:80", Denial{Group: 5, Prefix: "DENY:shop/web ingress-3", Action: flow.RuleActionDrop, Policy: "shop/web", Rule: "ingress-3"}},
		{"udp", "10.2.0.2:53", Denial{Group: 5, Prefix: "REJ:dns", Action: flow.RuleActionReject, Rule: "dns"}},
		{"udp", "[fd02::2]:53", Denial{Group: 5, Prefix: "REJ:dns", Action: flow.RuleActionReject, Rule: "dns"}},
	} {
		before := time.Now().UnixMilli()
		port := attempt(t, a, c.network, c.addr)
		got := next(t, l, &held)
		to, _ := net.ResolveTCPAddr("tcp", c.addr)
		c.want.Hook, c.want.In, c.want.Out = Forward, "va", "vb"
		from := "10.1.0.2"
		if to.IP.To4() == nil {
			from = "fd01::2"
		}
		if got.TimeMs < before-1000 || got.TimeMs > time.Now().UnixMilli()+1000 {
			t.Errorf("%s %s: at %d, sent at %d", c.network, c.addr, got.TimeMs, before)
		}
		if got.Tuple.SrcAddr().String() != from || got.Tuple.SrcPort != port || got.Tuple.DstAddr().String() != to.AddrPort().Addr().Unmap().String() || got.Tuple.DstPort != uint16(to.Port) {
			t.Errorf("%s %s: tuple %v from port %d", c.network, c.addr, got.Tuple, port)
		}
		got.TimeMs, got.Tuple = 0, flow.Tuple{}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.network, c.addr, d)
		}
	}
	for _, to := range []string{"10.2.0.2", "fd02::2"} {
		testenv.NeedTool(t, "ping")
		_ = a.Command("ping", "-c1", "-W1", to).Run() // it is denied
		got := next(t, l, &held)
		if want := map[string]uint16{"10.2.0.2": 8 << 8, "fd02::2": 128 << 8}[to]; got.Tuple.DstPort != want || got.Tuple.SrcPort == 0 || got.Group != 6 || got.Rule != "" {
			t.Errorf("ping %s: %+v", to, got)
		}
	}
	attempt(t, a, "tcp", "10.2.0.2:81")
	for until := time.Now().Add(10 * time.Second); l.Stats().Unmatched == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("a prefix that no rule names was not counted: %+v", l.Stats())
		}
	}
	if s := l.Stats(); s.Lost != 0 || s.Malformed != 0 || s.Dropped != 0 || s.Denials != 6 {
		t.Errorf("stats %+v, want 6 denials and nothing lost", s)
	}
}

// TestTakenGroup has a second reader ask for a group that has one.
func TestTakenGroup(t *testing.T) {
	node := testenv.NewSpace(t)
	listen(t, Options{NetNS: node.Path, Rules: labRules})
	_, err := Listen(Options{NetNS: node.Path, Rules: labRules})
	if !errors.Is(err, unix.EPERM) {
		t.Fatalf("error %v, want EPERM", err)
	}
	if e := Status(true, err); e.On || e.Why != "NFLOG group 5: operation not permitted: another process reads it (ulogd? log to a second group for this agent), or CAP_NET_ADMIN is missing" {
		t.Errorf("status %+v", e)
	}
}

// TestOverrun floods a listener whose buffers are small and whose reader sleeps:
// what is told, dropped and lost adds up to what was logged.
func TestOverrun(t *testing.T) {
	node := testenv.NewSpace(t)
	testenv.NeedTool(t, "nft")
	node.Sh(`nft 'add table inet t; add chain inet t o { type filter hook output priority 0; }; add rule inet t o udp dport 9 counter log prefix "DENY:flood" group 5 drop'`)
	l := listen(t, Options{NetNS: node.Path, Receive: 4 << 10, Queue: 1, Rules: labRules[:1]})
	const sent = 20000
	err := node.Do(func() error {
		c, err := net.Dial("udp", "127.0.0.1:9")
		if err != nil {
			return err
		}
		defer c.Close()
		for range sent {
			_, _ = c.Write([]byte("x")) // EPERM: dropped
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	drain := func() {
		for {
			select {
			case b := <-l.Denials():
				told += len(b)
			case <-time.After(500 * time.Millisecond):
				return
			}
		}
	}
	drain()
	// The gap is known when the next message comes.
	_ = node.Do(func() error {
		c, err := net.Dial("udp", "127.0.0.1:9")
		if err == nil {
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
		return err
	})
	drain()
	s := l.Stats()
	if int(s.Denials) != told || s.Dropped == 0 || s.Denials+s.Dropped+s.Lost != sent+1 {
		t.Errorf("told %d of %d; %+v: told, dropped and lost do not add up", told, sent+1, s)
	}
	t.Logf("%+v", s)
}
