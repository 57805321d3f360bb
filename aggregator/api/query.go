package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Engine answers queries from what this aggregator has: history and live state.
type Engine interface {
	// Answer adds to a the rows that satisfy a.Query within [a.Since, a.Until) and are
	// a.Visible, and what it scanned of what is. It ends soon after ctx does.
	Answer(ctx context.Context, a *query.Answer) error
}

// QueryLimits bound what queries cost.
type QueryLimits struct {
	Timeout time.Duration // of one query
	AtOnce  int           // queries that run at once; one more is refused
	Exports int           // lists of more than Answer.Rows rows that are sent at once
	Export  time.Duration // of one of them
	Stall   time.Duration // a client that takes nothing of an answer for so long is cut off
	Answer  query.Limits
}

// DefaultQueryLimits are half a minute and four queries at once, and two lists of ten.
func DefaultQueryLimits() QueryLimits {
	return QueryLimits{Timeout: 30 * time.Second, AtOnce: 4, Exports: 2, Export: 10 * time.Minute, Stall: writeTimeout, Answer: query.DefaultLimits()}
}

// asked is a request for an answer.
type asked struct {
	query        *query.Query
	since, until int64
	limit        int // rows; 0 for all, -1 where none is given
	visible      *flow.Visibility
	part         bool           // for another aggregator: what it has itself, to merge
	facets       []*query.Stats // stages in place of the query's, of a part
	live         bool           // and of that the records that a long history does not have yet
}

// Head is the first line of a streamed answer, {"weir":{...}} being the last.
type Head struct {
	Columns []query.Column `json:"columns"`
	Notes   []string       `json:"notes,omitempty"`
	Since   time.Time      `json:"since"`
	Until   time.Time      `json:"until"`
	Query   string         `json:"query"` // in canonical form
}

// Tail is the last line of a streamed answer.
type Tail struct {
	End     bool            `json:"end"`
	Rows    int             `json:"rows"`
	Cut     bool            `json:"cut,omitempty"`    // there are more rows
	Why     string          `json:"why,omitempty"`    // of what was cut
	Failed  bool            `json:"failed,omitempty"` // it was cut because the search came to no end
	Notes   []string        `json:"notes,omitempty"`  // of a list that is sent as it is found; else they stand in the head
	Scanned query.Scanned   `json:"scanned"`
	TookMs  float64         `json:"took_ms"`
	Partial []query.Missing `json:"partial,omitempty"`
	// Coverage is left out for a caller who sees a part of the cluster.
	Coverage *CoverageBrief `json:"coverage,omitempty"`
}

// QueryAnswer is an answer in one object.
type QueryAnswer struct {
	query.Result
	Coverage *CoverageBrief `json:"coverage,omitempty"`
}

// TailLine is the line that a Tail stands in.
type TailLine struct {
	Weir Tail `json:"weir"`
}

const maxBody = 64 << 10

// askedParams are what parseAsked reads; the others are for aggregators.
const askedParams = "q since until limit -part -live -visible* -facet*"

// parseAsked reads q, since, until and limit of a URL or a form.
func (s *Server) parseAsked(r *http.Request, now time.Time) (a asked, err error) {
	v := r.URL.Query()
	if r.Method == http.MethodPost {
		b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
		if err != nil {
			return a, fmt.Errorf("read the body: %w: a form of at most %d bytes is expected", err, maxBody)
		}
		form, err := url.ParseQuery(string(b))
		if err != nil {
			return a, fmt.Errorf("the body is no form (application/x-www-form-urlencoded): %w", err)
		}
		for k, vs := range form {
			v[k] = append(v[k], vs...)
		}
		if err := known(maps.Clone(v), askedParams); err != nil {
			return a, err
		}
	}
	if a.query, err = query.Parse(v.Get("q")); err != nil {
		return a, err
	}
	if a.since, a.until, err = parseRange(v, now); err != nil {
		return a, err
	}
	a.limit = -1
	if t := v.Get("limit"); t != "" {
		if a.limit, err = strconv.Atoi(t); err != nil || a.limit < 0 {
			return a, fmt.Errorf("limit: %q is no number of rows: give 1 or more, or 0 for all", t)
		}
	}
	for name, into := range map[string]*bool{"part": &a.part, "live": &a.live} {
		if t := v.Get(name); t != "" {
			if *into, err = strconv.ParseBool(t); err != nil {
				return a, fmt.Errorf("%s: %q is neither true nor false", name, t)
			}
		}
	}
	if a.live && (!a.part || !callerOf(r).All) { // records are whole
		return a, errors.New("live: it is for aggregators that ask each other")
	}
	if a.visible, err = visible(r, v["visible"], a.part); err != nil {
		return a, err
	}
	if a.facets, err = parseFacets(v["facet"], a.part && !a.live); err != nil {
		return a, err
	}
	if s.beyond(a.limit) && a.form(r) == jsonMedia {
		return a, fmt.Errorf("limit: an answer in one object has at most %d rows: ask for them as lines, with Accept: %s or %s", s.Limits.Answer.Rows, linesMedia, csvMedia)
	}
	return a, nil
}

// beyond reports whether a limit allows more rows than an answer may hold.
func (s *Server) beyond(limit int) bool { return limit == 0 || limit > s.Limits.Answer.Rows }

// parseRange reads since (an hour ago) and until (now); a number is milliseconds since
// the epoch.
func parseRange(v url.Values, now time.Time) (since, until int64, err error) {
	since, until = now.Add(-time.Hour).UnixMilli(), now.UnixMilli()
	for _, x := range []struct {
		key  string
		into *int64
	}{{"since", &since}, {"until", &until}} {
		t := v.Get(x.key)
		if t == "" {
			continue
		}
		if *x.into, err = moment(t, now); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", x.key, err)
		}
	}
	if until <= since {
		return 0, 0, errors.New("the range is empty: until is not after since")
	}
	return since, until, nil
}

// moment reads a time as ParseTime does, or milliseconds since the epoch.
func moment(text string, now time.Time) (int64, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return ms, nil
	}
	at, err := ParseTime(text, now)
	return at.UnixMilli(), err
}

// failQuery answers a text that is no query, with the column.
func failQuery(w http.ResponseWriter, err error) {
	f := Failure{Error: err.Error()}
	if e, ok := errors.AsType[*query.Error](err); ok {
		f.Column, f.Near = e.Column, e.Near
	}
	reply(w, http.StatusBadRequest, f)
}

var errNoHistory = errors.New("this aggregator keeps no history: set history.enabled")

// own asks this aggregator alone.
func (s *Server) own(ctx context.Context, a *query.Answer) error {
	if s.Engine == nil {
		return errNoHistory
	}
	return s.Engine.Answer(ctx, a)
}

// admit takes one of the places for queries, and one of the caller's; leave gives them back.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (leave func(), ok bool) {
	if s.Engine == nil && s.longNow() == nil {
		fail(w, http.StatusNotFound, errNoHistory.Error())
		return nil, false
	}
	c := callerOf(r)
	if c.Peer { // its callers' limits hold there
		limit := s.Limits.AtOnce * len(s.Peers)
		if !take(&s.parts, limit) {
			s.Stats.QueriesRefused.Add(1)
			fail(w, http.StatusTooManyRequests, fmt.Sprintf("%d queries of other aggregators are running already: wait for one, or raise api.maxQueries", limit))
			return nil, false
		}
		return func() { s.parts.Add(-1) }, true
	}
	u := s.usage.of(c.Name, s.Caller, time.Now())
	if u == nil || !take(&u.queries, s.Caller.Queries) {
		s.Stats.QueriesRefused.Add(1)
		fail(w, http.StatusTooManyRequests, fmt.Sprintf("%d queries of %s are running already: wait for one, or raise api.callerQueries", s.Caller.Queries, c.Name))
		return nil, false
	}
	if !take(&s.queries, s.Limits.AtOnce) {
		u.queries.Add(-1)
		s.Stats.QueriesRefused.Add(1)
		fail(w, http.StatusTooManyRequests, fmt.Sprintf("%d queries are running already: wait for one, or raise api.maxQueries", s.Limits.AtOnce))
		return nil, false
	}
	return func() { s.queries.Add(-1); u.queries.Add(-1) }, true
}

// visible is what a request may see: its caller's part, or, of a peer that asks for
// another's sake, that one's.
func visible(r *http.Request, names []string, part bool) (*flow.Visibility, error) {
	c := callerOf(r)
	switch {
	case part && !c.All: // else the asker would take a part of the part for all of it
		return nil, fmt.Errorf("part: it is for aggregators that ask each other, and %s sees some namespaces only: give it a token without namespaces=", c.Name)
	case names == nil:
		return c.Visible(), nil
	case !part:
		return nil, errors.New("visible: it is for aggregators that ask each other")
	}
	return flow.Confine(names), nil
}

// begin makes the answer that is to be filled. Who asks for a part has decided about
// canaries.
func (s *Server) begin(req *asked) (*query.Answer, error) {
	q, leftOut := req.query, false
	if !req.part {
		q, leftOut = query.WithoutCanaries(q)
	}
	a, err := query.NewAnswer(q, req.since, req.until, s.Limits.Answer)
	if err != nil {
		return nil, err
	}
	a.Visible = req.visible
	if leftOut {
		a.Note(query.CanariesNote)
	}
	return a, nil
}

func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	req, err := s.parseAsked(r, began)
	if err != nil {
		failQuery(w, err)
		return
	}
	a, err := s.begin(&req)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	form := req.form(r)
	if a.Table() == nil && !req.live && (form == partsMedia || !req.part && s.beyond(req.limit)) {
		s.export(w, r, &req, a, began)
		return
	}
	leave, ok := s.admit(w, r)
	if !ok {
		return
	}
	defer leave()
	s.Stats.Queries.Add(1)
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Timeout)
	defer cancel()
	if req.facets != nil {
		s.facetsFor(ctx, w, a, req.facets)
		return
	}
	var missing []query.Missing
	switch {
	case req.live: // below
	case req.part:
		err = s.own(ctx, a)
	default:
		missing, err = s.answer(ctx, a)
	}
	if err != nil {
		s.failAnswer(w, ctx, err)
		return
	}
	if req.part {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a response that cannot have one has none
		part := s.livePart
		if !req.live {
			part = (*query.Answer).Part
		}
		replyAs(w, partMedia, http.StatusOK, part(a))
		return
	}
	var res *query.Result
	if s.beyond(req.limit) {
		res = a.Beyond(req.limit)
	} else if res, err = a.Result(req.limit); err != nil {
		s.failAnswer(w, ctx, err)
		return
	}
	res.Took, res.Partial = time.Since(began), missing
	if form == jsonMedia {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		reply(w, http.StatusOK, QueryAnswer{*res, s.brief(r)})
		return
	}
	writeResult(newRowWriter(w, form, s.Limits.Stall), a, res, s.brief(r))
}

// failAnswer says why there is no answer.
func (s *Server) failAnswer(w http.ResponseWriter, ctx context.Context, err error) { //nolint:revive // the writer comes first in handlers
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.Stats.QueriesFailed.Add(1)
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("the query took longer than %v: take a shorter range or a narrower condition, or raise api.queryTimeout", s.Limits.Timeout))
	case ctx.Err() != nil: // the client is gone
	default:
		s.Stats.QueriesFailed.Add(1)
		fail(w, http.StatusUnprocessableEntity, err.Error())
	}
}

// writeResult writes columns, rows and the end of an answer that is there.
func writeResult(o *rowWriter, a *query.Answer, res *query.Result, seen *CoverageBrief) {
	counted := make([]bool, len(res.Columns))
	for i := range res.Rows {
		for c, n := range res.Rows[i].Uncounted {
			counted[c] = counted[c] || n > 0
		}
	}
	if o.head(headOf(a, res.Columns, res.Notes), counted) != nil {
		return
	}
	for i := range res.Rows {
		if o.row(&res.Rows[i]) != nil {
			return // the client went away
		}
	}
	tail := Tail{End: true, Rows: len(res.Rows), Cut: res.Cut, Scanned: res.Scanned, TookMs: float64(res.Took.Microseconds()) / 1000, Partial: res.Partial, Coverage: seen}
	if res.Cut {
		tail.Why = fmt.Sprintf("there are more rows than the limit of %d", len(res.Rows))
	}
	_ = o.tail(&tail) // the client may be gone
}
