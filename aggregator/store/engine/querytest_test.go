package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
)

// TestSpecification: generated queries over a history give what the naive evaluator of the
// language gives, of one history and of three that merge.
func TestSpecification(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 99))
		recs := querytest.Records(rng, 500)
		whole := fill(t, recs)
		parts := make([][]flow.Record, 3)
		for _, r := range recs {
			parts[r.ConnID%3] = append(parts[r.ConnID%3], r)
		}
		for n := range 60 {
			q := querytest.Query(rng)
			since := querytest.Base + rng.Int64N(querytest.Span) - 60_000
			req := &Request{Query: q, Since: since, Until: since + 1 + rng.Int64N(querytest.Span)}
			text := fmt.Sprintf("seed %d, query %d: %s", seed, n, query.Format(q))
			if q.Stats() == nil {
				want := map[uint64]string{}
				for _, r := range querytest.Rows(recs, req.Since, req.Until) {
					if querytest.Holds(q.Expr, &r) {
						want[r.ConnID] = r.Text(flow.FBytes) + " " + r.Text(flow.FOutcome)
					}
				}
				got := 0
				_, _, err := List(t.Context(), whole, req, 0, func(r *flow.Record) error {
					got++
					if w, ok := want[r.ConnID]; !ok || w != r.Text(flow.FBytes)+" "+r.Text(flow.FOutcome) {
						t.Errorf("%s: connection %x is %s %s, want %q", text, r.ConnID, r.Text(flow.FBytes), r.Text(flow.FOutcome), w)
					}
					return nil
				})
				if err != nil || got != len(want) {
					t.Fatalf("%s: %d rows, want %d (%v)", text, got, len(want), err)
				}
				continue
			}
			want := querytest.Groups(q, recs, req.Since, req.Until)
			table, _, err := Stats(t.Context(), whole, req)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if d := querytest.Differ(q, table.Groups(), want); d != "" {
				t.Fatalf("%s\n%s", text, d)
			}
			if n%6 != 0 {
				continue
			}
			merged := query.NewTable(q.Stats(), 100_000)
			for _, part := range parts {
				own, _, err := Stats(t.Context(), fill(t, part), req)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if err := merged.Merge(own); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			if d := querytest.Differ(q, merged.Groups(), want); d != "" {
				t.Fatalf("%s, merged\n%s", text, d)
			}
		}
	}
}
