// Package probe opens canary connections and asks a node's kernel what it counted.
//
// In: a network namespace, the addresses of the node in it, and a Plan of ways beyond the
// node: to another node, from pod to pod, through a Service, to a server outside. Out:
// canary.Sent, one for each kind, family and way. On its own a node's canaries go from
// one of its addresses to itself, so that they need no other machine and leave none: four
// connections of a few hundred bytes a family. On the other ways an Answerer of an agent
// answers at fixed ports, to nodes and canary pods alone. The entry of an unanswered one is
// ended, so that its outcome is proven at once. Nothing stays open. If it dies half-way,
// the kernel forgets the rest within minutes.
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
	NetNS     string       // path of the network namespace whose conntrack is read; empty for the present one
	Addresses []netip.Addr // of the node, one a family; empty for the first of each
	Payload   int          // bytes each canary carries; 0 for DefaultPayload
	Plan      Plan         // ways beyond the node itself
}

const (
	// DefaultPayload is what one canary carries.
	DefaultPayload = 777
	waitFor        = 2 * time.Second
	settleFor      = time.Second // until the entry of a closed connection rests
)

// Open opens a canary of each kind and family to the node itself, and those of the plan.
// It ends with an error where one to the node itself cannot be opened as it is meant;
// then the network of this node, not Weir, is the matter. A way of the plan that is not
// open is skipped, with the reason.
func Open(ctx context.Context, o Options) (sent []canary.Sent, skipped []canary.Skipped, err error) {
	if o.Payload <= 0 {
		o.Payload = DefaultPayload
	}
	if len(o.Addresses) == 0 {
		if o.Addresses, err = NodeAddresses(o.NetNS); err != nil {
			return nil, nil, err
		}
	}
	ways := make(chan way, len(o.Plan.Targets))
	for i := range o.Plan.Targets {
		go func() { ways <- o.reach(ctx, &o.Plan.Targets[i]) }()
	}
	for _, a := range o.Addresses {
		for k := range canary.NumKinds {
			s, e := o.one(ctx, k, a)
			if e != nil && err == nil {
				err = fmt.Errorf("canary %s at %s: %w", k, a, e)
			}
			sent = append(sent, s)
		}
	}
	skipped = o.Plan.Skipped
	for range o.Plan.Targets {
		w := <-ways
		sent = append(sent, w.sent...)
		skipped = append(skipped, w.skipped...)
	}
	if err != nil {
		return nil, nil, err
	}
	return sent, skipped, nil
}

// NodeAddresses finds the first global address of each family.
func NodeAddresses(netns string) (out []netip.Addr, err error) {
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

func familyOf(a netip.Addr) string {
	if a.Is6() {
		return "v6"
	}
	return "v4"
}

// one opens one canary from the node to itself and waits until the kernel has counted it.
func (o *Options) one(ctx context.Context, k canary.Kind, addr netip.Addr) (canary.Sent, error) {
	s := canary.Sent{Kind: k, Family: familyOf(addr), OpenedMs: time.Now().UnixMilli(), Payload: uint64(o.Payload), Path: canary.Self(o.Plan.Node)}
	var t flow.Tuple
	err := conntrack.InNetNS(o.NetNS, func() (err error) {
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
	if err == nil {
		o.settled(ctx, t, &s)
	}
	return s, err
}

// settled reads the entry until two readings are the same, and gives it. It says in s
// what the kernel counted, by what tuple the canary is known, and how it ended.
func (o *Options) settled(ctx context.Context, t flow.Tuple, s *canary.Sent) {
	s.Key = canary.Key(t.Proto, netip.AddrPortFrom(t.SrcAddr(), t.SrcPort), netip.AddrPortFrom(t.DstAddr(), t.DstPort))
	s.Ended = s.Kind != canary.Unanswered
	ask := conntrack.Options{NetNS: o.NetNS}
	c, found, err := conntrack.Lookup(ctx, ask, t)
	until := time.Now().Add(settleFor)
	var last canary.Numbers
	for first := true; ; first = false {
		switch {
		case err != nil:
			s.KernelWhy, s.Denied = err.Error(), true
			return
		case !found:
			s.KernelWhy = "the kernel does not track it"
			return
		}
		o.answeredBy(&c, s)
		n := canary.NumbersOf(&c)
		if !first && n == last && (t.Proto != unix.IPPROTO_TCP || c.TCPState != tcpEstablished) || time.Now().After(until) {
			s.Kernel = &n
			if s.Kind == canary.Unanswered { // else its outcome is not proven in time
				s.Ended = conntrack.Remove(ctx, ask, t, c.Zone) == nil
			}
			return
		}
		last = n
		select {
		case <-ctx.Done():
			return
		case <-time.After(30 * time.Millisecond):
		}
		c, found, err = conntrack.LookupIn(ctx, ask, t, c.Zone)
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
	return talk(netip.AddrPortFrom(addr, 0), at, payload)
}

// talk sends the payload to who echoes it, and closes.
func talk(from, to netip.AddrPort, payload int) (flow.Tuple, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: waitFor, KeepAlive: -1}
	conn, err := d.Dial("tcp", to.String())
	if err != nil {
		return flow.Tuple{}, err
	}
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return flow.Tuple{}, errors.Join(fmt.Errorf("%T is no TCP connection", conn), conn.Close())
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
	return tuple(unix.IPPROTO_TCP, c.LocalAddr().(*net.TCPAddr).AddrPort(), to), err
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
	return refuse(netip.AddrPortFrom(addr, 0), at)
}

// refuse wants to be refused.
func refuse(from, at netip.AddrPort) (flow.Tuple, error) {
	fd, src, err := bound(from)
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
func bound(from netip.AddrPort) (fd int, src netip.AddrPort, err error) {
	family, addr := unix.AF_INET, from.Addr()
	if addr.Is6() {
		family = unix.AF_INET6
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
		return -1, src, os.NewSyscallError("socket", err)
	}
	tv := unix.NsecToTimeval(waitFor.Nanoseconds())
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err == nil {
		err = unix.Bind(fd, sockaddr(from))
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
	arrived := make(chan error, 1)
	go func() {
		buf := make([]byte, payload)
		_ = l.SetReadDeadline(time.Now().Add(waitFor))
		n, from, err := l.ReadFromUDPAddrPort(buf)
		if err == nil && k == canary.UDP {
			_, err = l.WriteToUDPAddrPort(buf[:n], from)
		}
		arrived <- err
	}()
	t, err := ask(netip.AddrPortFrom(addr, 0), at, payload, k == canary.UDP)
	if e := <-arrived; e != nil {
		return t, fmt.Errorf("the datagram does not arrive: %w (does a firewall drop it?)", e)
	}
	return t, err
}

// ask sends one datagram and waits for the answer, if there is to be one.
func ask(from, to netip.AddrPort, payload int, answered bool) (flow.Tuple, error) {
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
	if err != nil {
		return flow.Tuple{}, err
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, payload)
	if _, err := c.Write(buf); err != nil {
		return flow.Tuple{}, err
	}
	if answered {
		_ = c.SetReadDeadline(time.Now().Add(waitFor))
		if _, err := c.Read(buf); err != nil {
			return flow.Tuple{}, fmt.Errorf("the answer does not arrive: %w (does a firewall drop it?)", err)
		}
	}
	return tuple(unix.IPPROTO_UDP, c.LocalAddr().(*net.UDPAddr).AddrPort(), to), nil
}
