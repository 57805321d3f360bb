package engine

import (
	"slices"

	"github.com/weirnet/weir/aggregator/store/rollup"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// grouped says that sums by minute and rollup.Dim answer the query exactly: its steps
// are of whole minutes, conditions and groups name such fields, and what it asks for adds up.
func (r *run) grouped() bool {
	if r.every%rollup.Minute != 0 {
		return false
	}
	var m flow.Mask
	r.wants(r.node, &m)
	for _, f := range r.stats.By {
		if f.Label != "" {
			return false
		}
		m.SetAll(f.IDs...)
	}
	for _, a := range r.stats.Aggs {
		switch a.Func {
		case query.Conns, query.Active:
		case query.Sum, query.Rate:
			total := func(c struct{ Total, Delta flow.FieldID }) bool { return c.Total == a.Field.IDs[0] }
			if !slices.ContainsFunc(query.Counters[:], total) {
				return false
			}
		case query.Uniq:
			if a.Field.Label != "" {
				return false
			}
			m.SetAll(a.Field.IDs...)
		default: // the least, the greatest and quantiles need each connection's value
			return false
		}
	}
	for f := range flow.FieldID(flow.NumFields) {
		if m.Has(f) && !rollup.Dim(f) {
			return false
		}
	}
	return true
}
