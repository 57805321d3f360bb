package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/weirnet/weir/api/query"
)

// Basis says what an answer rests on, beside it.
type Basis struct {
	Since   time.Time       `json:"since"`
	Until   time.Time       `json:"until"`
	Scanned query.Scanned   `json:"scanned"`
	Notes   []string        `json:"notes,omitempty"`
	Partial []query.Missing `json:"partial,omitempty"` // aggregators that did not answer
	// Coverage is left out for a caller who sees a part of the cluster.
	Coverage *CoverageBrief `json:"coverage,omitempty"`
}

// asking asks several queries for one answer, for the caller of a request.
type asking struct {
	s     *Server
	r     *http.Request
	basis Basis
}

// inquire begins an answer that rests on queries: it reads the range and takes a place,
// which done gives back. Where ok is false the request has been answered.
func (s *Server) inquire(w http.ResponseWriter, r *http.Request) (a *asking, done func(), ok bool) {
	since, until, err := parseRange(r.URL.Query(), time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return nil, nil, false
	}
	leave, ok := s.admit(w, r)
	if !ok {
		return nil, nil, false
	}
	s.Stats.Queries.Add(1)
	a = &asking{s: s, r: r, basis: Basis{Since: time.UnixMilli(since).UTC(), Until: time.UnixMilli(until).UTC(), Coverage: s.brief(r)}}
	return a, leave, true
}

// ask answers one query over a range, over all aggregators.
func (a *asking) ask(ctx context.Context, text string, since, until int64) (*query.Answer, error) {
	x, err := a.begin(text, since, until)
	if err != nil {
		return nil, err
	}
	missing, err := a.s.answer(ctx, x)
	if err != nil {
		return nil, err
	}
	a.rests(x, missing)
	return x, nil
}

// facets counts the connections alive in a range that satisfy a condition by each of the
// fields, over all aggregators and in one pass.
func (a *asking) facets(ctx context.Context, cond string, fields []string, since, until int64) ([]*query.Answer, error) {
	like, err := a.begin(cond, since, until)
	if err != nil {
		return nil, err
	}
	stages, err := parseFacets(fields, true)
	if err != nil {
		return nil, err
	}
	list, err := a.s.facetAnswers(like, stages)
	if err != nil {
		return nil, err
	}
	missing, err := a.s.facets(ctx, list, fields)
	if err != nil {
		return nil, err
	}
	for _, x := range list {
		a.rests(x, missing)
	}
	return list, nil
}

// begin makes the answer that is to be filled.
func (a *asking) begin(text string, since, until int64) (*query.Answer, error) {
	q, err := query.Parse(text)
	if err != nil {
		return nil, err
	}
	x, err := query.NewAnswer(q, since, until, a.s.Limits.Answer)
	if err != nil {
		return nil, err
	}
	x.Visible, x.Whole = callerOf(a.r).Visible(), true
	return x, nil
}

// rests notes what an answer rests on.
func (a *asking) rests(x *query.Answer, missing []query.Missing) {
	a.basis.Scanned.Add(x.Scanned)
	a.basis.Partial = alsoMissing(a.basis.Partial, missing)
	for _, n := range x.Notes() {
		if !slices.Contains(a.basis.Notes, n) {
			a.basis.Notes = append(a.basis.Notes, n)
		}
	}
}

// alsoMissing adds to a list what it does not name yet.
func alsoMissing(list, more []query.Missing) []query.Missing {
	for _, m := range more {
		if !slices.ContainsFunc(list, func(o query.Missing) bool { return o.Name == m.Name }) {
			list = append(list, m)
		}
	}
	return list
}

// note adds a sentence to what the answer rests on.
func (a *asking) note(text string) { a.basis.Notes = append(a.basis.Notes, text) }

// flag reads a parameter that is true or false, and false where it is not given.
func flag(v url.Values, key string) (bool, error) {
	switch t := v.Get(key); t {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, fmt.Errorf("%s: %q is neither true nor false", key, t)
	}
}

// period is the range, and that before it of the same length.
func (a *asking) period(before bool) (since, until int64) {
	since, until = a.basis.Since.UnixMilli(), a.basis.Until.UnixMilli()
	if before {
		return since - (until - since), since
	}
	return since, until
}

// condition reads the parameter q, a condition without stages, in parentheses or "".
func condition(v url.Values) (string, error) {
	e, err := query.ParseExpr(v.Get("q"))
	if err != nil || e == nil {
		return "", err
	}
	return "(" + query.FormatExpr(e) + ")", nil
}
