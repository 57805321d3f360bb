package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/canary"
)

// way is what became of one target.
type way struct {
	sent    []canary.Sent
	skipped []canary.Skipped
}

// reach opens the canaries of one target, until one cannot be opened.
func (o *Options) reach(ctx context.Context, t *Target) (w way) {
	for _, k := range t.Kinds {
		s := canary.Sent{Kind: k, Family: t.Family(), OpenedMs: time.Now().UnixMilli(), Path: t.Path}
		if k != canary.Refused && t.Class != canary.External {
			s.Payload = uint64(o.Payload)
		}
		var tuple flow.Tuple
		err := conntrack.InNetNS(t.netns(o.NetNS), func() (err error) {
			tuple, err = t.open(k, o.Payload)
			return err
		})
		if err != nil {
			w.skipped = append(w.skipped, canary.Skipped{
				Path: t.Path, Family: s.Family, Why: fmt.Sprintf("%s from %s to %s: %v", k, t.From, t.at(k), bare(err)), Remedy: t.remedy(),
			})
			return w
		}
		o.settled(ctx, tuple, &s)
		w.sent = append(w.sent, s)
	}
	return w
}

func (t *Target) netns(own string) string {
	if t.NetNS != "" {
		return t.NetNS
	}
	return own
}

// at is where the kind goes.
func (t *Target) at(k canary.Kind) netip.AddrPort {
	if t.Port != 0 {
		return netip.AddrPortFrom(t.To, t.Port)
	}
	return netip.AddrPortFrom(t.To, k.Answered())
}

func (t *Target) open(k canary.Kind, payload int) (flow.Tuple, error) {
	from, to := netip.AddrPortFrom(t.From, 0), t.at(k)
	switch {
	case t.Class == canary.External:
		return touch(t.From, to)
	case k == canary.TCP:
		return talk(from, to, payload)
	case k == canary.Refused:
		return refuse(from, to)
	default:
		return ask(from, to, payload, true)
	}
}

func (t *Target) remedy() string {
	if t.Class == canary.External {
		return "does the server of probe.external accept connections from pods of probe.namespace?"
	}
	return "does the agent there run with probe.interval and probe.listen, and does no policy deny ports 61980 to 61999?"
}

// touch connects from a port of the probe, by which the canary is known, and closes.
func touch(from netip.Addr, to netip.AddrPort) (flow.Tuple, error) {
	// The ports below those at which the pod answers, one after the other: the last ones
	// rest.
	ports := uint64(canary.TCP.Answered() - canary.FirstPort)
	turn := uint64(time.Now().Unix()) / 5
	for i := range ports {
		port := canary.FirstPort + uint16((turn+i)%ports)
		fd, src, err := bound(netip.AddrPortFrom(from, port))
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return flow.Tuple{}, err
		}
		err = unix.Connect(fd, sockaddr(to))
		_ = unix.Close(fd)
		switch {
		case err == nil:
			return tuple(unix.IPPROTO_TCP, src, to), nil
		case !errors.Is(err, unix.EADDRNOTAVAIL): // the port rests after the last canary to there
			return flow.Tuple{}, os.NewSyscallError("connect", err)
		}
	}
	return flow.Tuple{}, fmt.Errorf("no port of the probe is free (%d to %d): %w", canary.FirstPort, canary.TCP.Answered()-1, unix.EADDRINUSE)
}

// bare takes the addresses off a network error: they stand before it.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// answeredBy names who answered behind a Service, and knows the canary by him. Where
// the client is translated as well, the server's node knows another tuple, and nobody
// asks for its word.
func (o *Options) answeredBy(c *track.Conn, s *canary.Sent) {
	if c.Reply.Src == c.Orig.Dst && c.Reply.Dst == c.Orig.Src {
		return
	}
	server := netip.AddrPortFrom(c.Reply.SrcAddr(), c.Reply.SrcPort)
	s.Key = canary.Key(c.Orig.Proto, netip.AddrPortFrom(c.Orig.SrcAddr(), c.Orig.SrcPort), server)
	for i := range o.Plan.Ends {
		if e := &o.Plan.Ends[i]; s.Service != "" && e.Addr == server.Addr() {
			s.Dst, s.DstNode = e.Name, e.Node
		}
	}
	if c.Reply.Dst != c.Orig.Src {
		s.DstNode = ""
	}
}
