package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/weirnet/weir/api/query"
)

// Faceter is an Engine that answers many questions about the same connections at once.
type Faceter interface {
	// Facets fills answers to one condition over one range, each with a stats stage without
	// steps, as Answer would fill each; what was scanned stands in the first.
	Facets(ctx context.Context, list []*query.Answer) error
}

// maxFacets bounds what one part is asked for.
const maxFacets = 64

// parseFacets reads fields by which a part counts connections.
func parseFacets(names []string, part bool) (out []*query.Stats, err error) {
	switch {
	case len(names) == 0:
		return nil, nil
	case !part:
		return nil, errors.New("facet: it is for aggregators that ask each other")
	case len(names) > maxFacets:
		return nil, fmt.Errorf("facet: %d are too many: at most %d", len(names), maxFacets)
	}
	for _, name := range names {
		st, err := facet(name)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// facet counts the connections alive in a range by a field.
func facet(field string) (*query.Stats, error) {
	q, err := query.Parse("| stats active by " + field)
	if err != nil {
		return nil, fmt.Errorf("facet: %w", err)
	}
	if st := q.Stats(); len(q.Stages) == 1 && len(st.By) == 1 && st.Every == 0 {
		return st, nil
	}
	return nil, fmt.Errorf("facet: %q is no field", field)
}

// facetAnswers are answers to be filled, one a stage.
func (s *Server) facetAnswers(like *query.Answer, stages []*query.Stats) ([]*query.Answer, error) {
	var list []*query.Answer
	for _, st := range stages {
		a, err := query.NewAnswer(&query.Query{Expr: like.Query.Expr, Stages: []query.Stage{st}}, like.Since, like.Until, s.Limits.Answer)
		if err != nil {
			return nil, err
		}
		a.Visible = like.Visible
		list = append(list, a)
	}
	return list, nil
}

// ownFacets asks this aggregator alone, in one pass where its engine can.
func (s *Server) ownFacets(ctx context.Context, list []*query.Answer) error {
	if f, ok := s.Engine.(Faceter); ok {
		return f.Facets(ctx, list)
	}
	for _, a := range list {
		if err := s.own(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// facetsFor answers another aggregator, which asks for the stages in place of a's own.
func (s *Server) facetsFor(ctx context.Context, w http.ResponseWriter, a *query.Answer, stages []*query.Stats) {
	list, err := s.facetAnswers(a, stages)
	if err == nil {
		err = s.ownFacets(ctx, list)
	}
	if err != nil {
		s.failAnswer(w, ctx, err)
		return
	}
	part := &query.Part{Notes: list[0].Notes()}
	for _, x := range list {
		part.Facets = append(part.Facets, x.Table().Groups())
		part.Scanned.Add(x.Scanned)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a response that cannot have one has none
	replyAs(w, partMedia, http.StatusOK, part)
}

// facets fills answers to the same condition with a stage each, over all aggregators: each
// looks at its connections once and not once for each answer. The fields are those of
// the stages, by which parseFacets makes them again.
func (s *Server) facets(ctx context.Context, list []*query.Answer, fields []string) ([]query.Missing, error) {
	missing, done, err := s.fromLong(ctx, list[0])
	if err != nil {
		return nil, err
	}
	if done { // a database, which is asked for each
		for _, a := range list[1:] {
			more, err := s.answer(ctx, a)
			if err != nil {
				return nil, err
			}
			missing = alsoMissing(missing, more)
		}
		return missing, nil
	}
	parts, errs := make([]*query.Part, len(s.Peers)), make([]error, len(s.Peers))
	var wg sync.WaitGroup
	early, cancel := before(ctx)
	defer cancel()
	more := make([]string, 0, len(fields))
	for _, f := range fields {
		more = append(more, "facet="+f)
	}
	for i := range s.Peers {
		wg.Go(func() { parts[i], errs[i] = s.Peers[i].part(early, list[0], more...) })
	}
	err = s.ownFacets(ctx, list)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	for i, p := range parts {
		if errs[i] == nil && len(p.Facets) != len(list) {
			errs[i] = fmt.Errorf("%d of %d facets came: do all aggregators run one version?", len(p.Facets), len(list))
		}
		if errs[i] != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			missing = append(missing, s.missing(&s.Peers[i], errs[i]))
			continue
		}
		for k, a := range list {
			if err := a.Table().MergeGroups(p.Facets[k]); err != nil {
				return nil, fmt.Errorf("merge what %s answers: %w", s.Peers[i].Name, err)
			}
		}
		list[0].Scanned.Add(p.Scanned)
		for _, n := range p.Notes {
			list[0].Note(n)
		}
	}
	return missing, nil
}
