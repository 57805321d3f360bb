// Package querytest is the specification of the query language for tests: a generator
// of queries that are well typed, a generator of records that such queries find, and
// Naive, the obvious evaluator that every back end must agree with.
//
// In: a random source. Out: the same queries and records for the same source. For
// tests only; it holds no state.
package querytest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Base is the begin of the time in which Records lie, in milliseconds since the epoch.
const Base = 1_750_000_000_000

// Span is the length of that time in milliseconds: ten minutes.
const Span = 600_000

var (
	spaces    = []string{"shop", "bank", "kube-system"}
	workloads = []string{"Deployment/cart", "Deployment/checkout", "StatefulSet/payments", "DaemonSet/cart"}
	pods      = []string{"cart-0", "cart-1", "checkout-6f", "payments-0"}
	services  = []string{"shop/cart:http", "bank/payments:https", "bank/payments:metrics", "kube-system/dns"}
	hosts     = []string{"api.example", "cdn.example", "cart"}
	policies  = []string{"pci-allow", "pci-deny", "default"}
	ports     = []uint16{53, 80, 443, 8443}
	addrs     = []string{"10.0.1.7", "10.0.1.8", "10.0.2.9", "203.0.113.9", "fd00::7"}
	nodes     = []string{"node-1", "node-2"}
	apps      = []string{"cart", "pay", ""}
)

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// Records gives n records of about n/3 connections between Base and Base+Span, in the
// order in which they end.
func Records(rng *rand.Rand, n int) []flow.Record {
	var out []flow.Record
	for id := uint64(1); len(out) < n; id++ {
		out = append(out, connection(rng, id)...)
	}
	return out[:n]
}

// connection gives the records of one connection: each goes on where the one before it
// ended.
func connection(rng *rand.Rand, id uint64) []flow.Record {
	maybe := func(f func()) {
		if rng.IntN(4) > 0 {
			f()
		}
	}
	var r flow.Record
	at := Base + rng.Int64N(Span)
	r.SetConnID(id * 0x9E3779B97F4A7C15)
	r.SetSrcIP(netip.MustParseAddr(pick(rng, addrs)))
	r.SetDstIP(netip.MustParseAddr(pick(rng, addrs)))
	r.SetProto([]uint8{6, 17, 1}[rng.IntN(3)])
	if r.Proto != 1 {
		r.SetSrcPort(uint16(30000 + rng.IntN(4)))
		r.SetDstPort(pick(rng, ports))
	}
	maybe(func() { r.SetStart(at) })
	maybe(func() {
		r.SetSrcNS(pick(rng, spaces))
		r.SetSrcPod(pick(rng, pods))
		r.SetSrcWorkload(pick(rng, workloads))
	})
	maybe(func() {
		r.SetDstNS(pick(rng, spaces))
		r.SetDstPod(pick(rng, pods))
		r.SetDstWorkload(pick(rng, workloads))
	})
	maybe(func() { r.SetSrcNode(pick(rng, nodes)); r.SetDstNode(pick(rng, nodes)) })
	maybe(func() { r.SetSvcPortName(pick(rng, services)); r.SetSvcPort(pick(rng, ports)) })
	maybe(func() { r.SetDstName(pick(rng, hosts)) })
	maybe(func() { r.SetScope(flow.Scope(rng.IntN(len(flow.ScopeWords)))) })
	maybe(func() { r.SetDstKind(flow.EndKind(rng.IntN(len(flow.EndKindWords)))) })
	maybe(func() { r.SetSeenBy(flow.SeenBy(rng.IntN(len(flow.SeenByWords)))) })
	maybe(func() { r.SetSrcLabels(fmt.Sprintf(`{"app":%q,"a.b/c":"x"}`, pick(rng, apps))) })
	maybe(func() { r.SetDstLabels(fmt.Sprintf(`{"app":%q}`, pick(rng, apps))) })
	if rng.IntN(3) == 0 {
		r.SetIngressPolicy(pick(rng, policies))
		r.SetIngressPolicyNS(pick(rng, spaces))
		r.SetIngressAction(flow.RuleAction(rng.IntN(4)))
	}
	if rng.IntN(3) == 0 {
		r.SetEgressPolicy(pick(rng, policies))
		r.SetEgressAction(flow.RuleAction(rng.IntN(4)))
	}
	counted := rng.IntN(4) > 0
	var out []flow.Record
	for k, n := 0, 1+rng.IntN(5); k < n; k++ {
		if k > 0 || r.Has.Has(flow.FStart) {
			r.SetSince(at)
		}
		at += rng.Int64N(90_000)
		r.SetEnd(at)
		r.SetSeq(uint32(k))
		r.SetFirst(k == 0)
		r.SetFinal(k == n-1)
		changing(rng, &r, counted)
		out = append(out, r)
	}
	return out
}

// changing sets what differs between the records of a connection.
func changing(rng *rand.Rand, r *flow.Record, counted bool) {
	if counted {
		r.SetBytesDelta(rng.Uint64N(1 << uint(1+rng.IntN(40))))
		r.SetBytes(r.Bytes + r.BytesDelta)
		r.SetPacketsDelta(rng.Uint64N(1000))
		r.SetPackets(r.Packets + r.PacketsDelta)
		r.SetRevBytesDelta(rng.Uint64N(5000))
		r.SetRevBytes(r.RevBytes + r.RevBytesDelta)
	}
	if rng.IntN(2) == 0 {
		r.SetOutcome(flow.Outcome(rng.IntN(len(flow.OutcomeWords))))
		r.SetEvidence(flow.Evidence(1 + rng.IntN(31)))
	}
	if rng.IntN(2) == 0 {
		r.SetRTT(uint32(rng.IntN(50_000)))
		r.SetLossPackets(rng.Int64N(20) - 10)
	}
}

// Query gives a query that Parse would give for its text.
func Query(rng *rand.Rand) *query.Query {
	q := &query.Query{}
	if rng.IntN(8) > 0 {
		q.Expr = Expr(rng, 4)
	}
	switch rng.IntN(3) {
	case 0:
		if rng.IntN(2) == 0 {
			q.Stages = append(q.Stages, &query.Sort{By: pick(rng, []string{"bytes", "src.pod", "dst.ip", "rtt", "end"}), Desc: rng.IntN(2) == 0})
		}
		if rng.IntN(2) == 0 {
			q.Stages = append(q.Stages, &query.Limit{N: 1 + rng.IntN(20)})
		}
		if rng.IntN(2) == 0 {
			q.Stages = append(q.Stages, &query.Fields{List: []query.Field{field("conn_id"), field("bytes"), field("src.label.app"), field("proto")}})
		}
	default:
		q.Stages = append(q.Stages, stats(rng))
		s := q.Stats()
		if rng.IntN(3) == 0 {
			q.Stages = append(q.Stages, &query.Top{N: 1 + rng.IntN(5), By: s.Aggs[rng.IntN(len(s.Aggs))].Name()})
		}
		if rng.IntN(3) == 0 {
			q.Stages = append(q.Stages, &query.Sort{By: s.Aggs[0].Name(), Desc: rng.IntN(2) == 0})
		}
	}
	return q
}

func stats(rng *rand.Rand) *query.Stats {
	s := &query.Stats{Aggs: []query.Aggregate{{Func: query.Conns}}}
	numbers := []string{"bytes", "packets", "reverse.bytes", "rtt", "loss.packets"}
	for _, fn := range []query.Func{query.Active, query.Sum, query.Rate, query.Min, query.Max, query.P50, query.P95, query.P99, query.Uniq} {
		if rng.IntN(3) > 0 {
			continue
		}
		a := query.Aggregate{Func: fn}
		switch fn {
		case query.Active:
		case query.Uniq:
			a.Field = field(pick(rng, []string{"src.pod", "dst.ip", "dst.label.app", "outcome"}))
		default:
			a.Field = field(pick(rng, numbers))
		}
		s.Aggs = append(s.Aggs, a)
	}
	for _, f := range []string{"src.ns", "dst.workload", "outcome", "dst.port", "proto", "src.label.app"} {
		if rng.IntN(4) == 0 {
			s.By = append(s.By, field(f))
		}
	}
	if rng.IntN(3) == 0 {
		s.Every = pick(rng, []time.Duration{10 * time.Second, time.Minute, 7 * time.Minute})
	}
	return s
}

func field(name string) query.Field {
	f, ok := query.FieldByName(name)
	if !ok {
		panic("querytest: no field " + name)
	}
	return f
}

// Expr gives a condition of at most depth levels.
func Expr(rng *rand.Rand, depth int) query.Expr {
	if depth <= 1 || rng.IntN(3) == 0 {
		return leaf(rng)
	}
	switch rng.IntN(5) {
	case 0, 1:
		return &query.And{List: list(rng, depth)}
	case 2, 3:
		return &query.Or{List: list(rng, depth)}
	default:
		return &query.Not{Expr: Expr(rng, depth-1)}
	}
}

func list(rng *rand.Rand, depth int) []query.Expr {
	out := make([]query.Expr, 2+rng.IntN(2))
	for i := range out {
		out[i] = Expr(rng, depth-1)
	}
	return out
}

func leaf(rng *rand.Rand) query.Expr {
	switch rng.IntN(8) {
	case 0:
		return &query.Word{Value: text(rng, []string{"cart", "checkout", "payments", "shop", "api.example", "nothing", "pay*", "shop/cart", "bank/payments:https"})}
	case 1:
		return &query.Has{Field: field(pick(rng, []string{"rtt", "src.ns", "policy", "label.app", "verdict", "bytes", "dst.label.a.b/c"}))}
	}
	return comparison(rng)
}

func text(rng *rand.Rand, list []string) query.Value { return val(pick(rng, list)) }

func val(s string) query.Value {
	glob := false
	for _, c := range s {
		glob = glob || c == '*'
	}
	return query.Value{Text: s, Glob: glob}
}

// subjects are fields with values that Records give, and some that they do not.
var subjects = []struct {
	fields  []string
	values  []string
	regexes []string
	order   bool
}{
	{[]string{"src.ns", "dst.ns", "ns"}, []string{"shop", "bank", "kube-*", "none", "s*p"}, []string{"sh.*", "bank|shop", "b"}, false},
	{[]string{"src.workload", "dst.workload", "workload"}, []string{"cart", "Deployment/cart", "daemonset/cart", "pay*", "Stateful*/*"}, []string{".*/cart", "cart", "check.+"}, false},
	{[]string{"src.pod", "dst.pod", "pod"}, []string{"cart-0", "cart-*", "shop/cart-1", "bank/*", "x/y"}, []string{"cart-[01]", "c.*f"}, false},
	{[]string{"service"}, []string{"cart", "payments", "bank/payments", "payments:https", "bank/payments:*", "dns"}, []string{"payments", "bank/.*", ".*:http"}, false},
	{[]string{"policy", "ingress.policy", "egress.policy"}, []string{"pci-allow", "pci-*", "shop/default"}, []string{"pci-.*"}, false},
	{[]string{"dst.name", "name"}, []string{"api.example", "*.example", ""}, []string{".*example"}, false},
	{[]string{"label.app", "src.label.app", "dst.label.app"}, []string{"cart", "", "p*"}, []string{"cart|pay", ""}, false},
	{[]string{"ip", "src.ip", "dst.ip"}, []string{"10.0.1.7", "10.0.0.0/16", "203.0.113.0/24", "fd00::/8", "0.0.0.0/0"}, nil, false},
	{[]string{"port", "src.port", "service.port"}, []string{"53", "443", "30001", "0"}, nil, true},
	{[]string{"proto"}, []string{"tcp", "UDP", "1", "99"}, nil, true},
	{[]string{"outcome"}, []string{"ok", "refused", "timed-out", "Denied", "path*"}, []string{"re.*"}, false},
	{[]string{"verdict"}, []string{"denied", "allowed"}, []string{".*ed"}, false},
	{[]string{"scope"}, []string{"external", "same_node"}, nil, false},
	{[]string{"dst.scope", "kind"}, []string{"external", "pod"}, nil, false},
	{[]string{"evidence"}, []string{"conntrack", "nflog"}, nil, false},
	{[]string{"ingress.action", "action"}, []string{"allow", "drop"}, nil, false},
	{[]string{"first", "final"}, []string{"true", "false"}, nil, false},
	{[]string{"bytes", "reverse.bytes"}, []string{"0", "100", "1.5kB", "2KiB", "1MiB", "4GB"}, nil, true},
	{[]string{"rtt"}, []string{"20ms", "500", "0.5ms", "300ns", "1s"}, nil, true},
	{[]string{"loss.packets"}, []string{"-3", "0", "2", "1k"}, nil, true},
	{[]string{"start", "end"}, []string{"2025-06-15T15:10:00Z", "1750000300000", "2025-06-15T15:07:00.5+00:00"}, nil, true},
}

func comparison(rng *rand.Rand) query.Expr {
	s := pick(rng, subjects)
	f := field(pick(rng, s.fields))
	c := &query.Cmp{Field: f, Op: pick(rng, []query.Op{query.Eq, query.Ne, query.In, query.NotIn, query.Eq, query.Lt, query.Le, query.Gt, query.Ge, query.Match, query.NoMatch})}
	switch {
	case (c.Op == query.Match || c.Op == query.NoMatch) && s.regexes == nil, c.Op >= query.Lt && c.Op <= query.Ge && !s.order,
		(c.Op == query.In || c.Op == query.NotIn) && f.Kind() == query.KindBool:
		c.Op = query.Eq
	}
	switch c.Op {
	case query.In, query.NotIn:
		for range 1 + rng.IntN(3) {
			c.Values = append(c.Values, text(rng, s.values))
		}
	case query.Match, query.NoMatch:
		c.Values = []query.Value{{Text: pick(rng, s.regexes)}}
	default:
		c.Values = []query.Value{text(rng, s.values)}
	}
	return c
}
