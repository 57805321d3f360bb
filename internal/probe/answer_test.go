package probe

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/canary"
)

// TestAnswerer: what a canary brings comes back, to those alone that may ask, and not to
// a port from which another Answerer may have spoken.
func TestAnswerer(t *testing.T) {
	me := netip.MustParseAddr("127.0.0.1")
	friends := map[netip.Addr]bool{netip.MustParseAddr("127.0.0.2"): true}
	a := Answerer{Allow: func(x netip.Addr) bool { return friends[x] }, Log: slog.New(slog.DiscardHandler)}
	place := Place{Addr: me}
	a.Set(t.Context(), []Place{place, {NetNS: "/run/netns/none-such", Addr: me}})
	defer a.Set(t.Context(), nil)
	if a.Open() != 1 {
		t.Fatalf("%d places are open, want 1", a.Open())
	}
	at := func(s string, port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), port) }
	if _, err := talk(at("127.0.0.2", 0), at("127.0.0.1", canary.TCP.Answered()), 777); err != nil {
		t.Errorf("a friend's stream: %v", err)
	}
	if _, err := talk(at("127.0.0.3", 0), at("127.0.0.1", canary.TCP.Answered()), 777); err == nil {
		t.Error("a stranger's stream is answered")
	}
	if _, err := ask(at("127.0.0.2", 0), at("127.0.0.1", canary.UDP.Answered()), 777, true); err != nil {
		t.Errorf("a friend's datagram: %v", err)
	}
	for _, from := range []netip.AddrPort{at("127.0.0.3", 0), at("127.0.0.2", canary.FirstPort)} {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(at("127.0.0.1", canary.UDP.Answered())))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(10 * time.Second); a.Denied.Load() < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d denied, want 3", a.Denied.Load())
		}
	}
	if a.Served.Load() != 2 {
		t.Errorf("%d served, want 2", a.Served.Load())
	}
	a.Set(t.Context(), nil)
	if _, err := talk(at("127.0.0.2", 0), at("127.0.0.1", canary.TCP.Answered()), 1); err == nil || a.Open() != 0 {
		t.Error("a place that is gone is answered")
	}
}
