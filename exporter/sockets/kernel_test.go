package sockets

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/testenv"
)

// tun opens a TUN device in the namespace and gives its packets' file.
func tun(t *testing.T, s *testenv.Space, name string) *os.File {
	t.Helper()
	var f *os.File
	err := s.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		var ifr struct {
			name  [16]byte
			flags uint16
			_     [22]byte
		}
		copy(ifr.name[:], name)
		ifr.flags = unix.IFF_TUN | unix.IFF_NO_PI
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&ifr))); e != 0 {
			return e
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		t.Fatalf("make a TUN device: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// delay forwards packets one way, each so much later.
func delay(from, to *os.File, by time.Duration) {
	type packet struct {
		due time.Time
		b   []byte
	}
	line := make(chan packet, 4096)
	go func() {
		defer close(line)
		buf := make([]byte, 65536)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			line <- packet{time.Now().Add(by), append([]byte(nil), buf[:n]...)}
		}
	}()
	go func() {
		for p := range line {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.b)
		}
	}()
}

// lab is two pods and a path between them that takes time.
type lab struct {
	client, server *testenv.Space
}

func newLab(t *testing.T, oneWay time.Duration) *lab {
	t.Helper()
	testenv.NeedTool(t, "nft")
	testenv.NeedTool(t, "ss")
	l := &lab{testenv.NewSpace(t), testenv.NewSpace(t)}
	a, b := tun(t, l.client, "eth0"), tun(t, l.server, "eth0")
	for i, s := range []*testenv.Space{l.client, l.server} {
		s.Sh(fmt.Sprintf("ip addr add 10.9.0.%d/24 dev eth0; ip link set eth0 mtu 1400 up; ip -6 addr add fd09::%d/64 dev eth0 nodad", i+1, i+1))
	}
	// The Service: the client's own namespace translates, as a node does for its pods.
	l.client.Sh(`ip route add 10.96.0.1/32 dev eth0; ip -6 route add fd96::1/128 dev eth0
nft 'table inet svc { chain out { type nat hook output priority -100; meta nfproto ipv4 ip daddr 10.96.0.1 tcp dport 80 dnat ip to 10.9.0.2:8443; meta nfproto ipv6 ip6 daddr fd96::1 tcp dport 80 dnat ip6 to [fd09::2]:8443; }; }'`)
	delay(a, b, oneWay)
	delay(b, a, oneWay)
	return l
}

func (l *lab) listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	var ln net.Listener
	if err := l.server.Do(func() (err error) {
		ln, err = net.Listen("tcp", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func (l *lab) dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	if err := l.client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", addr, 20*time.Second)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func walker(spaces ...*testenv.Space) *Walker {
	cfg := DefaultConfig()
	cfg.Enabled, cfg.Netns = true, nil
	for _, s := range spaces {
		cfg.Netns = append(cfg.Netns, s.Path)
	}
	return New(cfg, slog.New(slog.DiscardHandler))
}

// exchange sends n small messages and waits for the echo of each.
func exchange(t *testing.T, c net.Conn, n int) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	buf := make([]byte, 100)
	for range n {
		if _, err := c.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			t.Fatal(err)
		}
	}
}

func echo(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
	}
}

// ssNumber gives what ss says of one thing of the client's socket.
func ssNumber(t *testing.T, s *testenv.Space, port int, pattern string) int {
	t.Helper()
	out := s.Run("ss", "-tinH", fmt.Sprintf("sport = :%d", port))
	m := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ends(c net.Conn, dialled, endpoint string) *track.Export {
	local := netip.MustParseAddrPort(c.LocalAddr().String())
	orig := tuple(local, netip.MustParseAddrPort(dialled), protoTCP)
	reply := tuple(netip.MustParseAddrPort(endpoint), local, protoTCP)
	return &track.Export{Conn: &track.Conn{Orig: orig, Reply: reply}}
}

// TestPath puts a delay and a loss into the path, and reads both ends through a Service.
func TestPath(t *testing.T) {
	const oneWay = 25 * time.Millisecond
	l := newLab(t, oneWay)
	// Of the packets with data one in five is lost on the way to the server.
	l.server.Sh(`nft 'table inet loss { chain in { type filter hook input priority 0; tcp dport 8443 meta length > 90 numgen random mod 5 == 0 drop; }; }'`)
	for _, c := range []struct{ name, listen, dialled, endpoint string }{
		{"v4", "10.9.0.2:8443", "10.96.0.1:80", "10.9.0.2:8443"},
		{"v6", "[fd09::2]:8443", "[fd96::1]:80", "[fd09::2]:8443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			go echo(l.listen(t, c.listen))
			conn := l.dial(t, c.dialled)
			exchange(t, conn, 40)
			local := netip.MustParseAddrPort(conn.LocalAddr().String())
			w := walker(l.client, l.server)
			w.Walk(context.Background())
			if st := w.Status(); st.Err != "" || st.Namespaces != 2 {
				t.Fatalf("status %+v", st)
			}
			var r flow.Record
			w.Fill(ends(conn, c.dialled, c.endpoint), &r)
			want := uint32(2 * oneWay / time.Microsecond)
			if r.RTTMin < want || r.RTTMin > want*11/10 {
				t.Errorf("minimum round trip %d us, want within 10 %% of %d", r.RTTMin, want)
			}
			if n := ssNumber(t, l.client, int(local.Port()), `retrans:\d+/(\d+)`); n == 0 || int(r.RetransSrc) != n {
				t.Errorf("%d retransmits of the client, ss says %d", r.RetransSrc, n)
			}
			if !r.Has.Has(flow.FRetransDst) {
				t.Error("the server's socket was not joined")
			}
			if n := ssNumber(t, l.client, int(local.Port()), `pmtu:(\d+)`); int(r.PathMTU) != n || n != 1400 {
				t.Errorf("path MTU %d, ss says %d", r.PathMTU, n)
			}
			var none flow.Record
			w.Fill(ends(conn, c.endpoint, c.endpoint), &none)
			if none.Has.Has(flow.FRetransSrc) {
				t.Error("the client's socket was joined by the tuple after translation")
			}
			// The smoothed value moves with the machine's load: it is ss's, and near the path.
			if r.RTT < want || r.RTT > want*2 {
				t.Errorf("smoothed round trip %d us on a path of %d us", r.RTT, want)
			}
			t.Logf("rtt %d us, least %d us of %d us, %d retransmits", r.RTT, r.RTTMin, want, r.RetransSrc)
		})
	}
}

// TestAttempts drops SYNs and finds the sockets that wait, and when they are over.
func TestAttempts(t *testing.T) {
	l := newLab(t, time.Millisecond)
	l.server.Sh(`nft 'table inet d { chain in { type filter hook input priority 0; tcp dport 9999 drop; }; }'`)
	w := walker(l.client, l.server)
	for _, addr := range []string{"10.9.0.2:9999", "[fd09::2]:9999"} {
		ctx, stop := context.WithCancel(context.Background())
		go func() {
			_ = l.client.Do(func() error {
				var d net.Dialer
				_, err := d.DialContext(ctx, "tcp", addr)
				return err
			})
		}()
		dst := netip.MustParseAddrPort(addr)
		get := func(ok func(a *Attempt) bool) {
			t.Helper()
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
				w.Walk(context.Background())
				for _, a := range w.Table().Attempts(nil) {
					if a.Tuple.DstAddr() == dst.Addr() && a.Tuple.DstPort == dst.Port() && ok(&a) {
						return
					}
				}
			}
			t.Fatalf("%s: not seen among %+v", addr, w.Table().Attempts(nil))
		}
		get(func(a *Attempt) bool { return a.Retransmits >= 1 && !a.Over && a.NetNS != 0 })
		stop()
		get(func(a *Attempt) bool { return a.Over && a.Retransmits >= 1 })
	}
}

// TestListeners fills an accept queue, and looks at bind addresses.
func TestListeners(t *testing.T) {
	l := newLab(t, time.Millisecond)
	// net.Listen cannot set the backlog.
	err := l.server.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 8080}); err != nil {
			return err
		}
		return unix.Listen(fd, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	l.listen(t, "127.0.0.1:6060")
	l.listen(t, "[fd09::2]:7070")
	l.listen(t, "0.0.0.0:7171")
	var udp net.PacketConn
	var only6 net.Listener // Go sets IPV6_V6ONLY for "tcp6"
	if err := l.server.Do(func() (err error) { only6, err = net.Listen("tcp6", "[::]:7272"); return err }); err != nil {
		t.Fatal(err)
	}
	defer only6.Close()
	if err := l.server.Do(func() (err error) { udp, err = net.ListenPacket("udp4", "10.9.0.2:53"); return err }); err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for range 2 {
		l.dial(t, "10.9.0.2:8080")
	}
	w := walker(l.client, l.server)
	addr := flow.Addr16(netip.MustParseAddr("10.9.0.2"))
	var list []Listener
	find := func(port uint16, proto uint8) *Listener {
		for i := range list {
			if list[i].Port == port && list[i].Proto == proto {
				return &list[i]
			}
		}
		t.Fatalf("no listener on %d among %+v", port, list)
		return nil
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		w.Walk(context.Background())
		var ok bool
		if list, _, ok = w.Table().Listeners(addr); !ok {
			t.Fatal("the server's namespace is not known by its address")
		}
		if x := find(8080, protoTCP); x.Full() || time.Now().After(deadline) {
			break
		}
	}
	if x := find(8080, protoTCP); x.Limit != 1 || x.Queue != 2 || !x.Full() || !x.Any() {
		t.Errorf("full listener %+v", x)
	}
	if x := find(6060, protoTCP); !x.Loopback() || x.Any() || x.Full() {
		t.Errorf("loopback listener %+v", x)
	}
	if x := find(7070, protoTCP); !x.V6 || x.Addr != flow.Addr16(netip.MustParseAddr("fd09::2")) {
		t.Errorf("IPv6 listener %+v", x)
	}
	if x := find(7171, protoTCP); x.V6Only || !x.ListensTo(&addr) {
		t.Errorf("IPv4 listener %+v", x)
	}
	if x := find(7272, protoTCP); !x.V6Only || x.ListensTo(&addr) {
		t.Errorf("listener of IPv6 alone %+v", x)
	}
	if x := find(53, protoUDP); x.Addr != addr || x.Full() {
		t.Errorf("UDP listener %+v", x)
	}
	if _, _, ok := w.Table().Listeners(flow.Addr16(netip.MustParseAddr("10.9.0.77"))); ok {
		t.Error("an address that no namespace has is known")
	}
}

// TestLetsGo closes what has no name any more: an open socket keeps a namespace.
func TestLetsGo(t *testing.T) {
	s := testenv.NewSpace(t)
	link := filepath.Join(t.TempDir(), "ns")
	if err := os.Symlink(s.Path, link); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Enabled, cfg.Netns = true, []string{filepath.Dir(link) + "/*", s.Path}
	w := New(cfg, slog.New(slog.DiscardHandler))
	w.Walk(context.Background())
	if n := w.Status().Namespaces; n != 1 {
		t.Fatalf("%d namespaces, want 1 of two names", n)
	}
	w.cfg.Netns = cfg.Netns[:1]
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	w.Walk(context.Background())
	if n := w.Status().Namespaces; n != 0 || len(w.spaces) != 0 {
		t.Fatalf("%d namespaces are open after their names went", n)
	}
}
