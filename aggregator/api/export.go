package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// A list of more rows than an answer may hold is streamed: its rows are written as they
// are found, newest first, and none is kept. A client that reads slowly slows the search
// down, one that goes ends it. What a reader must know of the answer stands in its last
// line, as it is known only then.

// aliveEvery is how often an aggregator that searches shows another that it does.
const aliveEvery = 5 * time.Second

// admitExport takes one of the places for streamed answers, and one of the caller's
// streams. Those for other aggregators have places of their own, as many as those may ask
// for.
func (s *Server) admitExport(w http.ResponseWriter, r *http.Request, part bool) (leave func(), ok bool) {
	if s.Engine == nil && s.longNow() == nil {
		fail(w, http.StatusNotFound, errNoHistory.Error())
		return nil, false
	}
	c := callerOf(r)
	places, limit := &s.exports, s.Limits.Exports
	var mine *atomic.Int64
	if part {
		places, limit = &s.partsOf, s.Limits.Exports*max(1, len(s.Peers))
	} else if u := s.usage.of(c.Name, s.Caller, time.Now()); u == nil || !take(&u.streams, s.Caller.Streams) {
		s.Stats.QueriesRefused.Add(1)
		fail(w, http.StatusTooManyRequests, fmt.Sprintf("%d streams of %s are open already: close one or raise api.callerStreams", s.Caller.Streams, c.Name))
		return nil, false
	} else {
		mine = &u.streams
	}
	if !take(places, limit) {
		if mine != nil {
			mine.Add(-1)
		}
		s.Stats.QueriesRefused.Add(1)
		fail(w, http.StatusTooManyRequests, fmt.Sprintf("%d long answers are being sent already: wait for one, or raise api.maxExports", limit))
		return nil, false
	}
	return func() {
		places.Add(-1)
		if mine != nil {
			mine.Add(-1)
		}
	}, true
}

// export streams a list.
func (s *Server) export(w http.ResponseWriter, r *http.Request, req *asked, a *query.Answer, began time.Time) {
	form := req.form(r)
	stall := s.Limits.Stall
	if req.part {
		stall = s.Limits.Export // it may have to wait until the others' rows are as old
	}
	var o *rowWriter
	rower := a.Rower()
	rows := 0
	emit := func(rec *flow.Record) error {
		rows++
		if form == partsMedia {
			return o.flow(rec)
		}
		row := rower(rec)
		return o.row(&row)
	}
	if err := a.Stream(max(0, req.limit), emit); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	leave, ok := s.admitExport(w, r, req.part)
	if !ok {
		return
	}
	defer leave()
	s.Stats.Queries.Add(1)
	s.Stats.Exports.Add(1)
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Export)
	defer cancel()
	o = newRowWriter(w, form, stall)
	told := len(a.Notes())
	if form != partsMedia {
		if o.head(headOf(a, a.Columns(), a.Notes()), nil) != nil {
			return
		}
	}
	if o.begin() != nil {
		return
	}
	var missing []query.Missing
	var err error
	if req.part {
		done := o.keepAlive(ctx, cmp.Or(s.aliveEvery, aliveEvery))
		err = s.own(ctx, a)
		done()
	} else {
		missing, err = s.answer(ctx, a)
	}
	tail := Tail{
		End: true, Rows: rows, Scanned: a.Scanned, Notes: a.Notes()[told:], Partial: missing, Coverage: s.brief(r),
		TookMs: float64(time.Since(began).Microseconds()) / 1000,
	}
	s.ended(ctx, &tail, err)
	s.Stats.ExportedRows.Add(uint64(rows))
	_ = o.tail(&tail) // the client may be gone
}

// ended says in the last line how a streamed answer came to its end.
func (s *Server) ended(ctx context.Context, t *Tail, err error) {
	more, ok := query.Ended(err)
	switch {
	case more:
		t.Cut, t.Why = true, fmt.Sprintf("there are more rows than the limit of %d", t.Rows)
	case ok:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.Stats.QueriesFailed.Add(1)
		t.Cut, t.Failed, t.Why = true, true, fmt.Sprintf("it took longer than %v: take a shorter range or a narrower condition, or raise api.exportTimeout", s.Limits.Export)
	default:
		if ctx.Err() == nil {
			s.Stats.QueriesFailed.Add(1)
		}
		t.Cut, t.Failed, t.Why = true, true, err.Error()
	}
}

// keepAlive shows until done is called that the answer is being worked on.
func (o *rowWriter) keepAlive(ctx context.Context, every time.Duration) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if o.alive(last) != nil {
				return
			}
			last = time.Now()
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func headOf(a *query.Answer, cols []query.Column, notes []string) *Head {
	return &Head{
		Columns: cols, Notes: notes, Query: query.Format(a.Query),
		Since: time.UnixMilli(a.Since).UTC(), Until: time.UnixMilli(a.Until).UTC(),
	}
}
