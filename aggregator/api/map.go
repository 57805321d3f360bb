package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Map is the answer of /api/v1/map: who talks to whom.
type Map struct {
	Level string    `json:"level"` // namespace, workload or pod
	Edges []MapEdge `json:"edges"` // most connections first
	More  int       `json:"more"`  // edges beyond the limit
	Basis
}

// MapEdge is what the connections between two ends come to.
type MapEdge struct {
	// Src is the namespace, namespace/Kind/name or namespace/pod, or the name of an external
	// end; net:NETWORK where it has none (net:internet, net:10.7.0.0/16), kind:node of nodes
	// themselves, kind:service of Services without endpoints; name:NAME among namespaces,
	// where it could be one of them; "" unknown.
	Src      string            `json:"src"`
	Dst      string            `json:"dst"`
	Conns    uint64            `json:"conns"`  // opened in the range
	Active   uint64            `json:"active"` // alive in it
	Failed   map[string]uint64 `json:"failed"` // connections opened in the range by outcome, those neither ok nor unknown
	Bytes    *uint64           `json:"bytes"`  // null where nothing was counted
	Reverse  *uint64           `json:"reverse_bytes"`
	RTT95    *float64          `json:"rtt_p95_us"`       // null where no socket was read, and in a summary
	Change   string            `json:"change,omitempty"` // new, gone or changed, where two periods are compared
	Previous *MapPrevious      `json:"previous,omitempty"`
}

// MapPrevious is an edge in the period before.
type MapPrevious struct {
	Conns  uint64            `json:"conns"`
	Failed map[string]uint64 `json:"failed"`
}

var mapLevels = map[string][2]string{
	"namespace": {"src.ns, src.name, src.net, src.kind", "dst.ns, dst.name, dst.net, dst.kind"},
	"workload":  {"src.ns, src.workload, src.name, src.net, src.kind", "dst.ns, dst.workload, dst.name, dst.net, dst.kind"},
	"pod":       {"src.ns, src.pod, src.name, src.net, src.kind", "dst.ns, dst.pod, dst.name, dst.net, dst.kind"},
}

const mapEdges = 2000

func (s *Server) topology(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	level := cmp.Or(v.Get("level"), "workload")
	by, ok := mapLevels[level]
	if !ok {
		fail(w, http.StatusBadRequest, fmt.Sprintf("level: %q is unknown: use namespace, workload or pod", level))
		return
	}
	compare, err := flag(v, "compare")
	summary, err2 := flag(v, "summary")
	if err = errors.Join(err, err2); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	cond, err := condition(v)
	if err != nil {
		failQuery(w, err)
		return
	}
	a, done, ok := s.inquire(w, r)
	if !ok {
		return
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Timeout)
	defer cancel()
	if summary {
		a.note("a summary: round trip times were not read")
	}
	edges, err := a.mapped(ctx, cond, by, false, summary)
	if err == nil && compare {
		var before map[[2]string]*MapEdge
		if before, err = a.mapped(ctx, cond, by, true, summary); err == nil {
			against(edges, before)
		}
	}
	if err != nil {
		s.failAnswer(w, ctx, err)
		return
	}
	m := Map{Level: level, Edges: []MapEdge{}, Basis: a.basis}
	for _, e := range edges {
		m.Edges = append(m.Edges, *e)
	}
	slices.SortFunc(m.Edges, func(x, y MapEdge) int {
		return cmp.Or(-cmp.Compare(x.Active, y.Active), cmp.Compare(x.Src, y.Src), cmp.Compare(x.Dst, y.Dst))
	})
	if len(m.Edges) > mapEdges {
		m.More, m.Edges = len(m.Edges)-mapEdges, m.Edges[:mapEdges]
	}
	reply(w, http.StatusOK, m)
}

// mapped asks for the edges of a period. What a summary leaves out is all that the
// history's sums by minute do not have.
func (a *asking) mapped(ctx context.Context, cond string, by [2]string, before, summary bool) (map[[2]string]*MapEdge, error) {
	since, until := a.period(before)
	aggs := "conns, active, sum(bytes), sum(reverse.bytes)"
	if !summary {
		aggs += ", p95(rtt)"
	}
	x, err := a.ask(ctx, cond+" | stats "+aggs+" by "+by[0]+", "+by[1]+", outcome", since, until)
	if err != nil {
		return nil, err
	}
	n := strings.Count(by[0], ",") + 1
	edges := map[[2]string]*MapEdge{}
	accs := map[[2]string]*[3]query.Acc{}
	for _, g := range x.Table().Groups() {
		k := [2]string{mapEnd(g.Key[:n]), mapEnd(g.Key[n : 2*n])}
		e, sums := edges[k], accs[k]
		if e == nil {
			e, sums = &MapEdge{Src: k[0], Dst: k[1], Failed: map[string]uint64{}}, &[3]query.Acc{}
			edges[k], accs[k] = e, sums
		}
		e.Conns += g.Accs[0].N
		e.Active += g.Accs[1].N
		if o := g.Key[2*n]; o.Present && o.Text != flow.OutcomeWords[flow.OutcomeOK] && o.Text != flow.OutcomeWords[flow.OutcomeUnknown] && g.Accs[0].N > 0 {
			e.Failed[o.Text] += g.Accs[0].N
		}
		for i := range g.Accs[2:] {
			sums[i].Merge(&g.Accs[2+i])
		}
	}
	for k, e := range edges {
		sums := accs[k]
		if sums[0].Sum != nil {
			v := sum(&sums[0])
			e.Bytes = &v
		}
		if sums[1].Sum != nil {
			v := sum(&sums[1])
			e.Reverse = &v
		}
		if v, ok := sums[2].Value(query.P95, 1).(float64); ok {
			e.RTT95 = &v
		}
	}
	return edges, nil
}

// mapEnd names one end of an edge from the cells of its level; of namespaces the namespace
// alone, with what stands in it.
func mapEnd(key []query.Cell) string {
	if len(key) == 5 {
		return end(key)
	}
	if key[0].Present {
		return key[0].Text
	}
	if nsPattern.MatchString(key[1].Text) { // the name of a network: it could be a namespace's
		return "name:" + key[1].Text
	}
	return end([]query.Cell{{}, {}, key[1], key[2], key[3]})
}

// against marks what is otherwise than before, and adds what is gone.
func against(now, before map[[2]string]*MapEdge) {
	for k, e := range now {
		was := before[k]
		if was == nil {
			e.Change = "new"
			continue
		}
		e.Previous = &MapPrevious{was.Conns, was.Failed}
		if (len(e.Failed) > 0) != (len(was.Failed) > 0) {
			e.Change = "changed"
		}
	}
	for k, was := range before {
		if now[k] == nil {
			now[k] = &MapEdge{Src: was.Src, Dst: was.Dst, Failed: map[string]uint64{}, Change: "gone", Previous: &MapPrevious{was.Conns, was.Failed}}
		}
	}
}
