package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/internal/canary"
)

// Place is where canaries of others are answered.
type Place struct {
	NetNS string // path; empty for the present one
	Addr  netip.Addr
}

// Bounds of what an Answerer gives.
const (
	answersAtOnce = 64   // TCP connections of all places
	answerBytes   = 4096 // of one connection, or datagram
	datagramsASec = 256
)

// Answerer echoes what canaries bring, to those that may ask: at the TCP and the UDP
// port that Kind.Answered gives. To anybody else it closes, and sends nothing. It
// answers no datagram from a port of the probe or a well-known one, so that two of a
// kind cannot talk to each other for ever.
type Answerer struct {
	Allow func(netip.Addr) bool
	Log   *slog.Logger

	mu      sync.Mutex
	open    map[Place][]io.Closer
	failed  map[Place]string
	atOnce  atomic.Int64
	Denied  atomic.Uint64 // who may not ask
	Limited atomic.Uint64 // beyond the bounds
	Served  atomic.Uint64
}

// Set opens the places that are new and closes those that are gone. A network namespace
// lives as long as a socket in it, so call it again soon after a pod went.
func (a *Answerer) Set(ctx context.Context, places []Place) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open, a.failed = map[Place][]io.Closer{}, map[Place]string{}
	}
	want := map[Place]bool{}
	for _, p := range places {
		want[p] = true
		if a.open[p] != nil {
			continue
		}
		list, err := a.listen(ctx, p)
		if err != nil {
			if a.failed[p] != err.Error() {
				a.Log.Warn("canaries of other nodes are not answered", "address", p.Addr, "netns", p.NetNS, "error", err)
			}
			a.failed[p] = err.Error()
			continue
		}
		delete(a.failed, p)
		a.open[p] = list
	}
	for p, list := range a.open {
		if !want[p] {
			closeAll(list)
			delete(a.open, p)
		}
	}
	for p := range a.failed {
		if !want[p] {
			delete(a.failed, p)
		}
	}
}

// Open is at how many places canaries are answered.
func (a *Answerer) Open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open)
}

func closeAll(list []io.Closer) {
	for _, c := range list {
		_ = c.Close()
	}
}

func (a *Answerer) listen(ctx context.Context, p Place) (list []io.Closer, err error) {
	err = conntrack.InNetNS(p.NetNS, func() error {
		lc := net.ListenConfig{KeepAlive: -1}
		l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(p.Addr, canary.TCP.Answered()).String())
		if err != nil {
			return err
		}
		list = append(list, l)
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Addr, canary.UDP.Answered())))
		if err != nil {
			return err
		}
		list = append(list, u)
		go a.streams(l)
		go a.datagrams(u)
		return nil
	})
	if err != nil {
		closeAll(list)
		return nil, fmt.Errorf("listen for canaries: %w", err)
	}
	return list, nil
}

func (a *Answerer) streams(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // no descriptor is free: the others close soon
			continue
		}
		from, ok := c.RemoteAddr().(*net.TCPAddr)
		switch {
		case !ok || !a.Allow(from.AddrPort().Addr().Unmap()):
			a.Denied.Add(1)
			_ = c.Close()
		case a.atOnce.Add(1) > answersAtOnce:
			a.atOnce.Add(-1)
			a.Limited.Add(1)
			_ = c.Close()
		default:
			go func() {
				defer a.atOnce.Add(-1)
				a.Served.Add(1)
				_ = c.SetDeadline(time.Now().Add(waitFor))
				_, _ = io.Copy(c, io.LimitReader(c, answerBytes)) // the client checks what comes back
				_ = c.Close()
			}()
		}
	}
}

func (a *Answerer) datagrams(u *net.UDPConn) {
	buf := make([]byte, answerBytes)
	var second int64
	n := 0
	for {
		size, from, err := u.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // an ICMP error of an answer before
			continue
		}
		if now := time.Now().Unix(); now != second {
			second, n = now, 0
		}
		n++
		switch {
		case from.Port() < 1024 || canary.Is(17, from.Port()) || !a.Allow(from.Addr().Unmap()):
			a.Denied.Add(1)
		case n > datagramsASec:
			a.Limited.Add(1)
		default:
			a.Served.Add(1)
			_, _ = u.WriteToUDPAddrPort(buf[:size], from) // the client misses what is lost
		}
	}
}
