// Package findings says what is worth a look: what is otherwise than it was in the
// period before.
//
// Idea: each finding is a sentence and the query that shows it. It compares two
// periods of the same length, edge by edge (who calls whom at which port), by fixed
// bounds below which a difference is noise; no model, no learning, nothing random, so
// that two people see the same list.
//
// In: both periods' edges, node pairs and nodes, summed up by whoever has the history.
// Out: Findings, the worst first, or a sentence that all is calm. It keeps nothing.
package findings

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// EdgeKey is who calls whom, as EndName names them: "" where unknown.
type EdgeKey struct {
	Src, Dst string
	Proto    uint8
	Port     uint16 // the server's
}

// Edge is what an edge's connections of one period come to.
type Edge struct {
	Conns     uint64
	Failed    uint64 // with an outcome other than ok; denied ones are not among them
	Denied    uint64
	Worst     string // the most frequent outcome of those that failed
	Packets   uint64 // both ways
	Retrans   uint64 // segments that the sockets sent again
	Uncounted uint64 // connections without counters
}

// PairKey is a pair of nodes, in the order client, server.
type PairKey struct{ Src, Dst string }

// Pair is what two nodes' counters of their common connections come to.
type Pair struct{ Sent, Missing uint64 } // packets

// Node is what is known of a node at the end of the period.
type Node struct {
	Name       string
	Silent     bool
	SilentFor  string        // in words
	FillPct    int           // of conntrack; -1 unknown
	FullIn     string        // forecast in words, "" for none
	FullInSecs int64         // 0 for none
	Drops      uint64        // packets of new connections that found no room, within Within
	EarlyDrops uint64        // entries that were thrown out to make room, within Within
	Within     string        // in words
	ClockOff   time.Duration // how far its clock is ahead of the aggregator's, 0 where they agree well enough
}

// Period is one of the two.
type Period struct {
	FromMs, ToMs int64
	Edges        map[EdgeKey]Edge
	Pairs        map[PairKey]Pair
}

// Kind says what a finding is about, in the order of weight.
type Kind string

// The kinds.
const (
	KindNodeSilent Kind = "node_silent"
	KindClock      Kind = "clock"
	KindConntrack  Kind = "conntrack"
	KindFailing    Kind = "failing"
	KindDenied     Kind = "denied"
	KindLoss       Kind = "loss"
	KindRetrans    Kind = "retransmits"
	KindGone       Kind = "gone"
	KindNew        Kind = "new"
)

var kinds = []Kind{KindNodeSilent, KindClock, KindConntrack, KindFailing, KindDenied, KindLoss, KindRetrans, KindGone, KindNew}

// Finding is one sentence that is also a query.
type Finding struct {
	Kind  Kind    `json:"kind"`
	Text  string  `json:"text"`
	Query string  `json:"query,omitempty"` // "" where no query shows it
	Next  string  `json:"next,omitempty"`  // a command, where there is no query
	Score float64 `json:"score"`           // within its kind
	// Count is what Query counts in the range (of what is gone, in the period before):
	// connections, of KindLoss packets that are missing, of KindRetrans segments that
	// were sent again.
	Count uint64 `json:"count,omitempty"`
	// Src, Dst and Port are the edge that it is about, as EdgeKey names it; absent
	// where it is about a node or a pair of nodes.
	Src  string `json:"src,omitempty"`
	Dst  string `json:"dst,omitempty"`
	Port uint16 `json:"port,omitempty"`
}

// Report is the answer.
type Report struct {
	Findings []Finding `json:"findings"` // never nil
	Folded   int       `json:"folded"`   // findings of a kind beyond the first maxPerKind
	Calm     string    `json:"calm,omitempty"`
}

// The bounds. What is below them is noise in any cluster.
const (
	minFailed    = 3    // connections
	minFailRate  = 0.05 // of an edge's connections
	worse        = 2.0  // times the rate of the period before
	minMissing   = 10   // packets between two nodes
	minLossRate  = 0.002
	minRetrans   = 20
	minRetraRate = 0.01 // segments sent again per packet
	goneBefore   = 10   // connections that an edge had before it is missed
	nearFullPct  = 80
	soonFull     = 3600 // seconds
	maxPerKind   = 8
)

const protoTCP = 6 // IANA's number

// Compare says what of now is otherwise than it was before. covered says whether the
// period before was seen at all: without it nothing is new or gone.
func Compare(now, before *Period, covered bool, nodes []Node) Report {
	var all []Finding
	for i := range nodes {
		all = append(all, node(&nodes[i])...)
	}
	for k, e := range now.Edges {
		all = append(all, k.about(edge(k, e, before.Edges[k], covered))...)
	}
	if covered {
		for k, e := range before.Edges {
			if _, still := now.Edges[k]; !still && e.Conns >= goneBefore && e.Failed < e.Conns/2 {
				all = append(all, Finding{Kind: KindGone, Src: k.Src, Dst: k.Dst, Port: k.Port, Score: float64(e.Conns), Count: e.Conns, Query: k.query(), Text: fmt.Sprintf("%s is gone: it had %d connections in the period before", k, e.Conns)})
			}
		}
	}
	for k, p := range now.Pairs {
		if x := pair(k, p, before.Pairs[k], covered); x != nil {
			all = append(all, *x)
		}
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), -cmp.Compare(a.Score, b.Score), cmp.Compare(a.Text, b.Text))
	})
	r := Report{Findings: []Finding{}}
	have := map[Kind]int{}
	for _, f := range all {
		if have[f.Kind]++; have[f.Kind] > maxPerKind {
			r.Folded++
			continue
		}
		r.Findings = append(r.Findings, f)
	}
	if len(all) == 0 {
		r.Calm = calm(now, covered)
	}
	return r
}

func calm(now *Period, covered bool) string {
	var conns uint64
	for _, e := range now.Edges {
		conns += e.Conns
	}
	s := fmt.Sprintf("all is calm: %d connections on %d edges, none fails that did not before, nothing is lost between nodes", conns, len(now.Edges))
	if !covered {
		s += " (there is no period before to compare with)"
	}
	return s
}

func node(n *Node) (out []Finding) {
	if n.Silent {
		out = append(out, Finding{Kind: KindNodeSilent, Score: 1, Next: "weirctl check node " + n.Name, Text: fmt.Sprintf("node %s has sent nothing for %s", n.Name, n.SilentFor)})
	}
	if n.ClockOff != 0 {
		out = append(out, clock(n))
	}
	soon := n.FullInSecs > 0 && n.FullInSecs <= soonFull
	if n.FillPct >= nearFullPct || soon || n.Drops+n.EarlyDrops > 0 {
		x := Finding{Kind: KindConntrack, Score: float64(n.FillPct), Next: "weirctl check node " + n.Name, Text: fmt.Sprintf("conntrack of node %s is filled to %d %%", n.Name, n.FillPct)}
		if soon {
			x.Text += ", full in " + n.FullIn
			x.Score += 100
		}
		if n.EarlyDrops > 0 {
			x.Text += fmt.Sprintf("; %d entries were thrown out to make room within %s", n.EarlyDrops, n.Within)
			x.Score += 1000
		}
		if n.Drops > 0 {
			x.Text += fmt.Sprintf("; %d packets of new connections were dropped within %s", n.Drops, n.Within)
			x.Score += 10_000
		}
		out = append(out, x)
	}
	return out
}

// clock says what a clock that is off does to what is shown.
func clock(n *Node) Finding {
	off, way, where := n.ClockOff, "ahead of", "late"
	if off < 0 {
		off, way, where = -off, "behind", "early"
	}
	d := off.Round(time.Second)
	return Finding{
		Kind: KindClock, Score: off.Seconds(), Next: "weirctl check node " + n.Name,
		Text: fmt.Sprintf("clock of node %s is %v %s the aggregator's: what it tells stands %v too %s", n.Name, d, way, d, where),
	}
}

func edge(k EdgeKey, e, was Edge, covered bool) (out []Finding) {
	if covered && was.Conns == 0 && e.Conns > e.Failed+e.Denied {
		out = append(out, Finding{Kind: KindNew, Score: float64(e.Conns), Count: e.Conns, Query: k.query(), Text: fmt.Sprintf("%s is new: %d connections", k, e.Conns)})
	}
	rate, old := share(e.Failed, e.Conns), share(was.Failed, was.Conns)
	if e.Failed >= minFailed && rate >= minFailRate && rate >= worse*old {
		out = append(out, Finding{
			Kind: KindFailing, Score: rate * float64(e.Failed), Count: e.Failed, Query: k.query() + " outcome not in (ok, denied, unknown)",
			Text: fmt.Sprintf("%s fails: %s %s%s", k, percent(rate), e.Worst, compared(old, was.Conns, covered)),
		})
	}
	rate, old = share(e.Denied, e.Conns), share(was.Denied, was.Conns)
	if e.Denied >= minFailed && rate >= minFailRate && rate >= worse*old {
		out = append(out, Finding{
			Kind: KindDenied, Score: rate * float64(e.Denied), Count: e.Denied, Query: k.query() + " outcome = denied",
			Text: fmt.Sprintf("%s is denied: %s%s", k, percent(rate), compared(old, was.Conns, covered)),
		})
	}
	rate, old = share(e.Retrans, e.Packets), share(was.Retrans, was.Packets)
	if e.Retrans >= minRetrans && rate >= minRetraRate && rate >= worse*old {
		out = append(out, Finding{
			Kind: KindRetrans, Score: rate * float64(e.Retrans), Count: e.Retrans, Query: k.query() + " | stats sum(src.retransmits), sum(dst.retransmits) every 1m",
			Text: fmt.Sprintf("%s sends packets again: %s of them%s", k, percent(rate), compared(old, was.Packets, covered)),
		})
	}
	return out
}

// about names the edge in each of its findings.
func (k EdgeKey) about(list []Finding) []Finding {
	for i := range list {
		list[i].Src, list[i].Dst, list[i].Port = k.Src, k.Dst, k.Port
	}
	return list
}

func pair(k PairKey, p, was Pair, covered bool) *Finding {
	rate, old := share(p.Missing, p.Sent), share(was.Missing, was.Sent)
	if p.Missing < minMissing || rate < minLossRate || rate < worse*old && old < minFailRate {
		return nil
	}
	return &Finding{
		Kind: KindLoss, Score: rate * float64(p.Missing), Count: p.Missing,
		Query: fmt.Sprintf("has loss.packets src.node = %s dst.node = %s | stats sum(loss.packets), sum(src.packets) every 1m", quote(k.Src), quote(k.Dst)),
		Text:  fmt.Sprintf("%s loses packets to %s: %s (%d of %d)%s", k.Src, k.Dst, percent(rate), p.Missing, p.Sent, compared(old, was.Sent, covered)),
	}
}

func share(n, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

func percent(r float64) string {
	switch {
	case r >= 0.1:
		return fmt.Sprintf("%.0f %%", 100*r)
	case r >= 0.001:
		return fmt.Sprintf("%.1f %%", 100*r)
	default:
		return fmt.Sprintf("%.2f %%", 100*r)
	}
}

func compared(old float64, of uint64, covered bool) string {
	switch {
	case !covered:
		return ""
	case of == 0:
		return ", and was not there before"
	case old == 0:
		return ", none before"
	default:
		return ", " + percent(old) + " before"
	}
}

// String writes an edge as "shop/Deployment/cart -> shop/Deployment/pay:8443".
func (k EdgeKey) String() string {
	s := EndText(k.Src) + " -> " + EndText(k.Dst)
	if k.Port != 0 {
		s += ":" + strconv.Itoa(int(k.Port))
	}
	if k.Proto != 0 && k.Proto != protoTCP {
		s += "/" + flow.ProtocolName(k.Proto)
	}
	return s
}

// query gives the expression that picks an edge's connections.
func (k EdgeKey) query() string {
	s := EndQuery("src", k.Src) + " " + EndQuery("dst", k.Dst)
	if k.Port != 0 {
		s += " dst.port = " + strconv.Itoa(int(k.Port))
	} else {
		s += " not has dst.port"
	}
	if k.Proto == 0 {
		return s + " not has proto"
	}
	return s + " proto = " + flow.ProtocolName(k.Proto)
}

func quote(s string) string {
	for _, c := range s {
		if c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return strconv.Quote(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}
