package main

import (
	"net/netip"
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/enrich"
	"github.com/weirnet/weir/exporter/send"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/obs"
)

const canariesKept = 1024

// canaries notes the probe's connections on their way through the agent.
type canaries struct {
	*canary.Trail
	clock    func() int64     // the exporter's, which stamps records
	external []netip.AddrPort // servers outside to which canaries go from a port of the probe
}

type sinkFunc func(*flow.Record)

// Send hands a record on.
func (f sinkFunc) Send(r *flow.Record) { f(r) }

// sink hands records to the sender and notes canaries before and after.
func (c *canaries) sink(s *send.Sender) sinkFunc {
	return func(r *flow.Record) {
		probed := c.mark(r)
		to := s.Send(r, enrich.RouteRecord(r))
		if probed {
			c.Given(c.clock(), canary.StageSend, r, to)
		}
	}
}

// mark says in a canary's record that it is one, and notes that the tracker told it.
func (c *canaries) mark(r *flow.Record) bool {
	outside := canary.Is(r.Proto, r.SrcPort) && c.outside(netip.AddrPortFrom(r.DstIP.Unmap(), r.DstPort))
	if !outside && !canary.Is(r.Proto, r.DstPort) {
		return false
	}
	r.SetCanary(true)
	c.Record(c.clock(), canary.StageTrack, r)
	return true
}

func (c *canaries) outside(to netip.AddrPort) bool { return slices.Contains(c.external, to) }

// conn notes an entry that may be a canary's.
func (c *canaries) conn(nowMs int64, x *track.Conn) {
	if canary.Is(x.Orig.Proto, x.Orig.DstPort) || c.outside(netip.AddrPortFrom(x.Orig.DstAddr(), x.Orig.DstPort)) {
		c.Conn(nowMs, x)
	}
}

func (c *canaries) view(s *send.Sender, book *ledger.Book) canary.View {
	v := canary.View{NowMs: c.clock(), Traces: c.List(), Connected: s.Ready()}
	for _, l := range book.Snapshot() {
		if l.Stage == "send" {
			v.Held = l.Held.Records
		}
	}
	return v
}

func (c *canaries) metrics() []obs.Metric {
	return []obs.Metric{{
		Name: "weir_canary_connections_total", Kind: obs.Counter, Help: "Connections of the probe that the agent saw; they are in all books.",
		Read: obs.Value(func() float64 { return float64(c.Seen()) }),
	}}
}
