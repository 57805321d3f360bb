// Package probe opens canary connections and asks a node's kernel what it counted.
//
// In: a network namespace and the addresses of the node in it. Out: canary.Sent, one
// for each kind and family. A canary goes from one of the node's addresses to itself,
// so that it needs no other machine and leaves none; it costs four connections of a
// few hundred bytes a family. The entry of an unanswered one is ended, so that its
// outcome is proven at once. Nothing stays open. If it dies half-way, the kernel
// forgets the rest within minutes.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/internal/canary"
)

// Options of a run.
type Options struct {
	NetNS     string       // path of the network namespace; empty for the present one
	Addresses []netip.Addr // of the node, one a family; empty for the first of each
	Payload   int          // bytes each canary carries; 0 for DefaultPayload
}

const (
	// DefaultPayload is what one canary carries.
	DefaultPayload = 777
	waitFor        = 2 * time.Second
	settleFor      = time.Second // until the entry of a closed connection rests
)

// Open opens a canary of each kind and family. It ends with an error where one cannot
// be opened as it is meant; then the network of this node, not Weir, is the matter.
func Open(ctx context.Context, o Options) ([]canary.Sent, error) {
	if o.Payload <= 0 {
		o.Payload = DefaultPayload
	}
	addrs := o.Addresses
	if len(addrs) == 0 {
		var err error
		if addrs, err = nodeAddresses(o.NetNS); err != nil {
			return nil, err
		}
	}
	var out []canary.Sent
	for _, a := range addrs {
		for k := range canary.NumKinds {
			s, err := one(ctx, &o, k, a)
			if err != nil {
				return nil, fmt.Errorf("canary %s at %s: %w", k, a, err)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// nodeAddresses finds the first global address of each family.
func nodeAddresses(netns string) (out []netip.Addr, err error) {
	err = conntrack.InNetNS(netns, func() error {
		list, err := net.InterfaceAddrs()
		if err != nil {
			return fmt.Errorf("addresses of this node: %w", err)
		}
		var have [2]bool
		for _, a := range list {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
				continue
			}
			if i := p.Addr().BitLen() / 128; !have[i] {
				have[i] = true
				out = append(out, p.Addr())
			}
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = errors.New("addresses of this node: none beyond loopback, which agents leave out: name one with --address")
	}
	return out, err
}

// one opens one canary and waits until the kernel has counted it.
func one(ctx context.Context, o *Options, k canary.Kind, addr netip.Addr) (s canary.Sent, err error) {
	s = canary.Sent{Kind: k, Family: "v4", OpenedMs: time.Now().UnixMilli(), Payload: uint64(o.Payload)}
	if addr.Is6() {
		s.Family = "v6"
	}
	var t flow.Tuple
	err = conntrack.InNetNS(o.NetNS, func() (err error) {
		switch k {
		case canary.TCP:
			t, err = tcp(addr, o.Payload)
		case canary.Refused:
			s.Payload = 0
			t, err = refused(addr)
		default:
			t, err = udp(k, addr, o.Payload)
		}
		return err
	})
	if err != nil {
		return s, err
	}
	s.Key = canary.Key(t.Proto, netip.AddrPortFrom(t.SrcAddr(), t.SrcPort), netip.AddrPortFrom(t.DstAddr(), t.DstPort))
	ask := conntrack.Options{NetNS: o.NetNS}
	settled(ctx, ask, t, &s)
	s.Ended = k != canary.Unanswered
	if k == canary.Unanswered && s.Kernel != nil {
		s.Ended = conntrack.Remove(ctx, ask, t) == nil // its outcome is then not proven in time
	}
	return s, nil
}

// settled reads the entry until two readings are the same.
func settled(ctx context.Context, ask conntrack.Options, t flow.Tuple, s *canary.Sent) {
	until := time.Now().Add(settleFor)
	var last canary.Numbers
	for first := true; ; first = false {
		c, found, err := conntrack.Lookup(ctx, ask, t)
		if err != nil {
			s.KernelWhy, s.Denied = err.Error(), true
			return
		}
		if !found {
			s.KernelWhy = "the kernel does not track it"
			return
		}
		n := canary.NumbersOf(&c)
		if !first && n == last && (t.Proto != unix.IPPROTO_TCP || c.TCPState != tcpEstablished) || time.Now().After(until) {
			s.Kernel = &n
			return
		}
		last = n
		select {
		case <-ctx.Done():
			return
		case <-time.After(30 * time.Millisecond):
		}
	}
}

const tcpEstablished = 3 // enum tcp_conntrack TCP_CONNTRACK_ESTABLISHED

// listen tries the ports of the kind until one is free.
func listen[L io.Closer](k canary.Kind, addr netip.Addr, open func(netip.AddrPort) (L, error)) (l L, at netip.AddrPort, err error) {
	for i := 0; ; i++ {
		port, more := k.Port(i)
		if !more {
			return l, at, fmt.Errorf("no port of the probe is free (%d to %d): %w", canary.FirstPort, canary.LastPort, err)
		}
		at = netip.AddrPortFrom(addr, port)
		if l, err = open(at); err == nil {
			return l, at, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return l, at, err
		}
	}
}

func tuple(proto uint8, src, dst netip.AddrPort) flow.Tuple {
	return flow.Tuple{Src: flow.Addr16(src.Addr()), Dst: flow.Addr16(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port(), Proto: proto}
}

// tcp sends the payload, gets it back, and closes.
func tcp(addr netip.Addr, payload int) (flow.Tuple, error) {
	l, at, err := listen(canary.TCP, addr, func(a netip.AddrPort) (*net.TCPListener, error) {
		return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
	})
	if err != nil {
		return flow.Tuple{}, err
	}
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(waitFor))
		_, _ = io.Copy(c, c) // until the client ends, which is checked there
		_ = c.Close()
	}()
	c, err := net.DialTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)), net.TCPAddrFromAddrPort(at))
	if err != nil {
		return flow.Tuple{}, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(waitFor))
	if _, err := c.Write([]byte(strings.Repeat("w", payload))); err != nil {
		return flow.Tuple{}, err
	}
	if err := c.CloseWrite(); err != nil {
		return flow.Tuple{}, err
	}
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != int64(payload) {
		err = fmt.Errorf("%d bytes were sent and %d came back", payload, n)
	}
	return tuple(unix.IPPROTO_TCP, c.LocalAddr().(*net.TCPAddr).AddrPort(), at), err
}

// refused dials a port at which nobody listens.
func refused(addr netip.Addr) (flow.Tuple, error) {
	l, at, err := listen(canary.Refused, addr, func(a netip.AddrPort) (*net.TCPListener, error) {
		return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
	})
	if err != nil {
		return flow.Tuple{}, err
	}
	if err := l.Close(); err != nil { // it was free, so nobody listens now
		return flow.Tuple{}, err
	}
	fd, src, err := bound(addr)
	if err != nil {
		return flow.Tuple{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	switch err := unix.Connect(fd, sockaddr(at)); {
	case errors.Is(err, unix.ECONNREFUSED):
		return tuple(unix.IPPROTO_TCP, src, at), nil
	case err == nil:
		return flow.Tuple{}, fmt.Errorf("somebody accepts at %s, where nobody listens: is a proxy in between?", at)
	default:
		return flow.Tuple{}, fmt.Errorf("a refusal was expected at %s: %w (does a firewall drop it?)", at, err)
	}
}

// bound makes a TCP socket whose port is known before it connects: a refused one has
// no address any more.
func bound(addr netip.Addr) (fd int, src netip.AddrPort, err error) {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
		return -1, src, os.NewSyscallError("socket", err)
	}
	tv := unix.NsecToTimeval(waitFor.Nanoseconds())
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err == nil {
		err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(addr, 0)))
	}
	var sa unix.Sockaddr
	if err == nil {
		sa, err = unix.Getsockname(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, src, os.NewSyscallError("bind", err)
	}
	switch x := sa.(type) {
	case *unix.SockaddrInet4:
		src = netip.AddrPortFrom(addr, uint16(x.Port))
	case *unix.SockaddrInet6:
		src = netip.AddrPortFrom(addr, uint16(x.Port))
	}
	return fd, src, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// udp sends one datagram, which is answered or is not.
func udp(k canary.Kind, addr netip.Addr, payload int) (flow.Tuple, error) {
	l, at, err := listen(k, addr, func(a netip.AddrPort) (*net.UDPConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
	})
	if err != nil {
		return flow.Tuple{}, err
	}
	defer func() { _ = l.Close() }()
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)), net.UDPAddrFromAddrPort(at))
	if err != nil {
		return flow.Tuple{}, err
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, payload)
	if _, err := c.Write(buf); err != nil {
		return flow.Tuple{}, err
	}
	_ = l.SetReadDeadline(time.Now().Add(waitFor))
	n, from, err := l.ReadFromUDPAddrPort(buf)
	if err != nil {
		return flow.Tuple{}, fmt.Errorf("the datagram does not arrive: %w (does a firewall drop it?)", err)
	}
	if k == canary.UDP {
		if _, err := l.WriteToUDPAddrPort(buf[:n], from); err != nil {
			return flow.Tuple{}, err
		}
		_ = c.SetReadDeadline(time.Now().Add(waitFor))
		if _, err := c.Read(buf); err != nil {
			return flow.Tuple{}, fmt.Errorf("the answer does not arrive: %w (does a firewall drop it?)", err)
		}
	}
	return tuple(unix.IPPROTO_UDP, c.LocalAddr().(*net.UDPAddr).AddrPort(), at), nil
}
