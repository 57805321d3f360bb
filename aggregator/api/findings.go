package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// FindingsAnswer is the answer of /api/v1/findings: what is otherwise than in the period
// before, of the same length.
type FindingsAnswer struct {
	findings.Report
	Basis
}

func (s *Server) findings(w http.ResponseWriter, r *http.Request) {
	summary, err := flag(r.URL.Query(), "summary")
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	a, done, ok := s.inquire(w, r)
	if !ok {
		return
	}
	defer done()
	if summary {
		a.note("a summary: retransmits, and losses between nodes, were not compared")
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Timeout)
	defer cancel()
	var periods [2]*findings.Period
	for i := range periods {
		p, err := a.edges(ctx, i == 1, summary)
		if err != nil {
			s.failAnswer(w, ctx, err)
			return
		}
		periods[i] = p
	}
	var nodes []findings.Node
	// What nodes say now is nothing to a range that is long over.
	if s.Nodes != nil && callerOf(r).All && time.Since(a.basis.Until) < 2*time.Minute {
		nodes = s.Nodes()
	}
	reply(w, http.StatusOK, FindingsAnswer{findings.Compare(periods[0], periods[1], len(periods[1].Edges) > 0, nodes), a.basis})
}

const (
	edgeSums  = "| stats conns, sum(packets), sum(reverse.packets)"
	edgeAgain = ", sum(src.retransmits), sum(dst.retransmits)"
	edgeBy    = " by src.ns, src.workload, src.name, src.net, src.kind, dst.ns, dst.workload, dst.name, dst.net, dst.kind, dst.port, proto, outcome"
)

// edges sums a period up, edge by edge and node pair by node pair. A summary is what the
// history's sums by minute have.
func (a *asking) edges(ctx context.Context, before, summary bool) (*findings.Period, error) {
	p := &findings.Period{Edges: map[findings.EdgeKey]findings.Edge{}, Pairs: map[findings.PairKey]findings.Pair{}}
	p.FromMs, p.ToMs = a.period(before)
	sums := edgeSums
	if !summary {
		sums += edgeAgain
	}
	x, err := a.ask(ctx, sums+edgeBy, p.FromMs, p.ToMs)
	if err != nil {
		return nil, err
	}
	worst := map[findings.EdgeKey]uint64{}
	for _, g := range x.Table().Groups() {
		port, _ := strconv.ParseUint(g.Key[10].Text, 10, 16) // 0 for none
		k := findings.EdgeKey{Src: end(g.Key[:5]), Dst: end(g.Key[5:10]), Port: uint16(port), Proto: proto(g.Key[11].Text)}
		n := g.Accs[0].N
		e := p.Edges[k]
		e.Conns += n
		switch o := g.Key[12]; {
		case !o.Present || o.Text == flow.OutcomeWords[flow.OutcomeOK] || o.Text == flow.OutcomeWords[flow.OutcomeUnknown]:
		case o.Text == flow.OutcomeWords[flow.OutcomeDenied]:
			e.Denied += n
		default:
			if e.Failed += n; n > worst[k] {
				worst[k], e.Worst = n, o.Text
			}
		}
		e.Packets += sum(&g.Accs[1]) + sum(&g.Accs[2])
		for i := range g.Accs[3:] {
			e.Retrans += sum(&g.Accs[3+i])
		}
		e.Uncounted += g.Accs[1].Uncounted
		if e.Conns > 0 {
			p.Edges[k] = e
		}
	}
	if summary {
		return p, nil
	}
	if x, err = a.ask(ctx, "has loss.packets has src.node has dst.node | stats sum(loss.packets), sum(src.packets) by src.node, dst.node", p.FromMs, p.ToMs); err != nil {
		return nil, err
	}
	for _, g := range x.Table().Groups() {
		p.Pairs[findings.PairKey{Src: g.Key[0].Text, Dst: g.Key[1].Text}] = findings.Pair{Missing: sum(&g.Accs[0]), Sent: sum(&g.Accs[1])}
	}
	return p, nil
}

// end names one end by the cells of its namespace, what it is there, its name, network
// and kind.
func end(key []query.Cell) string {
	return findings.EndName(key[0].Text, key[1].Text, key[2].Text, key[3].Text, key[4].Text)
}

func proto(word string) uint8 {
	var r flow.Record
	if r.SetText(flow.FProto, word) != nil {
		return 0
	}
	return r.Proto
}

// sum is what an aggregate adds up to, and 0 below nothing.
func sum(a *query.Acc) uint64 {
	switch v := a.Value(query.Sum, 1).(type) {
	case int64:
		return uint64(max(v, 0))
	case uint64:
		return v
	case float64:
		return uint64(max(v, 0))
	}
	return 0
}
