package correlate

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// says is what one end has to say in the end.
type says struct {
	outcome  flow.Outcome
	evidence flow.Evidence
	by       flow.ResetBy
	replies  uint64 // packets of the server that it counted
	absent   bool   // it says nothing
}

const (
	ct   = flow.EvidenceConntrack
	both = flow.EvidenceBothEnds
	pkt  = flow.EvidencePacket
	nfl  = flow.EvidenceNFLOG
)

// outcomeRecs are the records of one end: as it began, and its end.
func outcomeRecs(end int, s *says, proto uint8) []*flow.Record {
	if s.absent {
		return nil
	}
	begin := half{end: end, port: 1, last: 10, total: 100, delta: 100}.rec()
	last := half{end: end, port: 1, last: 900, total: 200, delta: 100, seq: 1, final: true}.rec()
	for _, r := range []*flow.Record{begin, last} {
		r.SetProto(proto)
		r.SetRevPackets(0)
		r.SetRevPacketsDelta(0)
		r.SetRevBytes(0)
		r.SetRevBytesDelta(0)
		r.SetSrcNode("n1")
		r.SetDstNode("n2")
	}
	last.SetRevPackets(s.replies)
	last.SetRevPacketsDelta(s.replies)
	if s.outcome != flow.OutcomeUnknown {
		last.SetOutcome(s.outcome)
		last.SetEvidence(s.evidence)
	}
	if s.by != flow.ResetByUnknown {
		last.SetResetBy(s.by)
	}
	return []*flow.Record{begin, last}
}

// TestOutcomes has each case told in every order of the two ends' records.
func TestOutcomes(t *testing.T) {
	healthy := []Health{{Node: "n2", V4: true, FromMs: t0 - 60_000}}
	v6only := []Health{{Node: "n2", V6: true, FromMs: t0 - 60_000}}
	late := []Health{{Node: "n2", V4: true, FromMs: t0 - 1000}}
	other := []Health{{Node: "n3", V4: true, FromMs: t0 - 60_000}}
	const (
		ok, refused, reset, timedOut = flow.OutcomeOK, flow.OutcomeRefused, flow.OutcomeReset, flow.OutcomeTimedOut
		unanswered, denied           = flow.OutcomeUnanswered, flow.OutcomeDenied
		pathLoss, unknown            = flow.OutcomePathLoss, flow.OutcomeUnknown
		bySrc, byDst, byPath         = flow.ResetBySrc, flow.ResetByDst, flow.ResetByPath
	)
	none := says{absent: true}
	for _, c := range []struct {
		name     string
		proto    uint8
		src, dst says
		health   []Health
		want     says
	}{
		{"both saw it", 6, says{outcome: ok, evidence: ct}, says{outcome: ok, evidence: ct}, nil, says{outcome: ok, evidence: ct | both}},
		{"nobody listens", 6, says{outcome: refused, evidence: ct}, says{outcome: refused, evidence: ct}, nil, says{outcome: refused, evidence: ct | both, by: byDst}},
		{"nobody listens, udp", 17, says{outcome: refused, evidence: ct | pkt, by: byDst}, says{outcome: refused, evidence: ct | pkt, by: byDst}, nil, says{outcome: refused, evidence: ct | pkt | both, by: byDst}},
		{"rejected on the path", 6, says{outcome: refused, evidence: ct, replies: 1}, none, healthy, says{outcome: refused, evidence: ct | both, by: byPath}},
		{"rejected, and the server's node is not heard", 6, says{outcome: refused, evidence: ct, replies: 1}, none, nil, says{outcome: refused, evidence: ct}},
		{"rejected, and another node is heard", 6, says{outcome: refused, evidence: ct, replies: 1}, none, other, says{outcome: refused, evidence: ct}},
		{"rejected, and the server's node lost records", 6, says{outcome: refused, evidence: ct, replies: 1}, none, late, says{outcome: refused, evidence: ct}},
		{"rejected, and the server's node does not see the family", 6, says{outcome: refused, evidence: ct, replies: 1}, none, v6only, says{outcome: refused, evidence: ct}},
		{"a RST that the server did not send", 6, says{outcome: refused, evidence: ct, replies: 1}, says{outcome: unanswered, evidence: ct}, nil, says{outcome: refused, evidence: ct | both, by: byPath}},
		{"rejected by a rule of the server's node", 6, says{outcome: refused, evidence: ct, replies: 1}, says{outcome: refused, evidence: pkt, by: byPath}, nil, says{outcome: refused, evidence: ct | pkt | both, by: byPath}},
		{"the SYN is lost", 6, says{outcome: unanswered, evidence: ct}, none, healthy, says{outcome: pathLoss, evidence: ct | both}},
		{"the SYN is lost, nothing proves it", 6, says{outcome: unanswered, evidence: ct}, none, nil, says{outcome: unanswered, evidence: ct}},
		{"the datagram is lost", 17, says{outcome: unanswered, evidence: ct}, none, healthy, says{outcome: pathLoss, evidence: ct | both}},
		{"the SYN-ACK is lost", 6, says{outcome: unanswered, evidence: ct}, says{outcome: unknown, replies: 3}, nil, says{outcome: pathLoss, evidence: ct | both}},
		{"the answer is lost", 17, says{outcome: unanswered, evidence: ct}, says{outcome: ok, evidence: ct, replies: 1}, nil, says{outcome: pathLoss, evidence: ct | both}},
		{"the server is mute", 6, says{outcome: unanswered, evidence: ct}, says{outcome: unanswered, evidence: ct}, nil, says{outcome: unanswered, evidence: ct | both}},
		{"denied where it arrives", 6, says{outcome: unanswered, evidence: ct}, says{outcome: denied, evidence: nfl}, nil, says{outcome: denied, evidence: nfl}},
		{"rejected where it arrives", 6, says{outcome: refused, evidence: ct, replies: 1}, says{outcome: denied, evidence: nfl}, nil, says{outcome: denied, evidence: nfl}},
		{"reset by the server", 6, says{outcome: reset, evidence: ct | pkt, by: byDst}, says{outcome: reset, evidence: ct | pkt, by: byDst}, nil, says{outcome: reset, evidence: ct | pkt | both, by: byDst}},
		{"reset by the client", 6, says{outcome: reset, evidence: ct | pkt, by: bySrc}, says{outcome: reset, evidence: ct}, nil, says{outcome: reset, evidence: ct | pkt | both, by: bySrc}},
		{"reset by nobody knows whom", 6, says{outcome: reset, evidence: ct}, says{outcome: reset, evidence: ct}, nil, says{outcome: reset, evidence: ct | both}},
		{"reset on the path", 6, says{outcome: reset, evidence: ct | pkt, by: byDst}, says{outcome: timedOut, evidence: ct}, nil, says{outcome: reset, evidence: ct | pkt | both, by: byPath}},
		{"they contradict each other", 6, says{outcome: ok, evidence: ct}, says{outcome: timedOut, evidence: ct}, nil, says{outcome: ok, evidence: ct}},
		{"one does not know", 6, says{outcome: unknown, replies: 2}, says{outcome: ok, evidence: ct}, nil, says{outcome: ok, evidence: ct}},
		{"nobody knows", 6, says{outcome: unknown, replies: 2}, says{outcome: unknown, replies: 2}, healthy, says{}},
	} {
		a, b := outcomeRecs(sideSrc, &c.src, c.proto), outcomeRecs(sideDst, &c.dst, c.proto)
		for _, order := range merges(a, b) {
			g := newRig(t)
			for _, r := range order {
				k := *r
				g.seeRec(&k)
				g.pass(500)
			}
			for range 30 { // long enough for every deadline
				h := slices.Clone(c.health)
				for i := range h {
					h[i].UpToMs = g.now
				}
				g.c.SetHealth(h)
				g.pass(1000)
			}
			r := g.out[len(g.out)-1]
			got := says{outcome: r.Outcome, evidence: r.Evidence, by: r.ResetBy}
			if got != c.want {
				t.Errorf("%s: %+v, want %+v (order %s)", c.name, got, c.want, sides(order))
			}
			eq(t, c.name+": src.outcome", r.OutcomeSrc, c.src.outcome)
			eq(t, c.name+": dst.outcome", r.OutcomeDst, c.dst.outcome)
			eq(t, c.name+": reset_by is present where it is known", r.Has.Has(flow.FResetBy), c.want.by != 0)
			g.drain()
		}
	}
}

// merges gives every order of a and b that keeps the order of each.
func merges(a, b []*flow.Record) [][]*flow.Record {
	if len(a) == 0 {
		return [][]*flow.Record{b}
	}
	if len(b) == 0 {
		return [][]*flow.Record{a}
	}
	var out [][]*flow.Record
	for _, m := range merges(a[1:], b) {
		out = append(out, append([]*flow.Record{a[0]}, m...))
	}
	for _, m := range merges(a, b[1:]) {
		out = append(out, append([]*flow.Record{b[0]}, m...))
	}
	return out
}

func sides(list []*flow.Record) (s string) {
	for _, r := range list {
		s += fmt.Sprintf(" %s/%d", flow.SeenByWords[r.SeenBy], r.Seq)
	}
	return s
}

// TestSilenceNeedsTime has the server's node speak late: what its silence seemed to
// prove is taken back.
func TestSilenceNeedsTime(t *testing.T) {
	g := newRig(t)
	src := outcomeRecs(sideSrc, &says{outcome: flow.OutcomeUnanswered, evidence: ct}, 6)
	g.seeRec(src[0])
	g.seeRec(src[1])
	g.c.SetHealth([]Health{{Node: "n2", V4: true, FromMs: t0 - 60_000, UpToMs: g.now}})
	g.pass(11_000) // heard from, and not since
	eq(t, "outcome", g.out[0].Outcome, flow.OutcomeUnanswered)
	dst := outcomeRecs(sideDst, &says{outcome: flow.OutcomeUnanswered, evidence: ct}, 6)
	g.seeRec(dst[0])
	g.seeRec(dst[1])
	last := g.out[len(g.out)-1]
	eq(t, "evidence", last.Evidence, ct|both)
	g.drain()
}

// TestSilenceIsWaitedFor has a client that goes on trying after it was told of first: its
// last word is told before the server's node had the time to speak, and once more when
// that node's silence proves the loss.
func TestSilenceIsWaitedFor(t *testing.T) {
	for _, heard := range []bool{true, false} {
		g := newRig(t)
		src := outcomeRecs(sideSrc, &says{outcome: flow.OutcomeUnanswered, evidence: ct}, 6)
		pass := func(ms int64) {
			for range ms / 1000 {
				h := Health{Node: "n2", V4: true, FromMs: t0 - 60_000, UpToMs: g.now}
				if !heard {
					h.UpToMs = t0
				}
				g.c.SetHealth([]Health{h})
				g.pass(1000)
			}
		}
		g.seeRec(src[0])
		pass(70_000) // told, and its active timeout is over
		g.seeRec(src[1])
		pass(3000)
		pass(30_000)
		n := 0
		for i := range g.out {
			if g.out[i].Outcome == flow.OutcomePathLoss {
				n++
				eq(t, "evidence", g.out[i].Evidence, ct|both)
				eq(t, "it is the last", i, len(g.out)-1)
			}
		}
		want := 0
		if heard {
			want = 1
		}
		eq(t, "told as lost", n, want)
		g.drain()
	}
}

func TestAttemptExpectsNobody(t *testing.T) {
	g := newRig(t)
	r := outcomeRecs(sideSrc, &says{outcome: flow.OutcomeAttempt, evidence: flow.EvidenceSocket}, 6)[1]
	g.seeRec(r)
	g.want(1)
	eq(t, "half", g.out[0].Half, false)
	eq(t, "outcome", g.out[0].Outcome, flow.OutcomeAttempt)
	g.drain()
}
