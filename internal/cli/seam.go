package cli

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// ringMost is how many connections are asked of those that the aggregator holds in memory,
// where a range is shown whole.
const ringMost = 10_000

// shownAs is what a connection was shown as.
type shownAs struct {
	end     int64
	final   bool
	outcome flow.Outcome
}

// seam is what of the history was shown, so that what follows is not shown again.
type seam map[uint64]shownAs

func (s seam) add(r *flow.Record) {
	if r.Has.Has(flow.FConnID) {
		s[r.ConnID] = shownAs{r.End, r.Final, r.Outcome}
	}
}

// fresh reports whether r says more of its connection than what was shown: a stream that
// was opened before the history was read gives older records too.
func (s seam) fresh(r *flow.Record) bool {
	was, ok := s[r.ConnID]
	switch {
	case !ok || !r.Has.Has(flow.FConnID):
		return true
	case r.End != was.end:
		return r.End > was.end
	case was.final:
		return false
	}
	return r.Final || r.Outcome != was.outcome && r.Outcome != flow.OutcomeUnknown
}

// join adds to the history what was told before the stream was opened and had not come
// to the history when that was read: the aggregator's memory has it.
func (o *observe) join(ctx context.Context, h *history, since time.Time) error {
	most := ringMost
	if o.last > 0 {
		most = o.last
	}
	q := url.Values{"follow": {"false"}, "last": {strconv.Itoa(most)}}
	putRange(q, since, time.Time{})
	body, err := o.open(ctx, q)
	if err != nil {
		return err
	}
	defer body.Close()
	at := map[uint64]int{}
	have := seam{}
	for i := range h.recs {
		have.add(&h.recs[i])
		at[h.recs[i].ConnID] = i
	}
	err = o.fromStream(ctx, body, nil, func(r *flow.Record) bool { // which prints none
		if !have.fresh(r) {
			return false
		}
		if i, ok := at[r.ConnID]; ok && r.Has.Has(flow.FConnID) {
			h.recs[i] = *r
		} else {
			h.recs = append(h.recs, *r)
		}
		return false
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(h.recs, func(a, b flow.Record) int { return cmp.Compare(a.End, b.End) })
	if n := len(h.recs) - o.last; o.last > 0 && n > 0 {
		h.recs = h.recs[n:]
	}
	return nil
}

// fromHistory prints the history, where a stream follows up to where that began.
func (o *observe) fromHistory(ctx context.Context, p *printer, since, until time.Time, shown seam) error {
	h, err := o.askHistory(ctx, since, until)
	switch {
	case keepsNone(err):
		return o.fromRing(ctx, p, since, until, shown)
	case err == nil && o.follow:
		err = o.join(ctx, h, since)
	}
	if err != nil {
		return err
	}
	return o.printHistory(p, h, shown)
}
