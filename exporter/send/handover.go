package send

import (
	"slices"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

// When an aggregator leaves or returns, the two ends of a connection may tell different
// ones of it for a moment, and neither would know what the other was told. So each
// record of which another node may tell the other end is remembered for a while, and
// whoever takes the connection over gets it again, as handed over and without deltas.

// recentFor is how long: as long as an aggregator waits for the other end, and an agent
// to connect again.
const recentFor = 20 * time.Second

// recent is a record that was written to an aggregator.
type recent struct {
	at time.Time
	item
}

// pairs tells whether another node may tell of the same connection.
func pairs(r *flow.Record) bool {
	switch r.FlowType {
	case flow.FlowTypeInterNode, flow.FlowTypeFromExternal:
		return true
	case flow.FlowTypeIntraNode, flow.FlowTypeToExternal:
		return false
	case flow.FlowTypeUnspecified:
	}
	return r.Has.Has(flow.FScope) && (r.Scope == flow.ScopeCrossNode || r.Scope == flow.ScopeCrossZone)
}

// remember keeps what was written, at most a quarter of what may wait, and gives what
// others get already: who is up changed while it waited. p.mu is held.
func (p *peer) remember(now time.Time, items []item) (late []recent) {
	if len(p.s.peers) == 1 || p.s.cfg.Transport == "udp" {
		return nil // nobody takes over, or nobody says goodbye
	}
	for _, it := range items {
		switch {
		case !it.pairs:
		case p.s.choose(it.hash) != p:
			late = append(late, recent{now, it})
		default:
			p.recent = append(p.recent, recent{now, it})
		}
	}
	drop := max(len(p.recent)-p.s.cfg.Queue/4, 0)
	for drop < len(p.recent) && now.Sub(p.recent[drop].at) > recentFor {
		drop++
	}
	if drop > 0 {
		n := copy(p.recent, p.recent[drop:])
		clear(p.recent[n:])
		p.recent = p.recent[:n]
	}
	return late
}

func (p *peer) forget() {
	p.mu.Lock()
	p.recent = nil
	p.mu.Unlock()
}

// handOver tells the aggregators that now get them of the connections that p was told of.
func (s *Sender) handOver(p *peer) {
	p.mu.Lock()
	var move, stay []recent
	for _, x := range p.recent {
		if time.Since(x.at) > recentFor {
			continue
		}
		if s.choose(x.hash) == p {
			stay = append(stay, x)
		} else {
			move = append(move, x)
		}
	}
	p.recent = stay
	p.mu.Unlock()
	s.tellAgain(move)
}

// tellAgain sends records without deltas to whoever gets them now.
func (s *Sender) tellAgain(move []recent) {
	if len(move) == 0 || s.stopping.Load() {
		return
	}
	h := newHandover(&s.set)
	for _, x := range slices.Backward(move) { // the newest of each connection says all
		it := x.item
		body, ok := h.again(&it)
		if !ok {
			continue
		}
		it.body, it.amount, it.handed = body, ledger.Amount{Records: 1}, true
		s.stage.In(it.amount)
		s.held.add(it.amount, 1)
		s.choose(it.hash).push(it)
	}
}

// handover makes records over.
type handover struct {
	set   *ipfix.Set
	enc   *ipfix.Encoder
	dec   *ipfix.Session
	seen  map[told]bool
	route uint64 // of the record that is being decoded
	body  []byte
}

// told is one connection at this node.
type told struct {
	route uint64 // hash
	start int64
}

func newHandover(set *ipfix.Set) *handover {
	h := &handover{set: set, seen: map[told]bool{}, enc: ipfix.NewEncoder(0, ipfix.EncoderOptions{MaxMessage: 65535}), dec: ipfix.NewSession(ipfix.SessionOptions{})}
	for _, t := range set.Templates() {
		h.enc.AddTemplate(t)
	}
	return h
}

// again gives the body of a record that says the same without deltas; false where a
// newer one of the connection was given before.
func (h *handover) again(it *item) ([]byte, bool) {
	t := h.set.V4
	if it.v6 {
		t = h.set.V6
	}
	h.body, h.route = nil, it.hash
	if !h.enc.AppendBody(t, it.body) || h.dec.Decode(0, h.enc.Take(0), h) != nil {
		return nil, false
	}
	return h.body, h.body != nil
}

// Record takes the record that again decodes.
func (h *handover) Record(r *flow.Record) {
	c := told{h.route, r.Start}
	if h.seen[c] {
		return
	}
	h.seen[c] = true
	r.SetHandedOver(true)
	if r.Has.Has(flow.FFirst) {
		r.First = false
	}
	// What it does not have stays absent.
	r.PacketsDelta, r.BytesDelta, r.RevPacketsDelta, r.RevBytesDelta = 0, 0, 0, 0
	h.body = ipfix.AppendRecord(nil, h.set.For(r), r)
}

// Ledger is of no use here.
func (h *handover) Ledger(*ipfix.LedgerRow) {}
