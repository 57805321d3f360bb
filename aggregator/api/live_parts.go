package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// liveEverywhere gives what is live here and at the peers and is in the answer's range and
// sight; how many of the own the long history gets still, as they were told; and who is
// missing.
func (s *Server) liveEverywhere(ctx context.Context, a *query.Answer) (live []*flow.Record, told int, missing []query.Missing, err error) {
	parts, errs := make([]*query.Part, len(s.Peers)), make([]error, len(s.Peers))
	var wg sync.WaitGroup
	early, cancel := before(ctx)
	defer cancel()
	for i := range s.Peers {
		wg.Go(func() { parts[i], errs[i] = s.Peers[i].part(early, a, "live") })
	}
	live, told = s.liveHere(a)
	wg.Wait()
	for i, p := range parts {
		if errs[i] != nil {
			if ctx.Err() != nil {
				return nil, 0, nil, ctx.Err()
			}
			m := s.missing(&s.Peers[i], fmt.Errorf("what was not stored yet is missing of it: %w", errs[i]))
			m.Share = nil // most of its connections are there
			missing = append(missing, m)
			continue
		}
		for _, raw := range p.Rows {
			r := &flow.Record{}
			if err := flow.ParseJSON(raw, r); err != nil {
				return nil, 0, nil, fmt.Errorf("a record of %s: %w", s.Peers[i].Name, err)
			}
			live = append(live, r)
		}
	}
	return live, told, missing, nil
}

// liveHere gives the own live records in an answer's range and sight.
func (s *Server) liveHere(a *query.Answer) (live []*flow.Record, told int) {
	if s.Live == nil {
		return nil, 0
	}
	live, told = s.Live.RecordsLong()
	return slices.DeleteFunc(live, func(r *flow.Record) bool {
		from, to := query.Covered(r)
		return !query.InRange(from, to, a.Since, a.Until) || !a.Visible.Sees(r)
	}), told
}

// livePart answers a peer with the own live records.
func (s *Server) livePart(a *query.Answer) *query.Part {
	live, _ := s.liveHere(a)
	p := &query.Part{Rows: make([]json.RawMessage, 0, len(live))}
	for _, r := range live {
		p.Rows = append(p.Rows, flow.AppendJSON(nil, r))
	}
	return p
}
