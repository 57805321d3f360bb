package dnswatch

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/dns"
	"github.com/weirnet/weir/internal/testenv"
)

const delay = 20 * time.Millisecond // of every answer

// lab is pod -- node -- server, the node watched. Its Services 10.96.0.10 and fd96::a
// are the server's port 5353; towards 10.3.0.0/24 it translates the pod.
func lab(t testing.TB) (node, pod *testenv.Space, w *Watcher) {
	t.Helper()
	testenv.NeedTool(t, "nft")
	node, pod = testenv.NewSpace(t), testenv.NewSpace(t)
	server := testenv.NewSpace(t)
	testenv.Link(t, node, "va", pod, "eth0")
	testenv.Link(t, node, "vb", server, "eth0")
	node.Sh(`
ip addr add 10.1.0.1/24 dev va; ip addr add fd01::1/64 dev va nodad
ip addr add 10.2.0.1/24 dev vb; ip addr add fd02::1/64 dev vb nodad
ip route add 10.3.0.0/24 via 10.2.0.2
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
nft -f - <<'END'
table inet t {
  chain d { type nat hook prerouting priority dstnat; ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.2.0.2:5353
    ip daddr 10.96.0.10 tcp dport 53 dnat ip to 10.2.0.2:5353
    ip6 daddr fd96::a udp dport 53 dnat ip6 to [fd02::2]:5353
    ip6 daddr fd96::a tcp dport 53 dnat ip6 to [fd02::2]:5353; }
  chain s { type nat hook postrouting priority srcnat; ip daddr 10.3.0.0/24 masquerade; }
}
END`)
	pod.Sh(`ip addr add 10.1.0.2/24 dev eth0; ip addr add fd01::2/64 dev eth0 nodad
ip route add default via 10.1.0.1; ip route add default via fd01::1`)
	server.Sh(`ip addr add 10.2.0.2/24 dev eth0; ip addr add fd02::2/64 dev eth0 nodad; ip addr add 10.3.0.2/24 dev eth0
ip route add default via 10.2.0.1; ip route add default via fd02::1`)
	for _, addr := range []string{"10.2.0.2:53", "10.2.0.2:5353", "10.3.0.2:53", "[fd02::2]:53", "[fd02::2]:5353"} {
		if err := server.Do(func() error { return serve(t, addr) }); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Watch(Options{NetNS: node.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return node, pod, w
}

// serve answers DNS over UDP and TCP, both families.
func serve(t testing.TB, addr string) error {
	t.Helper()
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _, _ = u.Close(), l.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			time.Sleep(delay)
			if b := reply(buf[:n], true); b != nil {
				_, _ = u.WriteTo(b, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for head := make([]byte, 2); ; {
					if _, err := io.ReadFull(c, head); err != nil {
						return
					}
					q := make([]byte, binary.BigEndian.Uint16(head))
					if _, err := io.ReadFull(c, q); err != nil {
						return
					}
					time.Sleep(delay)
					b := reply(q, false)
					_, _ = c.Write(binary.BigEndian.AppendUint16(nil, uint16(len(b))))
					_, _ = c.Write(b) // the length alone in a segment
				}
			}()
		}
	}()
	return nil
}

// reply knows two names: plain.example. and big.example., whose answer is long, so that
// it is truncated over UDP; both are aliases.
func reply(q []byte, udp bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(q) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	asked := m.Questions[0]
	head := func(name string, typ dnsmessage.Type) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET, TTL: 60}
	}
	first, count := byte(1), 1
	switch strings.ToLower(asked.Name.String()) {
	case "plain.example.":
	case "big.example.":
		first, count = 100, 120
	default:
		m.RCode = dnsmessage.RCodeNameError
		b, _ := m.Pack()
		return b
	}
	m.Answers = append(m.Answers, dnsmessage.Resource{Header: head(asked.Name.String(), dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("edge.example.")}})
	for i := range count {
		if asked.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head("edge.example.", asked.Type), Body: &dnsmessage.AResource{A: [4]byte{203, 0, 113, first + byte(i)}}})
		} else {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head("edge.example.", asked.Type), Body: &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 0xd, 0xb8, 15: first + byte(i)}}})
		}
	}
	if udp && count > 1 {
		m.Truncated, m.Answers = true, nil
	}
	b, _ := m.Pack()
	return b
}

// lookup resolves a name with Go's resolver in a namespace, and gives the connections
// that it made.
func lookup(t testing.TB, in *testenv.Space, server, name string) (tuples []flow.Tuple, err error) {
	t.Helper()
	network := "ip4"
	if strings.Contains(server, "[") {
		network = "ip6"
	}
	to := netip.MustParseAddrPort(server)
	r := &net.Resolver{PreferGo: true, Dial: func(_ context.Context, proto, _ string) (c net.Conn, err error) {
		// A dialled socket belongs to the namespace of its thread.
		err = in.Do(func() error {
			c, err = net.Dial(proto, server)
			return err
		})
		if err != nil {
			return nil, err
		}
		local := netip.MustParseAddrPort(c.LocalAddr().String())
		k := flow.Tuple{Src: flow.Addr16(local.Addr()), Dst: flow.Addr16(to.Addr()), SrcPort: local.Port(), DstPort: 53, Proto: 17}
		if strings.HasPrefix(proto, "tcp") {
			k.Proto = 6
		}
		tuples = append(tuples, k)
		return c, nil
	}}
	_, err = r.LookupNetIP(context.Background(), network, name)
	return tuples, err
}

// eventually waits for what the watcher learns a moment later.
func eventually(t testing.TB, w *Watcher, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not seen; %+v", what, w.Stats())
		}
	}
}

// TestLookups has a real resolver ask a real server, over UDP and TCP, both families,
// directly, by a Service and through a masquerade.
func TestLookups(t *testing.T) {
	node, pod, w := lab(t)
	for _, c := range []struct {
		what, server, name, client, addr string
		from                             *testenv.Space
		proto                            uint8
	}{
		{"directly", "10.2.0.2:53", "plain.example.", "10.1.0.2", "203.0.113.1", pod, 17},
		{"directly", "[fd02::2]:53", "plain.example.", "fd01::2", "2001:db8::1", pod, 17},
		{"truncated, then over TCP", "10.2.0.2:53", "big.example.", "10.1.0.2", "203.0.113.219", pod, 6},
		{"truncated, then over TCP", "[fd02::2]:53", "big.example.", "fd01::2", "2001:db8::db", pod, 6},
		{"by a Service", "10.96.0.10:53", "plain.example.", "10.1.0.2", "203.0.113.1", pod, 17},
		{"by a Service", "[fd96::a]:53", "big.example.", "fd01::2", "2001:db8::64", pod, 6},
		{"translated", "10.3.0.2:53", "big.example.", "10.1.0.2", "203.0.113.100", pod, 6},
		{"translated", "10.3.0.2:53", "plain.example.", "10.1.0.2", "203.0.113.1", pod, 17},
		{"the node itself", "10.2.0.2:53", "plain.example.", "10.2.0.1", "203.0.113.1", node, 17},
	} {
		what := c.what + ", " + c.server + ", " + c.name
		before := time.Now().UnixMilli()
		tuples, err := lookup(t, c.from, c.server, c.name)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		client, addr := flow.Addr16(netip.MustParseAddr(c.client)), flow.Addr16(netip.MustParseAddr(c.addr))
		eventually(t, w, what, func() bool {
			now := time.Now().UnixMilli()
			return w.Name(client, addr, now, now) == strings.TrimSuffix(c.name, ".")
		})
		if got := w.Name(flow.Addr16(netip.MustParseAddr("10.1.0.9")), addr, before, before); got != "" {
			t.Errorf("%s: another client has the name %q", what, got)
		}
		k := tuples[len(tuples)-1]
		var f dns.Flow
		eventually(t, w, what+": flow", func() bool {
			f, _ = w.Flow(&k)
			return f.Answered
		})
		if f.Query != strings.TrimSuffix(c.name, ".") || f.Rcode != 0 || f.TimeUs < uint32(delay.Microseconds()) || f.TimeUs > 10_000_000 || k.Proto != c.proto {
			t.Errorf("%s: %+v of %v", what, f, k)
		}
	}
	tuples, err := lookup(t, pod, "10.2.0.2:53", "no.example.")
	var dnsErr *net.DNSError
	if !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
		t.Fatalf("no.example.: %v", err)
	}
	eventually(t, w, "NXDOMAIN", func() bool {
		f, _ := w.Flow(&tuples[0])
		return f.Answered && f.Rcode == 3 && f.Query == "no.example"
	})
	s := w.Stats()
	if s.Malformed != 0 || s.Incomplete != 0 || s.Unasked != 0 || s.Foreign != 0 || s.Repeated == 0 || s.Socket.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

// TestOnlyPort53 shows that the rest of the traffic never comes up to the watcher.
func TestOnlyPort53(t *testing.T) {
	_, pod, w := lab(t)
	err := pod.Do(func() error {
		c, err := net.Dial("udp", "10.2.0.2:54")
		if err != nil {
			return err
		}
		defer c.Close()
		for range 100 {
			_, _ = c.Write([]byte("x")) // refused
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lookup(t, pod, "10.2.0.2:53", "plain.example."); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, "lookup", func() bool { return w.Stats().Answers == 1 && w.Stats().Socket.Packets > 0 })
	if s := w.Stats(); s.Socket.Packets > 8 || s.Malformed != 0 {
		t.Errorf("%+v: more than the packets of one lookup passed", s)
	}
}

func TestStatus(t *testing.T) {
	if e := Status(false, nil); e.On || e.Remedy == "" {
		t.Errorf("%+v", e)
	}
	if e := Status(true, errors.New("no right")); e.On || e.Why != "no right" {
		t.Errorf("%+v", e)
	}
	if e := Status(true, nil); !e.On {
		t.Errorf("%+v", e)
	}
}
