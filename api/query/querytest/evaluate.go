package querytest

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Rows gives the row of each connection that is in [since, until), as the package doc
// of query defines it, in the order of their conn_id.
func Rows(recs []flow.Record, since, until int64) []flow.Record {
	byConn := map[uint64][]flow.Record{}
	for _, r := range recs {
		from := r.End
		if r.Has.Has(flow.FSince) {
			from = min(r.Since, r.End)
		}
		if from == r.End && r.End >= since && r.End < until || from < r.End && from < until && r.End > since {
			byConn[r.ConnID] = append(byConn[r.ConnID], r)
		}
	}
	var out []flow.Record
	for _, list := range byConn {
		out = append(out, row(list, since, until))
	}
	slices.SortFunc(out, func(a, b flow.Record) int { return strings.Compare(a.Text(flow.FConnID), b.Text(flow.FConnID)) })
	return out
}

func row(list []flow.Record, since, until int64) flow.Record {
	newest := list[0]
	for _, r := range list[1:] {
		if r.End > newest.End || r.End == newest.End && (r.Final && !newest.Final || r.Final == newest.Final && r.Seq > newest.Seq) {
			newest = r
		}
	}
	out := newest
	for _, name := range []string{"packets", "bytes", "reverse.packets", "reverse.bytes"} {
		total, delta := must(name), must(name+"_delta")
		sum, any := uint64(0), false
		for _, r := range list {
			if d, ok := r.Uint(delta); ok {
				any = true
				sum += part(d, &r, until) - part(d, &r, since)
			}
		}
		out.SetCounter(total, sum)
		if !any {
			out.Has.Clear(total)
		}
	}
	opened := false
	for _, r := range list {
		begin := r.End
		if r.Has.Has(flow.FSince) {
			begin = min(r.Since, r.End)
		}
		opened = opened || r.First && !r.Has.Has(flow.FStart) && begin >= since && begin < until
	}
	if out.Has.Has(flow.FStart) {
		opened = out.Start >= since && out.Start < until
	}
	out.SetFirst(opened)
	return out
}

// part is how much of d had moved before t.
func part(d uint64, r *flow.Record, t int64) uint64 {
	from := r.End
	if r.Has.Has(flow.FSince) {
		from = min(r.Since, r.End)
	}
	switch {
	case t > r.End, t == r.End && from < r.End:
		return d
	case t <= from:
		return 0
	}
	n := new(big.Int).Mul(new(big.Int).SetUint64(d), big.NewInt(t-from))
	return n.Div(n, big.NewInt(r.End-from)).Uint64()
}

// Groups answers the stats stage of a query without its further stages: the values of
// each aggregate by the step and the key. Quantiles are exact, rates are sums.
func Groups(q *query.Query, recs []flow.Record, since, until int64) map[string][]any {
	st := q.Stats()
	out := map[string][]any{}
	ms := until - since
	begin := since
	if st.Every > 0 {
		ms = st.Every.Milliseconds()
		begin = since / ms * ms
	}
	for t := begin; t < until; t += ms {
		groups := map[string][]flow.Record{}
		for _, r := range Rows(recs, max(t, since), min(t+ms, until)) {
			if !Holds(q.Expr, &r) {
				continue
			}
			key := ""
			if st.Every > 0 {
				key = fmt.Sprint(t)
			}
			for _, f := range st.By {
				s, ok := query.Text(&r, f)
				key += fmt.Sprintf("|%q %v", s, ok)
			}
			groups[key] = append(groups[key], r)
		}
		for key, rows := range groups {
			for _, a := range st.Aggs {
				out[key] = append(out[key], aggregate(a, rows))
			}
		}
	}
	return out
}

// aggregate gives an int64 or a *big.Int; nil where no row has the field.
func aggregate(a query.Aggregate, rows []flow.Record) any {
	switch a.Func {
	case query.Active:
		return int64(len(rows))
	case query.Conns:
		n := int64(0)
		for _, r := range rows {
			if r.First {
				n++
			}
		}
		return n
	default:
	}
	distinct := map[string]bool{}
	var vs []*big.Int
	for _, r := range rows {
		s, ok := query.Text(&r, a.Field)
		if !ok {
			continue
		}
		distinct[s] = true
		if v, ok := new(big.Int).SetString(s, 10); ok {
			vs = append(vs, v)
		}
	}
	if a.Func == query.Uniq {
		return int64(len(distinct))
	}
	if len(vs) == 0 {
		return nil
	}
	slices.SortFunc(vs, (*big.Int).Cmp)
	switch a.Func {
	case query.Min:
		return vs[0]
	case query.Max:
		return vs[len(vs)-1]
	case query.Sum, query.Rate:
		sum := new(big.Int)
		for _, v := range vs {
			sum.Add(sum, v)
		}
		return sum
	default:
	}
	p := big.NewInt(map[query.Func]int64{query.P50: 50, query.P95: 95, query.P99: 99}[a.Func])
	rank := p.Mul(p, big.NewInt(int64(len(vs)))).Int64() // in hundredths
	return vs[max((rank+99)/100, 1)-1]
}

// Key gives the key of a group as Groups writes it.
func Key(st *query.Stats, g *query.Group) string {
	key := ""
	if st.Every > 0 {
		key = fmt.Sprint(g.Step)
	}
	for _, c := range g.Key {
		key += fmt.Sprintf("|%q %v", c.Text, c.Present)
	}
	return key
}

// Differ says in which group a table differs from what Groups gives, or "".
func Differ(q *query.Query, got []*query.Group, want map[string][]any) string {
	st := q.Stats()
	if len(got) != len(want) {
		return fmt.Sprintf("%d groups, want %d", len(got), len(want))
	}
	for _, g := range got {
		key := Key(st, g)
		w, ok := want[key]
		if !ok {
			return fmt.Sprintf("a group %s that should not be", key)
		}
		for i, a := range st.Aggs {
			fn := a.Func
			if fn == query.Rate {
				fn = query.Sum
			}
			if have := g.Accs[i].Value(fn, 1); !equal(a.Func, have, w[i]) {
				return fmt.Sprintf("group %s: %s = %v, want %v", key, a.Name(), have, w[i])
			}
		}
	}
	return ""
}

func equal(fn query.Func, have, want any) bool {
	if have == nil || want == nil {
		return have == want
	}
	if fn.Quantile() > 0 {
		w, _ := new(big.Float).SetInt(want.(*big.Int)).Float64()
		d := have.(float64) - w
		if w < 0 {
			w = -w
		}
		return d <= w*query.SketchError*1.0001 && -d <= w*query.SketchError*1.0001
	}
	return fmt.Sprint(have) == fmt.Sprint(want)
}
