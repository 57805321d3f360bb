// Package simulate says what a change of NetworkPolicies would do to connections
// that were really made.
//
// Idea: the best test of a policy is the traffic of the last day. Each recorded kind
// of connection is judged twice by policy/eval, by the policies that are and by those
// that would be, and what differs is grouped by the owners of both ends.
//
// In: policies by namespace, the change, and recorded connections with both ends as
// policies see them. Out: a Report whose numbers add up: every connection is in
// exactly one of the changed groups, the unchanged, or the unjudged with a reason. It
// reads no history and knows no cluster; it keeps nothing.
package simulate

import (
	"cmp"
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

// Conns are recorded connections of one kind: the same ends, protocol and port.
type Conns struct {
	Packet             eval.Packet
	SrcOwner, DstOwner string // what the groups are called: namespace/Kind/name, or an address
	Count              uint64
	FirstMs, LastMs    int64  // Unix milliseconds: the first began, the last ended
	Unknown            string // why the ends cannot be judged, "" if they can
	Hidden             Hidden
}

// Policies are NetworkPolicies by namespace.
type Policies map[string][]*cluster.NetworkPolicy

// With gives the policies after a change: those of apply replace what has their
// name or are added, those of remove go. p stays as it is.
func (p Policies) With(apply, remove []*cluster.NetworkPolicy) Policies {
	out := Policies{}
	gone := func(np *cluster.NetworkPolicy, list []*cluster.NetworkPolicy) bool {
		return slices.ContainsFunc(list, func(x *cluster.NetworkPolicy) bool { return x.Namespace == np.Namespace && x.Name == np.Name })
	}
	for ns, list := range p {
		for _, np := range list {
			if !gone(np, apply) && !gone(np, remove) {
				out[ns] = append(out[ns], np)
			}
		}
	}
	for _, np := range apply {
		out[np.Namespace] = append(out[np.Namespace], np)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *cluster.NetworkPolicy) int { return cmp.Compare(a.Name, b.Name) })
	}
	return out
}

// Group is a kind of connection whose verdict would change.
type Group struct {
	Src     string          `json:"src"`
	Dst     string          `json:"dst"`
	Proto   uint8           `json:"proto"`
	Port    uint16          `json:"port"`
	Before  flow.PolicyEval `json:"-"`
	After   flow.PolicyEval `json:"-"`
	Was     string          `json:"before"` // words of Before and After
	Becomes string          `json:"after"`
	Why     string          `json:"why"` // of After
	Count   uint64          `json:"conns"`
	FirstMs int64           `json:"first_ms"`
	LastMs  int64           `json:"last_ms"`
}

// Report is the answer. Judged + Unjudged is every connection that was given.
type Report struct {
	Changed   []Group           `json:"changed"` // those that would be denied first, then by number
	Judged    uint64            `json:"judged"`
	Unchanged uint64            `json:"unchanged"`
	Denied    uint64            `json:"newly_denied"`  // connections that are not denied now and would be
	Allowed   uint64            `json:"newly_allowed"` // the other way round
	Unjudged  map[string]uint64 `json:"unjudged,omitempty"`
}

type groupKey struct {
	src, dst      string
	proto         uint8
	port          uint16
	before, after flow.PolicyEval
}

// Run judges every kind of connection before and after.
func Run(before, after Policies, each func(yield func(*Conns) bool)) Report {
	r := Report{Unjudged: map[string]uint64{}}
	groups := map[groupKey]*Group{}
	each(func(c *Conns) bool {
		if c.Unknown != "" {
			r.Unjudged[c.Unknown] += c.Count
			return true
		}
		p := &c.Packet
		was, ok := judge(before, c)
		will, ok2 := judge(after, c)
		if !ok || !ok2 {
			r.Unjudged[c.Hidden.String()] += c.Count
			return true
		}
		r.Judged += c.Count
		if was.Verdict == will.Verdict {
			r.Unchanged += c.Count
			return true
		}
		switch {
		case will.Verdict == flow.PolicyEvalDenied:
			r.Denied += c.Count
		case was.Verdict == flow.PolicyEvalDenied:
			r.Allowed += c.Count
		}
		k := groupKey{c.SrcOwner, c.DstOwner, p.Proto, p.Port, was.Verdict, will.Verdict}
		g := groups[k]
		if g == nil {
			g = &Group{
				Src: c.SrcOwner, Dst: c.DstOwner, Proto: p.Proto, Port: p.Port, Before: was.Verdict, After: will.Verdict,
				Was: flow.PolicyEvalWords[was.Verdict], Becomes: flow.PolicyEvalWords[will.Verdict], Why: will.String(), FirstMs: c.FirstMs, LastMs: c.LastMs,
			}
			groups[k] = g
		}
		g.Count += c.Count
		g.FirstMs, g.LastMs = min(g.FirstMs, c.FirstMs), max(g.LastMs, c.LastMs)
		return true
	})
	for _, g := range groups {
		r.Changed = append(r.Changed, *g)
	}
	slices.SortFunc(r.Changed, func(a, b Group) int {
		return cmp.Or(
			-cmp.Compare(rank(a.After), rank(b.After)), -cmp.Compare(a.Count, b.Count), cmp.Compare(a.Src, b.Src), cmp.Compare(a.Dst, b.Dst),
			cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Before, b.Before),
		)
	})
	return r
}

// rank puts what would be denied first, then what would no longer be.
func rank(v flow.PolicyEval) int {
	switch v {
	case flow.PolicyEvalDenied:
		return 3
	case flow.PolicyEvalUndefined:
		return 2
	case flow.PolicyEvalAllowed:
		return 1
	default:
		return 0
	}
}
