package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// patience is how long a client waits for anything.
const patience = 2 * time.Second

// client makes the connections of one shape, one each s.every, until ctx ends.
// An error of one connection is the traffic's own business: the books of what
// was made and what arrived are compared at the end.
func (g *generator) client(ctx context.Context, s *shape, dst netip.AddrPort) {
	for s.phase == after && !isFile(stagedFile()) && ctx.Err() == nil {
		pause(ctx, 50*time.Millisecond)
	}
	if s.kind == tcpLong || s.kind == tcpSlow {
		for ctx.Err() == nil {
			g.count(s.name)
			stay(ctx, s, dst)
			pause(ctx, patience)
		}
		return
	}
	for i := 0; ctx.Err() == nil && (s.phase != before || !isFile(begunFile())); i++ {
		g.count(s.name)
		switch s.kind {
		case udpEcho, udpSilent:
			g.datagram(s, dst)
		case udpDNS:
			g.ask(s, dst)
		case icmpEcho:
			ping(s, dst.Addr(), i)
		default:
			stream(s, dst)
		}
		pause(ctx, s.every)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// dial connects. A connection that was counted is made, whoever waits for the end.
func dial(dst netip.AddrPort, wait time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: wait, KeepAlive: -1}
	return d.Dial("tcp", dst.String())
}

// stream is one short connection: a request of 8 KiB, its echo, an end.
func stream(s *shape, dst netip.AddrPort) {
	// A retransmitted SYN comes after 1 s and 3 s: the lossy shape waits for both.
	wait := patience
	if s.server == portLossy {
		wait = 10 * time.Second
	}
	c, err := dial(dst, wait)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	size := 8 << 10
	if s.kind == tcpVanish {
		size = 512 // one segment, so that the server has all of it at its first read
	}
	if err := exchange(c, size); err != nil {
		return
	}
	switch s.kind {
	case tcpReset:
		_ = c.(*net.TCPConn).SetLinger(0) // close sends RST
	case tcpVanish:
		time.Sleep(500 * time.Millisecond)
		vanish(c)
	default: // the deferred close is the end
	}
}

// stay keeps one connection open until ctx ends.
func stay(ctx context.Context, s *shape, dst netip.AddrPort) {
	c, err := dial(dst, patience)
	if err != nil {
		return
	}
	defer c.Close()
	size := 16 << 10
	if s.kind == tcpSlow {
		size = 1
	}
	for ctx.Err() == nil {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if err := exchange(c, size); err != nil {
			return
		}
		pause(ctx, s.every)
	}
}

// exchange sends n bytes and reads their echo.
func exchange(c net.Conn, n int) error {
	buf := make([]byte, n)
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf)
	return err
}

// vanish closes a connection without a word to the other end: a socket in repair
// mode (TCP_REPAIR, linux/tcp.h) sends neither FIN nor RST.
func vanish(c net.Conn) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) })
	_ = c.Close()
}

// datagram is one request and, with luck, its reply, from a port that no other
// used lately: the kernel's random choice meets one whose conntrack entry still
// lives every few minutes, and then two connections are one.
func (g *generator) datagram(s *shape, dst netip.AddrPort) {
	d := net.Dialer{LocalAddr: &net.UDPAddr{Port: 10000 + int(g.ports.Add(1)%20000)}}
	c, err := d.Dial("udp", dst.String())
	if err != nil {
		return
	}
	defer c.Close()
	if s.kind == udpSilent {
		_, _ = c.Write(make([]byte, 200))
		return
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_ = exchange(c, 200)
}

// ping is three echo requests of one identifier.
func ping(s *shape, dst netip.Addr, round int) {
	network, wild, typ := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho)
	if s.family == 6 {
		network, wild, typ = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest
	}
	c, err := icmp.ListenPacket(network, wild)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	for seq := range 3 {
		m := icmp.Message{Type: typ, Body: &icmp.Echo{ID: (os.Getpid()<<4 + round) & 0xffff, Seq: seq, Data: make([]byte, 56)}}
		raw, err := m.Marshal(nil)
		if err != nil {
			return
		}
		if _, err := c.WriteTo(raw, &net.IPAddr{IP: dst.AsSlice()}); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// errNoPod tells that a name is not in the manifests.
func errNoPod(name string) error {
	return fmt.Errorf("demo: no pod %q in the manifests (and it is not %q)", name, outside)
}
