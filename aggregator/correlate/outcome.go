package correlate

import "github.com/weirnet/weir/api/flow"

// Health says what the silence of a node proves. Times are the aggregator's.
type Health struct {
	Node   string
	FromMs int64 // since then nothing of its records was lost
	UpToMs int64 // it was heard from last
	V4, V6 bool  // it sees what arrives from other nodes, of that family
}

// SetHealth takes what is known of the nodes now; it replaces what was known.
func (c *Correlator) SetHealth(list []Health) {
	if c.health == nil {
		c.health = make(map[string]Health, len(list))
	}
	clear(c.health)
	for i := range list {
		c.health[list[i].Node] = list[i]
	}
}

// verdict is what is said of a connection.
type verdict struct {
	outcome  flow.Outcome
	evidence flow.Evidence
	by       flow.ResetBy
}

func (o *end) verdict() verdict { return verdict{o.outcome(), o.evidence(), o.resetBy()} }

// outcome writes what both ends together prove, and what each said. A verdict holds
// until the next record of the connection: what comes later may mend it.
func (c *Correlator) outcome(e *entry, r *flow.Record) {
	src, dst := &e.ends[sideSrc], &e.ends[sideDst]
	var v verdict
	e.flags &^= entUnproven
	switch {
	case e.both():
		v = joined(e.key.Proto, src, dst)
	case src.flags&endSeen != 0:
		v = src.verdict()
		if more := alone(v); e.waits() && more != v {
			if c.silent(e, r.DstNode) {
				v = more
			} else {
				e.flags |= entUnproven
			}
		}
	default:
		v = dst.verdict()
	}
	if v.outcome != flow.OutcomeUnknown {
		r.SetOutcome(v.outcome)
		r.SetEvidence(v.evidence)
	}
	if v.by != flow.ResetByUnknown && (v.outcome == flow.OutcomeRefused || v.outcome == flow.OutcomeReset) {
		r.SetResetBy(v.by)
	}
	if o := src.outcome(); o != flow.OutcomeUnknown {
		r.SetOutcomeSrc(o)
	}
	if o := dst.outcome(); o != flow.OutcomeUnknown {
		r.SetOutcomeDst(o)
	}
}

// proven tells whether the silence of the server's node proves by now what it did not
// when e was told.
func (c *Correlator) proven(e *entry) bool {
	if e.flags&entUnproven == 0 || !e.waits() || int32(c.nowTick-e.updated-ticks(c.cfg.HalfMs)) < 0 {
		return false
	}
	r := &c.out // free until the next tell
	*r = flow.Record{}
	c.ids.list[e.one().ident].unpack(r, static)
	return c.silent(e, r.DstNode)
}

// silent tells whether the server's node, healthy all the time, would have told of
// the connection by now had it come there.
func (c *Correlator) silent(e *entry, node string) bool {
	h, ok := c.health[node]
	src := &e.ends[sideSrc]
	if !ok || src.start == 0 {
		return false
	}
	if v4 := e.key.SrcAddr().Is4(); v4 && !h.V4 || !v4 && !h.V6 {
		return false
	}
	// Its node tells of an end at once, and of what lives within its own timeouts;
	// the client's word came at updated, when the server's node had the same to say.
	told := c.epoch + int64(e.updated)*tickMs
	return h.FromMs <= src.start-c.cfg.ClockToleranceMs && h.UpToMs >= told+c.cfg.HalfMs/2
}

// alone is the verdict where the server's node saw nothing: what was sent did not
// come there, and what came back is not from there.
func alone(v verdict) verdict {
	switch {
	case v.evidence&flow.EvidenceConntrack == 0:
	case v.outcome == flow.OutcomeUnanswered:
		return verdict{flow.OutcomePathLoss, v.evidence | flow.EvidenceBothEnds, flow.ResetByUnknown}
	case v.outcome == flow.OutcomeRefused:
		return verdict{v.outcome, v.evidence | flow.EvidenceBothEnds, flow.ResetByPath}
	}
	return v
}

// joined is what both ends together prove. A denial that was seen stands above what
// the other end could only wait for. Where the two disagree otherwise, the client's
// word stands and both_ends is missing in the evidence.
func joined(proto uint8, src, dst *end) verdict {
	s, d := src.verdict(), dst.verdict()
	both := s.evidence | d.evidence | flow.EvidenceBothEnds
	switch {
	case s.outcome == flow.OutcomeDenied && d.outcome == flow.OutcomeDenied:
		return verdict{s.outcome, both, flow.ResetByUnknown}
	case s.outcome == flow.OutcomeDenied:
		return s
	case d.outcome == flow.OutcomeDenied:
		return d
	case s.outcome == flow.OutcomeUnknown, s.outcome == flow.OutcomeAttempt && d.outcome != flow.OutcomeUnknown:
		return d
	case s.outcome == d.outcome:
		return verdict{s.outcome, both, agreed(proto, s, d)}
	case s.outcome == flow.OutcomeUnanswered && dst.answered():
		return verdict{flow.OutcomePathLoss, both, flow.ResetByUnknown}
	case proto == 6 && s.outcome == flow.OutcomeRefused && s.evidence&flow.EvidenceConntrack != 0 && dst.silent():
		return verdict{s.outcome, both, flow.ResetByPath} // the server sent nothing, so the RST is not its own
	case s.outcome == flow.OutcomeReset && s.by == flow.ResetByDst && d.outcome == flow.OutcomeTimedOut:
		return verdict{s.outcome, both, flow.ResetByPath}
	case d.outcome == flow.OutcomeReset && d.by == flow.ResetBySrc && s.outcome == flow.OutcomeTimedOut:
		return verdict{d.outcome, both, flow.ResetByPath}
	}
	return s
}

// agreed is who refused or reset what both ends say was refused or reset. A RST that
// passed both nodes came from the end whose address it has; so did the refusal of a
// TCP connection, which only the server can send.
func agreed(proto uint8, s, d verdict) flow.ResetBy {
	switch {
	case s.by == d.by && s.by != flow.ResetByUnknown:
		return s.by
	case s.by != flow.ResetByUnknown && d.by != flow.ResetByUnknown:
		return flow.ResetByUnknown
	case proto == 6 && s.outcome == flow.OutcomeRefused:
		if d.by == flow.ResetByPath {
			return d.by // the server's node made the RST itself
		}
		if (s.by|d.by)&^flow.ResetByDst != 0 {
			return flow.ResetByUnknown
		}
		return flow.ResetByDst
	}
	return s.by | d.by
}

// answered tells whether this end saw an answer of the server.
func (o *end) answered() bool {
	if v := o.outcome(); v != flow.OutcomeUnknown { // ok, refused, reset and timed out are answers
		return v <= flow.OutcomeTimedOut && o.evidence()&flow.EvidenceConntrack != 0
	}
	return o.known(2) && o.total[2] > 0
}

// silent tells whether this end, at its end, had seen no answer of the server.
func (o *end) silent() bool {
	return o.outcome() == flow.OutcomeUnanswered ||
		o.outcome() == flow.OutcomeUnknown && o.flags&endFinal != 0 && o.has&4 != 0 && o.total[2] == 0
}
