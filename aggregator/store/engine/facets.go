package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/rollup"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Facets answers the condition of a request for several stats stages without steps, as
// Stats would each, and looks at the records once for all of them: twice where sums by
// minute can answer some and not the others. The stages of the request's query are not looked at.
func Facets(ctx context.Context, s *store.Store, req *Request, stages []*query.Stats) ([]*query.Table, store.Scanned, error) {
	out := make([]*query.Table, len(stages))
	var sums, rest []int
	for i, st := range stages {
		if st.Every > 0 {
			return nil, store.Scanned{}, errors.New("facets have no steps")
		}
		if !slices.ContainsFunc(st.By, func(f query.Field) bool { return f.Label != "" || !rollup.Dim(f.IDs[0]) }) {
			sums = append(sums, i)
		} else {
			rest = append(rest, i)
		}
	}
	var all store.Scanned
	for _, list := range [][]int{sums, rest} {
		if len(list) == 0 {
			continue
		}
		some := make([]*query.Stats, 0, len(list))
		for _, i := range list {
			some = append(some, stages[i])
		}
		tables, sc, err := facets(ctx, s, req, some)
		all.Rows, all.Segments, all.Rollups, all.Bytes = all.Rows+sc.Rows, all.Segments+sc.Segments, all.Rollups+sc.Rollups, all.Bytes+sc.Bytes
		all.Damaged, all.Oldest, all.Short = max(all.Damaged, sc.Damaged), sc.Oldest, sc.Short
		if err != nil {
			return nil, all, err
		}
		for k, i := range list {
			out[i] = tables[k]
		}
	}
	return out, all, nil
}

func facets(ctx context.Context, s *store.Store, req *Request, stages []*query.Stats) ([]*query.Table, store.Scanned, error) {
	one := *req
	union := &query.Stats{}
	var named flow.Mask
	for _, st := range stages {
		union.Aggs = append(union.Aggs, st.Aggs...)
		for _, f := range st.By {
			if !named.Has(f.IDs[0]) || f.Label != "" {
				named.Set(f.IDs[0])
				union.By = append(union.By, f)
			}
		}
	}
	one.Query = &query.Query{Expr: req.Query.Expr, Stages: []query.Stage{union}}
	r, err := prepare(s, &one, false)
	if err != nil {
		return nil, store.Scanned{}, err
	}
	tables, err := r.tables(ctx, stages)
	sc := r.done()
	if errors.Is(err, store.ErrRollup) {
		one.NoRollups = true
		return facets(ctx, s, &one, stages)
	}
	return tables, sc, err
}
