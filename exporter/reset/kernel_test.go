package reset

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
)

// lab is pod -- node -- server, where the node is watched. It gives the server a
// virtual address of each family, and rejects what goes to port 99 there.
func lab(t testing.TB) (node, pod, server *testenv.Space) {
	t.Helper()
	testenv.NeedTool(t, "nft")
	node, pod, server = testenv.NewSpace(t), testenv.NewSpace(t), testenv.NewSpace(t)
	testenv.Link(t, node, "va", pod, "eth0")
	testenv.Link(t, node, "vb", server, "eth0")
	node.Sh(`
ip addr add 10.1.0.1/24 dev va; ip addr add fd01::1/64 dev va nodad
ip addr add 10.2.0.1/24 dev vb; ip addr add fd02::1/64 dev vb nodad
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
nft -f - <<R
table inet t {
	chain n { type nat hook prerouting priority dstnat; ip daddr 10.96.0.1 dnat ip to 10.2.0.2; ip6 daddr fd96::1 dnat ip6 to fd02::2; }
	chain f { type filter hook forward priority filter; tcp dport 99 reject with tcp reset; }
}
R`)
	pod.Sh(`ip addr add 10.1.0.2/24 dev eth0; ip addr add fd01::2/64 dev eth0 nodad
ip route add default via 10.1.0.1; ip route add default via fd01::1`)
	server.Sh(`ip addr add 10.2.0.2/24 dev eth0; ip addr add fd02::2/64 dev eth0 nodad
ip route add default via 10.2.0.1; ip route add default via fd02::1`)
	return node, pod, server
}

// refused dials where nobody listens, and gives the client's own end.
func refused(t *testing.T, from *testenv.Space, to string, port int) netip.AddrPort {
	t.Helper()
	src := netip.AddrPortFrom(netip.MustParseAddr("10.1.0.2"), uint16(port))
	if netip.MustParseAddrPort(to).Addr().Is6() {
		src = netip.AddrPortFrom(netip.MustParseAddr("fd01::2"), uint16(port))
	}
	err := from.Do(func() error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(src), Timeout: 10 * time.Second}
		c, err := d.Dial("tcp", to)
		if err == nil {
			_ = c.Close()
			t.Errorf("%s accepts", to)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// TestResets has real ends and a real rule refuse, through translation too.
func TestResets(t *testing.T) {
	node, pod, _ := lab(t)
	w, err := Watch(Options{NetNS: node.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		for range w.Resets() { // until it is closed
		}
	})
	for i, c := range []struct {
		to, endpoint string
		from         From
	}{
		{"10.2.0.2:7", "", End},
		{"[fd02::2]:7", "", End},
		{"10.96.0.1:7", "10.2.0.2:7", End},
		{"[fd96::1]:7", "[fd02::2]:7", End},
		{"10.1.0.1:7", "", End}, // the node's own refusal
		{"[fd01::1]:7", "", End},
		{"10.2.0.2:99", "", Node},
		{"[fd02::2]:99", "", Node},
		{"10.96.0.1:99", "", Node},
		{"[fd96::1]:99", "", Node},
	} {
		src := refused(t, pod, c.to, 20000+i)
		want := map[flow.Tuple]From{}
		for _, s := range []string{c.to, c.endpoint} {
			if s != "" {
				a := netip.MustParseAddrPort(s)
				want[flow.Tuple{Src: flow.Addr16(a.Addr()), SrcPort: a.Port(), Dst: flow.Addr16(src.Addr()), DstPort: src.Port(), Proto: 6}] = c.from
			}
		}
		late := time.After(20 * time.Second)
		for n := len(want); n > 0; {
			select {
			case list := <-w.Resets():
				for _, r := range list {
					if from, ok := want[r.Tuple]; !ok || from != r.From || !r.Refusal {
						t.Errorf("%s: %+v, want %v", c.to, r, want)
					}
					n--
				}
			case <-late:
				t.Fatalf("%s: %d RSTs are missing: %+v", c.to, n, w.Stats())
			}
		}
	}
	if s := w.Stats(); s.Repeated == 0 || s.Resets != 12 || s.Malformed+s.Dropped+s.Unsure+s.Socket.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

// TestBridged has both ends on one bridge of the node: what it passes on was not made here.
func TestBridged(t *testing.T) {
	node, a, b := testenv.NewSpace(t), testenv.NewSpace(t), testenv.NewSpace(t)
	testenv.Link(t, node, "va", a, "eth0")
	testenv.Link(t, node, "vb", b, "eth0")
	node.Sh(`ip link add br0 type bridge; ip link set va master br0; ip link set vb master br0; ip link set br0 up`)
	a.Sh(`ip addr add 10.1.0.2/24 dev eth0`)
	b.Sh(`ip addr add 10.1.0.3/24 dev eth0`)
	w, err := Watch(Options{NetNS: node.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		for range w.Resets() { // until it is closed
		}
	})
	refused(t, a, "10.1.0.3:7", 20000)
	select {
	case list := <-w.Resets():
		if len(list) != 1 || list[0].From != End || list[0].Tuple.SrcAddr().String() != "10.1.0.3" {
			t.Errorf("%+v", list)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no RST: %+v", w.Stats())
	}
}
