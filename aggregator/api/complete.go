package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// completeTimeout is how long a person waits for the values of a field.
const completeTimeout = 2 * time.Second

// CompletionAnswer is the answer of /api/v1/complete.
type CompletionAnswer struct {
	query.Completion
	Partial []query.Missing `json:"partial,omitempty"` // aggregators whose values are missing
}

// complete answers text, cursor (a byte offset; the end if left out), since and until.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	text := v.Get("text")
	if len(text) > query.MaxText {
		fail(w, http.StatusBadRequest, fmt.Sprintf("text: %d bytes are too long: at most %d", len(text), query.MaxText))
		return
	}
	cursor := len(text)
	if c := v.Get("cursor"); c != "" {
		n, err := strconv.Atoi(c)
		if err != nil || n < 0 || n > len(text) {
			fail(w, http.StatusBadRequest, fmt.Sprintf("cursor: %q is no byte offset within the text", c))
			return
		}
		cursor = n
	}
	since, until, err := parseRange(v, time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), completeTimeout)
	defer cancel()
	var values query.Values
	seen := &seenValues{s: s, ctx: ctx, since: since, until: until, visible: callerOf(r).Visible()}
	if s.Engine != nil || s.longNow() != nil {
		if take(&s.queries, s.Limits.AtOnce) {
			defer s.queries.Add(-1)
			values = seen
		}
	}
	c := query.Complete(text, cursor, values)
	if c.Suggestions == nil {
		c.Suggestions = []query.Suggestion{}
	}
	reply(w, http.StatusOK, CompletionAnswer{c, seen.missing})
}

// seenValues finds values by asking which are the most frequent ones in the range.
type seenValues struct {
	s            *Server
	ctx          context.Context //nolint:containedctx // lives as long as the request
	since, until int64
	visible      *flow.Visibility
	missing      []query.Missing
}

// Values implements query.Values; where the query fails or takes too long it gives none.
func (v *seenValues) Values(f query.Field, prefix string, where query.Expr, limit int) []string {
	counts := map[string]int64{}
	for _, id := range f.IDs {
		one := query.ColumnField(id, f.Label)
		cond := query.Both(where, query.BeginsWith(one, prefix))
		q := &query.Query{Expr: cond, Stages: []query.Stage{&query.Stats{Aggs: []query.Aggregate{{Func: query.Active}}, By: []query.Field{one}}}}
		a, err := query.NewAnswer(q, v.since, v.until, v.s.Limits.Answer)
		if err != nil {
			return nil
		}
		a.Visible = v.visible
		missing, err := v.s.answer(v.ctx, a)
		if err != nil {
			return nil
		}
		v.missing = alsoMissing(v.missing, missing)
		for _, g := range a.Table().Groups() {
			if text := query.Shown(one, g.Key[0].Text, prefix); strings.HasPrefix(text, prefix) {
				counts[text] += int64(g.Accs[0].N)
			}
		}
	}
	out := make([]string, 0, len(counts))
	for s := range counts {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	return out[:min(limit, len(out))]
}
