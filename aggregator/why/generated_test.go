package why

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

func some[T any](rng *rand.Rand, most int, f func() T) (out []T) {
	for range rng.IntN(most + 1) {
		out = append(out, f())
	}
	return out
}

func either[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

// randomConn is a record of any content, or one of the pair's with a few fields that matter.
func randomConn(rng *rand.Rand) flow.Record {
	if rng.IntN(3) == 0 {
		return flowtest.Random(rng)
	}
	return conn(flow.Outcome(rng.IntN(len(flow.OutcomeWords))), func(r *flow.Record) {
		r.SetSeenBy(flow.SeenBy(rng.IntN(len(flow.SeenByWords))))
		r.SetEvidence(flow.Evidence(rng.IntN(1 << len(flow.EvidenceWords))))
		if rng.IntN(2) == 0 {
			r.SetResetBy(flow.ResetBy(rng.IntN(len(flow.ResetByWords))))
		}
		if rng.IntN(3) == 0 {
			r.SetPolicyEval(flow.PolicyEval(rng.IntN(len(flow.PolicyEvalWords))))
			r.SetPolicyEvalWhy("because")
		}
		if rng.IntN(3) == 0 {
			sent := rng.Uint64N(1000)
			counted(sent, rng.Uint64N(1000), sent*rng.Uint64N(1500), rng.Uint64N(1_500_000))(r)
		}
		if rng.IntN(4) == 0 {
			r.SetDstNode("")
		}
		r.SetEnd(t0 - rng.Int64N(900_000))
	})
}

func randomFacts(rng *rand.Rand) *Facts {
	f := &Facts{
		Src: "shop/cart", Dst: "shop/pay", SrcQuery: "src.ns = shop", DstQuery: "dst.ns = shop", FromMs: t0 - 900_000, ToMs: t0,
		Port: either[uint16](rng, 0, 443, 8443), Covered: rng.IntN(2) == 0, Name: either(rng, "", "pay.shop"),
	}
	f.Conns = some(rng, either(rng, 0, 1, 5, 40), func() flow.Record { return randomConn(rng) })
	if rng.IntN(2) == 0 {
		f.Service = &Service{Name: either(rng, "shop/pay", "pay"), Ready: rng.IntN(2), Unready: rng.IntN(2), EndpointPorts: either(rng, nil, []uint16{8443})}
		f.Service.Ports = either(rng, nil, []cluster.Port{{Number: 443, Proto: 6, Target: 8443}})
	}
	f.Listeners.Known = rng.IntN(2) == 0
	f.Listeners.List = some(rng, 9, func() Listener {
		return Listener{
			Pod: "shop/pay-1", Addr: either(rng, netip.IPv6Unspecified(), netip.IPv6Loopback()), Proto: either[uint8](rng, 6, 17), Port: either[uint16](rng, 8443, 8080, uint16(rng.IntN(65536))),
			Queue: rng.Uint32N(3), Limit: rng.Uint32N(3), Full: rng.IntN(4) == 0, Drops: uint64(rng.IntN(2)),
		}
	})
	if rng.IntN(3) == 0 {
		f.Policy = &Policy{Decision: eval.Decision{Verdict: flow.PolicyEval(rng.IntN(len(flow.PolicyEvalWords)))}}
	}
	f.Nodes = some(rng, 3, func() Node {
		n := Node{Name: either(rng, "node-a", "node-b"), HeardMs: either(rng, 0, t0), Silent: rng.IntN(4) == 0}
		if rng.IntN(2) == 0 {
			n.Table = &Table{FillPct: rng.IntN(101), Drops: uint64(rng.IntN(2)), EarlyDrops: uint64(rng.IntN(2)), Window: time.Minute}
		}
		return n
	})
	f.Changes = some(rng, either(rng, 0, 3, 60), func() cluster.Change {
		return cluster.Change{
			TimeMs: t0 - rng.Int64N(3_600_000), Kind: either(rng, cluster.ChangeKinds...), Object: either(rng, "Node/node-a", "Node/node-b", "Service/pay", "NetworkPolicy/x"),
			What: "changed", Bad: rng.IntN(2) == 0,
		}
	})
	f.DNS = some(rng, 3, func() flow.Record { return either(rng, dns(0), dns(3), flowtest.Random(rng)) })
	f.Blind = some(rng, 30, func() string { return "node-b, cross-node v4: nobody looked" })
	return f
}

// grounds says whether the facts have what a cause rests on, said another way than the
// rules say it.
func grounds(f *Facts, c Cause) bool {
	conns := func(want func(*flow.Record) bool) bool {
		return slices.ContainsFunc(f.Conns, func(r flow.Record) bool { return want(&r) })
	}
	failed := conns(func(r *flow.Record) bool { return r.Outcome > flow.OutcomeOK })
	outcome := func(list ...flow.Outcome) bool {
		return conns(func(r *flow.Record) bool { return slices.Contains(list, r.Outcome) })
	}
	listener := func(want func(*Listener) bool) bool {
		return slices.ContainsFunc(f.Listeners.List, func(l Listener) bool { return want(&l) })
	}
	node := func(want func(*Node) bool) bool {
		return slices.ContainsFunc(f.Nodes, func(n Node) bool { return want(&n) })
	}
	table := func(n *Node) bool { return n.Table != nil && n.Table.Drops+n.Table.EarlyDrops > 0 }
	counters := func(r *flow.Record) bool { return r.Has.Has(flow.FLossPackets) && r.Has.Has(flow.FPacketsSrc) }
	switch c {
	case CauseNodeSilent:
		return node(func(n *Node) bool { return n.Silent })
	case CauseNameMissing:
		return len(f.DNS) > 0 && len(f.Conns) == 0 && f.Name != ""
	case CauseNoEndpoint:
		return f.Service != nil && f.Service.Ready == 0
	case CauseWrongPort:
		return f.Service != nil && len(f.Service.Ports) > 0 || f.Listeners.Known && len(f.Listeners.List) > 0 && failed
	case CauseLoopbackOnly:
		return failed && listener(func(l *Listener) bool { return l.Addr.IsLoopback() })
	case CauseNothingListens:
		return conns(func(r *flow.Record) bool {
			return r.Outcome == flow.OutcomeRefused && r.ResetBy != flow.ResetByPath && (f.Listeners.Known || r.SeenBy == flow.SeenByBoth)
		})
	case CauseBacklogFull:
		return failed && listener(func(l *Listener) bool { return l.Full || l.Queue > l.Limit || l.Drops > 0 })
	case CauseDenied:
		return outcome(flow.OutcomeDenied)
	case CausePolicyDenies:
		return conns(func(r *flow.Record) bool { return Failed(r) && r.PolicyEval == flow.PolicyEvalDenied }) || f.Policy != nil && f.Policy.Decision.Verdict == flow.PolicyEvalDenied
	case CauseConntrackFull:
		return failed && (node(table) || slices.ContainsFunc(f.Changes, func(c cluster.Change) bool { return c.Kind == cluster.ChangeConntrack && c.Bad }))
	case CauseConntrackNear:
		return node(func(n *Node) bool { return table(n) || n.Table != nil && n.Table.FillPct >= 80 })
	case CauseRejectedOnPath:
		return conns(func(r *flow.Record) bool {
			return r.ResetBy == flow.ResetByPath && (r.Outcome == flow.OutcomeRefused || r.Outcome == flow.OutcomeReset)
		})
	case CauseMTU:
		return conns(counters)
	case CausePathLoss:
		return conns(counters) || conns(func(r *flow.Record) bool {
			return r.Outcome == flow.OutcomePathLoss && r.PolicyEval != flow.PolicyEvalDenied
		})
	case CauseReset:
		return outcome(flow.OutcomeReset) && conns(func(r *flow.Record) bool { return r.ResetBy == flow.ResetBySrc || r.ResetBy == flow.ResetByDst })
	case CauseUnanswered:
		return conns(func(r *flow.Record) bool { return r.Outcome == flow.OutcomeUnanswered && r.SeenBy != flow.SeenBySource })
	case CauseUnexplained:
		return failed
	case CauseNotSeen:
		return len(f.Conns) == 0
	case CauseNotEnforced:
		return conns(func(r *flow.Record) bool { return r.Outcome == flow.OutcomeOK && r.PolicyEval == flow.PolicyEvalDenied })
	case CauseAllWell:
		return len(f.Conns) > 0 && !failed
	case CauseRecentlyChanged:
		return len(f.Changes) > 0
	}
	return false
}

// wrongWith says what is wrong with an answer to facts, whatever they are.
func wrongWith(f *Facts, list []Finding) string {
	have := map[Cause]bool{}
	for i := range list {
		x := &list[i]
		switch {
		case have[x.Cause]:
			return fmt.Sprintf("%s is told twice", x.Cause)
		case x.Claim == "" || x.Next == "" || len(x.Evidence) == 0 || slices.Contains(x.Evidence, ""):
			return fmt.Sprintf("something is empty in %+v", x)
		case len(x.Evidence) > maxEvidence+1:
			return fmt.Sprintf("%s has %d lines of evidence", x.Cause, len(x.Evidence))
		case !grounds(f, x.Cause):
			return fmt.Sprintf("nothing supports %+v", x)
		}
		for _, line := range append([]string{x.Claim, x.Next}, x.Evidence...) {
			if utf8.RuneCountInString(line) > maxLine {
				return fmt.Sprintf("a line of %d characters", utf8.RuneCountInString(line))
			}
		}
		have[x.Cause] = true
	}
	failed := slices.ContainsFunc(f.Conns, func(r flow.Record) bool { return Failed(&r) })
	switch {
	case len(list) == 0:
		return "there is no answer"
	case failed && have[CauseAllWell]:
		return "connections failed, and all is well"
	case failed && len(have) == 1 && have[CauseRecentlyChanged]:
		return "connections failed, and no cause is named nor said to be unknown"
	}
	return ""
}

func checkGenerated(t *testing.T, seed uint64) {
	t.Helper()
	f := randomFacts(rand.New(rand.NewPCG(seed, 1)))
	a, b := Why(f), Why(f)
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("seed %d: not the same twice: %s", seed, d)
	}
	if w := wrongWith(f, a); w != "" {
		t.Errorf("seed %d: %s", seed, w)
	}
}

// TestGeneratedFacts: whatever the facts, each cause that is told has its grounds in them,
// every answer is bounded, and the same facts give the same answer.
func TestGeneratedFacts(t *testing.T) {
	told := map[Cause]int{}
	for seed := range uint64(5000) {
		checkGenerated(t, seed)
		for _, x := range Why(randomFacts(rand.New(rand.NewPCG(seed, 1)))) {
			told[x.Cause]++
		}
		if t.Failed() {
			return
		}
	}
	for _, c := range allCauses {
		if told[c] == 0 {
			t.Errorf("%s was never told: it is not tried", c)
		}
	}
}

var allCauses = []Cause{
	CauseNodeSilent, CauseNameMissing, CauseNoEndpoint, CauseWrongPort, CauseLoopbackOnly, CauseNothingListens, CauseBacklogFull, CauseDenied, CausePolicyDenies,
	CauseConntrackFull, CauseConntrackNear, CauseRejectedOnPath, CauseMTU, CausePathLoss, CauseReset, CauseUnanswered, CauseUnexplained, CauseNotSeen, CauseNotEnforced,
	CauseAllWell, CauseRecentlyChanged,
}

func FuzzWhy(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { checkGenerated(t, seed) })
}
