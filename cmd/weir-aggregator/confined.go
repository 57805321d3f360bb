package main

import (
	"context"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// confined answers one who sees some namespaces only. What is hidden from him must be
// hidden before any condition is asked, so columns are no help beyond finding his
// records: those are made whole, masked, and answered in memory. The answer does not say
// what else the history has, nor what it lacks.
func (e *answers) confined(ctx context.Context, a *query.Answer) error {
	ev, err := query.NewEvaluator(a)
	if err != nil {
		return err
	}
	ends := []flow.FieldID{flow.FSrcNS, flow.FDstNS}
	v := e.history.View(a.Since, a.Until, store.Plan{Live: e.live.Records})
	defer v.Done()
	for _, r := range v.Live {
		if err := ev.Add(r); err != nil {
			return err
		}
	}
	var r flow.Record
	_, err = v.Each(ctx, 1, func(_, i int) error {
		b, err := v.Block(i, ends)
		if b == nil || err != nil {
			return err
		}
		rows := mine(b, a.Visible)
		if len(rows) == 0 {
			return nil
		}
		if b, err = v.Block(i, flow.AllFields()); b == nil || err != nil {
			return err
		}
		for n, k := range rows {
			if n%1024 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := b.Record(k, nil, &r); err != nil {
				return err
			}
			if err := ev.Add(&r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return ev.Finish()
}

// mine gives the rows of a block that have an end in v, by the dictionaries of both.
func mine(b *column.Block, v *flow.Visibility) (rows []int) {
	src, dst := seenCodes(b.Cols[flow.FSrcNS], v), seenCodes(b.Cols[flow.FDstNS], v)
	for i := range b.Rows {
		if has(b.Cols[flow.FSrcNS], src, i) || has(b.Cols[flow.FDstNS], dst, i) {
			rows = append(rows, i)
		}
	}
	return rows
}

// seenCodes says of each code of a column of namespaces whether v has it; nil for none.
func seenCodes(c *column.Column, v *flow.Visibility) []bool {
	if c == nil || c.Codes == nil {
		return nil
	}
	var out []bool
	for i, s := range c.Dict {
		if v.Has(s) {
			if out == nil {
				out = make([]bool, len(c.Dict)+1)
			}
			out[i+1] = true
		}
	}
	return out
}

func has(c *column.Column, codes []bool, i int) bool { return codes != nil && codes[c.Codes[i]] }
