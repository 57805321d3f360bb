package outcome

import (
	"math"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// resets are the RSTs that were seen, the oldest first. Conntrack tells of a reset
// connection at the next dump, or when its entry dies (nf_conntrack_tcp_timeout_close,
// 10 s).
type resets struct {
	at   map[flow.Tuple]*reset
	line []*reset // by the time of the first; head is the oldest
	head int
}

type reset struct {
	tuple           flow.Tuple
	firstMs, lastMs int64
	forged          bool
	held            uint64 // observations that belong to no record yet
	stale           bool   // another connection of the tuple has its place in at
}

func newResets() resets { return resets{at: map[flow.Tuple]*reset{}} }

// sameResetMs is how long the RSTs of one connection may go on: both ends' stragglers.
const sameResetMs = 5000

// reset takes a RST. Where there is no room, the oldest goes.
func (j *Joiner) reset(o *Observation) {
	rs := &j.rsts
	j.stats.Held++
	if r := rs.at[o.Tuple]; r != nil {
		if o.TimeMs-r.lastMs <= sameResetMs {
			r.lastMs = max(r.lastMs, o.TimeMs)
			r.held++
			return
		}
		r.stale = true
	}
	if len(rs.line)-rs.head >= j.cfg.Max {
		j.stats.Full += j.dropReset()
	}
	r := &reset{tuple: o.Tuple, firstMs: o.TimeMs, lastMs: o.TimeMs, forged: o.Forged, held: 1}
	rs.at[o.Tuple] = r
	rs.line = append(rs.line, r)
}

// dropReset forgets the oldest and gives how many of its observations had no record.
func (j *Joiner) dropReset() uint64 {
	rs := &j.rsts
	r := rs.line[rs.head]
	rs.line[rs.head] = nil
	if rs.head++; rs.head*2 > len(rs.line) {
		n := copy(rs.line, rs.line[rs.head:])
		clear(rs.line[n:])
		rs.line, rs.head = rs.line[:n], 0
	}
	if !r.stale {
		delete(rs.at, r.tuple)
	}
	j.stats.Held -= r.held
	return r.held
}

// forgetResets forgets those that no export will ask for any more.
func (j *Joiner) forgetResets(nowMs int64) {
	const closing = 20_000 // ms, of an entry in CLOSE
	rs := &j.rsts
	for rs.head < len(rs.line) && (nowMs == math.MaxInt64 || nowMs-rs.line[rs.head].firstMs >= j.cfg.HoldMs+closing) {
		j.stats.NoConnection += j.dropReset()
	}
}

// whoReset says in x who sent its first RST, once it is decided or over. A RST that ended no connection, such as one
// after both FINs, belongs to its record and says nothing.
func (j *Joiner) whoReset(x *track.Export) {
	c := x.Conn
	decided := x.Outcome == flow.OutcomeReset || x.Outcome == flow.OutcomeRefused
	if c.Orig.Proto != protoTCP || c.NoEntry || !x.Final && !decided {
		return
	}
	var first *reset
	var by flow.ResetBy
	translated := c.Orig != c.Reply.Reverse()
	for i, t := range [...]flow.Tuple{c.Orig, c.Reply.Reverse(), c.Reply, c.Orig.Reverse()} {
		if i&1 == 1 && !translated {
			continue // the same as the one before
		}
		r := j.rsts.at[t]
		if r == nil || !r.of(x) {
			continue
		}
		j.stats.Joined += r.held
		j.stats.Held -= r.held
		r.held = 0
		if first != nil && first.firstMs <= r.firstMs {
			continue
		}
		first = r
		switch {
		case r.forged:
			by = flow.ResetByPath
		case i < 2:
			by = flow.ResetBySrc
		default:
			by = flow.ResetByDst
		}
	}
	// Who refused is not in the address: a rule on the way answers a SYN in the server's
	// name. What both nodes saw decides (aggregator/correlate).
	if first != nil && decided && (x.Outcome == flow.OutcomeReset || first.forged) {
		x.ResetBy, x.Evidence = by, x.Evidence|flow.EvidencePacket
	}
}

// of tells whether a RST is of that connection, by its time.
func (r *reset) of(x *track.Export) bool {
	const slack = 1000 // ms; as in attempt.of
	return (x.StartMs == 0 || r.lastMs >= x.StartMs-slack) && (x.Conn.Stop == 0 || r.firstMs <= x.Conn.Stop/1e6+slack)
}
