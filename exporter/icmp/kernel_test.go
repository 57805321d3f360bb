package icmp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/packet"
	"github.com/weirnet/weir/internal/testenv"
)

// lab is pod -- node -- server, where the node is watched, the link to the server has
// an MTU of 1300 bytes, and the node translates pods on their way to 10.3.0.0/24 and fd03::/64.
func lab(t testing.TB) (node, pod, server *testenv.Space) {
	t.Helper()
	testenv.NeedTool(t, "nft")
	testenv.NeedTool(t, "ping")
	node, pod, server = testenv.NewSpace(t), testenv.NewSpace(t), testenv.NewSpace(t)
	testenv.Link(t, node, "va", pod, "eth0")
	testenv.Link(t, node, "vb", server, "eth0")
	node.Sh(`
ip link set vb mtu 1300
ip addr add 10.1.0.1/24 dev va; ip addr add fd01::1/64 dev va nodad
ip addr add 10.2.0.1/24 dev vb; ip addr add fd02::1/64 dev vb nodad
ip route add 10.3.0.0/24 via 10.2.0.2; ip route add fd03::/64 via fd02::2
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
ip route add 10.9.0.0/24 via 10.2.0.2; ip -6 route add prohibit fd09::/64
nft 'add table inet t; add chain inet t n { type nat hook postrouting priority 100; }; add rule inet t n ip daddr 10.3.0.0/24 masquerade; add rule inet t n ip6 daddr fd03::/64 masquerade; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f ip daddr 10.9.0.0/24 reject with icmp type admin-prohibited'`)
	pod.Sh(`ip addr add 10.1.0.2/24 dev eth0; ip addr add fd01::2/64 dev eth0 nodad
ip route add default via 10.1.0.1; ip route add default via fd01::1`)
	server.Sh(`ip link set eth0 mtu 1300; ip addr add 10.2.0.2/24 dev eth0; ip addr add fd02::2/64 dev eth0 nodad
ip addr add 10.3.0.2/24 dev eth0; ip addr add fd03::2/64 dev eth0 nodad
sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
ip route add default via 10.2.0.1; ip route add default via fd02::1`)
	return node, pod, server
}

// send sends a datagram of a size from the pod, whole or not at all, and gives its port.
func send(t testing.TB, from *testenv.Space, addr string, size, hops int) (port uint16) {
	t.Helper()
	err := from.Do(func() error {
		c, err := net.Dial("udp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		v6 := strings.HasPrefix(addr, "[")
		var opt error
		err = raw.Control(func(fd uintptr) {
			if v6 {
				opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, hops)
				return
			}
			opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
			if opt == nil {
				opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, hops)
			}
		})
		if err != nil || opt != nil {
			return fmt.Errorf("%w, %w", err, opt)
		}
		_, err = c.Write(make([]byte, size))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// gather waits until the watcher has told n errors, and a little longer.
func gather(t testing.TB, w *Watcher, n int) []Error {
	t.Helper()
	var got []Error
	late := time.After(10 * time.Second)
	for {
		wait := late
		if len(got) >= n {
			wait = time.After(300 * time.Millisecond)
		}
		select {
		case b := <-w.Errors():
			got = append(got, b...)
		case <-wait:
			return got
		}
	}
}

func watch(t testing.TB, node *testenv.Space) *Watcher {
	t.Helper()
	w, err := Watch(Options{NetNS: node.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		for range w.Errors() { // until it is closed
		}
	})
	return w
}

// TestErrors has routers and hosts make real errors of both families.
func TestErrors(t *testing.T) {
	node, pod, _ := lab(t)
	w := watch(t, node)
	for _, c := range []struct {
		name, to   string
		size, hops int
		from       string
		reason     Reason
		mtu        uint32
	}{
		{"nobody listens", "10.2.0.2:7", 1, 64, "10.2.0.2", PortUnreachable, 0},
		{"nobody listens", "[fd02::2]:7", 1, 64, "fd02::2", PortUnreachable, 0},
		{"nobody listens on the node", "10.1.0.1:7", 1, 64, "10.1.0.1", PortUnreachable, 0},
		{"too big for the node's link", "10.2.0.2:8", 1400, 64, "10.1.0.1", FragmentationNeeded, 1300},
		{"too big for the node's link", "[fd02::2]:8", 1400, 64, "fd01::1", FragmentationNeeded, 1300},
		{"the hop limit ends", "10.2.0.2:9", 1, 1, "10.1.0.1", TimeExceeded, 0},
		{"the hop limit ends", "[fd02::2]:9", 1, 1, "fd01::1", TimeExceeded, 0},
		{"prohibited by a rule", "10.9.0.2:9", 1, 64, "10.1.0.1", Prohibited, 0},
		{"prohibited by a route", "[fd09::2]:9", 1, 64, "fd01::1", Prohibited, 0},
	} {
		port := send(t, pod, c.to, c.size, c.hops)
		to := netip.MustParseAddrPort(c.to)
		src := netip.MustParseAddr("10.1.0.2")
		if to.Addr().Is6() {
			src = netip.MustParseAddr("fd01::2")
		}
		want := Error{
			From: netip.MustParseAddr(c.from), To: src, Reason: c.reason, MTU: c.mtu,
			Quoted:  flow.Tuple{Src: flow.Addr16(src), Dst: flow.Addr16(to.Addr()), SrcPort: port, DstPort: to.Port(), Proto: packet.UDP},
			Opening: true, Own: slices.Contains([]string{"10.1.0.1", "fd01::1"}, c.from) && c.from != to.Addr().String(),
		}
		got := gather(t, w, 1)
		if len(got) != 1 {
			t.Errorf("%s, %s: %d errors, want 1: %+v", c.name, c.to, len(got), got)
			continue
		}
		g := got[0]
		if d := time.Now().UnixMilli() - g.TimeMs; d < 0 || d > 60_000 {
			t.Errorf("%s: time %d", c.name, g.TimeMs)
		}
		g.TimeMs, g.Type, g.Code = 0, 0, 0
		if g != want {
			t.Errorf("%s, %s:\n got %+v\nwant %+v", c.name, c.to, g, want)
		}
	}
	if s := w.Stats(); s.Repeated == 0 || s.Malformed != 0 || s.Dropped != 0 {
		t.Errorf("%+v: what was forwarded passes two interfaces", s)
	}
}

// TestTranslated has the client translated: the error comes with both tuples.
func TestTranslated(t *testing.T) {
	node, pod, _ := lab(t)
	w := watch(t, node)
	for _, c := range []struct{ to, inside, outside string }{
		{"10.3.0.2:7", "10.1.0.2", "10.2.0.1"},
		{"[fd03::2]:7", "fd01::2", "fd02::1"},
	} {
		port := send(t, pod, c.to, 1, 64)
		seen := map[string]uint16{}
		for _, e := range gather(t, w, 2) {
			if e.Reason != PortUnreachable || e.Quoted.DstPort != 7 || e.Own {
				t.Errorf("%s: %+v", c.to, e)
			}
			seen[e.Quoted.SrcAddr().String()] = e.Quoted.SrcPort
		}
		if len(seen) != 2 || seen[c.inside] != port || seen[c.outside] == 0 {
			t.Errorf("%s from port %d: senders %v, want %s and %s", c.to, port, seen, c.inside, c.outside)
		}
	}
}

// TestPing shows that what is no error does not come.
func TestPing(t *testing.T) {
	node, pod, _ := lab(t)
	w := watch(t, node)
	pod.Run("ping", "-c1", "-W5", "10.2.0.2")
	pod.Run("ping", "-c1", "-W5", "fd02::2")
	send(t, pod, "10.2.0.2:7", 1, 64)
	if got := gather(t, w, 1); len(got) != 1 || w.Stats().Malformed != 0 {
		t.Errorf("%+v, %+v, want the one error", got, w.Stats())
	}
}
