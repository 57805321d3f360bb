package why

import (
	"fmt"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// reset: an established connection was cut, and it is known by whom.
func reset(f *Facts, m *mix) *Finding {
	r := judged(f.Conns, func(r *flow.Record) bool {
		return r.Outcome == flow.OutcomeReset && (r.ResetBy == flow.ResetBySrc || r.ResetBy == flow.ResetByDst)
	})
	if r == nil {
		return nil
	}
	who, other := f.Src, f.Dst
	if r.ResetBy == flow.ResetByDst {
		who, other = f.Dst, f.Src
	}
	return &Finding{
		Cause: CauseReset, Claim: fmt.Sprintf("%s cuts connections with %s (RST)", who, other),
		Evidence: []string{fmt.Sprintf("%s reset, evidence: %s", m.text(m.of(flow.OutcomeReset)), evidence(r))},
		Next:     fmt.Sprintf("look at the logs of %s at %s", who, clock(r.End)),
	}
}

// unanswered: it is known that the server's node got the opening and nothing came back.
func unanswered(f *Facts, m *mix) *Finding {
	r := judged(f.Conns, func(r *flow.Record) bool {
		return r.Outcome == flow.OutcomeUnanswered && (r.SeenBy == flow.SeenByBoth || r.SeenBy == flow.SeenByDestination)
	})
	proto, port := f.target(m)
	if open, _ := f.Listeners.at(proto, port); r == nil || backlogFull(f, m) != nil && len(open) > 0 {
		return nil
	}
	return &Finding{
		Cause: CauseUnanswered, Claim: fmt.Sprintf("%s gets the packets of %s and does not answer", f.Dst, f.Src),
		Evidence: []string{
			fmt.Sprintf("%s unanswered; they reached %s", m.text(m.of(flow.OutcomeUnanswered)), orUnknown(r.DstNode)),
		},
		Next: "look at the server, and at rules on its node or in its pod that drop",
	}
}

// unexplained: connections fail and no other rule knows why.
func unexplained(f *Facts, m *mix) *Finding {
	x := &Finding{
		Cause: CauseUnexplained, Claim: fmt.Sprintf("%s of %s -> %s failed, and nothing that was seen says why", m.text(m.failed), f.Src, f.Dst),
		Evidence: []string{"outcomes: " + m.words(), "seen by " + flow.SeenByWords[m.last.SeenBy] + ", evidence: " + evidence(m.last)},
		Next:     "weirctl check node " + m.last.DstNode,
	}
	if m.last.DstNode == "" {
		x.Next = "weirctl check node"
	}
	for _, b := range f.Blind {
		x.Evidence = append(x.Evidence, "not seen: "+b)
	}
	return x
}

// notSeen: there is no connection at all.
func notSeen(f *Facts, m *mix) *Finding {
	if m.n > 0 || nameMissing(f, m) != nil {
		return nil
	}
	x := &Finding{
		Cause: CauseNotSeen, Claim: fmt.Sprintf("no connection from %s to %s was seen between %s and %s", f.Src, f.Dst, clock(f.FromMs), clock(f.ToMs)),
		Next: command("%s | stats conns by dst.workload, dst.name, dst.port, outcome | top 20", f.SrcQuery) + " shows where it connects instead",
	}
	for _, b := range f.Blind {
		x.Evidence = append(x.Evidence, "not seen: "+b)
	}
	switch {
	case len(f.Blind) > 0:
	case !f.Covered:
		x.Evidence = append(x.Evidence, "what the nodes of both ends can see is not known: weirctl get coverage tells of each node")
	default:
		x.Evidence = append(x.Evidence, "the nodes of both ends see this class of traffic, so none was tried, or its own node dropped the opening without a log rule")
	}
	return x
}

// allWell: there are connections, and none of them failed.
func allWell(f *Facts, m *mix) *Finding {
	if m.n == 0 || m.failed > 0 {
		return nil
	}
	x := &Finding{
		Cause: CauseAllWell, Claim: fmt.Sprintf("all is well between %s and %s", f.Src, f.Dst),
		Evidence: []string{"outcomes: " + m.words()}, Next: "nothing to do",
	}
	switch {
	case m.explained:
		x.Claim, x.Next = fmt.Sprintf("connections between %s and %s work in spite of that", f.Src, f.Dst), "see above"
	case m.by[flow.OutcomeOK] == 0:
		x.Claim = fmt.Sprintf("%s and %s are connected, and nothing has proven an outcome yet", f.Src, f.Dst)
	}
	var rtt []uint32
	for i := range f.Conns {
		if r := &f.Conns[i]; r.Has.Has(flow.FRTT) {
			rtt = append(rtt, r.RTT)
		}
	}
	if len(rtt) > 0 {
		slices.Sort(rtt)
		x.Evidence = append(x.Evidence, fmt.Sprintf("round trip %.1f ms (median of %d), %.1f ms (95th percentile)", ms(rtt[len(rtt)/2]), len(rtt), ms(rtt[len(rtt)*95/100])))
	}
	if n := retransmits(f.Conns); n > 0 {
		x.Evidence = append(x.Evidence, fmt.Sprintf("the sockets sent %d segments again", n))
	}
	return x
}

func ms(us uint32) float64 { return float64(us) / 1000 }

// changed: what happened to either end lately, where something is wrong.
func changed(f *Facts, m *mix) *Finding {
	if len(f.Changes) == 0 || m.failed == 0 && m.n > 0 {
		return nil
	}
	x := &Finding{
		Cause: CauseRecentlyChanged, Claim: fmt.Sprintf("%d changes touched these ends in the last hour", len(f.Changes)),
		Next: "see whether one of them explains it",
	}
	if len(f.Changes) == 1 {
		x.Claim = "one change touched these ends in the last hour"
	}
	for i, c := range slices.Backward(f.Changes) {
		if len(f.Changes)-i > 5 {
			x.Evidence = append(x.Evidence, fmt.Sprintf("and %d before", i+1))
			break
		}
		x.Evidence = append(x.Evidence, changeText(&c))
	}
	return x
}
