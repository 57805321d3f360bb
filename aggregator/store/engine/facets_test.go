package engine

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/testenv"
)

// TestFacetsLikeStats: one pass for many fields gives what a query for each gives, with
// roll-ups and without, to all and to one who is confined.
func TestFacetsLikeStats(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 7))
	recs := orderly(rng, 5000)
	s := fill(t, recs[:4800])
	s.Keep(t.Context(), time.Now().Add(2*time.Hour))
	rollups, groupsSeen := 0, 0
	for n := range 60 {
		expr, err := query.ParseExpr(condition(rng))
		if err != nil {
			t.Fatal(err)
		}
		req := &Request{Query: &query.Query{Expr: expr}, Since: t0 - 3_600_000 - t0%60_000, Until: t0 + 1_000_000, Live: beside(recs[4800:])}
		if n%3 == 1 {
			req.Since, req.Until = t0+rng.Int64N(300_000), t0+300_000+rng.Int64N(300_000)
		}
		if n%2 == 1 {
			req.Visible = flow.Confine([]string{"team-1"})
		}
		var stages []*query.Stats
		for _, i := range rng.Perm(len(groups))[:5] {
			q, err := query.Parse("| stats " + []string{"active", "conns", "sum(bytes), active"}[rng.IntN(3)] + " by " + groups[i])
			if err != nil {
				t.Fatal(err)
			}
			stages = append(stages, q.Stats())
		}
		got, sc, err := Facets(t.Context(), s, req, stages)
		if err != nil {
			t.Fatal(err)
		}
		rollups += sc.Rollups
		for i, st := range stages {
			one := *req
			one.Query = &query.Query{Expr: expr, Stages: []query.Stage{st}}
			want, _, err := Stats(t.Context(), s, &one)
			if err != nil {
				t.Fatal(err)
			}
			if g, w := asJSON(t, got[i].Groups()), asJSON(t, want.Groups()); g != w {
				t.Fatalf("%s:\n got %s\nwant %s", query.Format(one.Query), g, w)
			}
			groupsSeen += want.Len()
		}
	}
	if rollups == 0 || groupsSeen < 300 {
		t.Errorf("%d roll-ups were used, %d groups compared: this proves little", rollups, groupsSeen)
	}
}

// differing are fields that a comparison of a region with the rest looks at.
var differing = []string{
	"src.ns", "src.workload", "src.pod", "src.node", "src.zone", "src.kind", "src.name", "dst.ns", "dst.workload", "dst.pod", "dst.node", "dst.zone", "dst.kind",
	"dst.name", "dst.port", "proto", "service", "scope", "outcome", "reset_by", "seen_by", "policy.eval", "ingress.policy", "egress.policy", "dns.rcode",
	"src.limited_by", "dst.limited_by", "dst.listen", "app",
}

// BenchmarkFacets is the CPU of counting a region's connections by 29 fields, in one pass and
// by a query for each, in turn.
func BenchmarkFacets(b *testing.B) {
	s := big(b)
	end := bigEnd()
	expr, err := query.ParseExpr("outcome != ok")
	if err != nil {
		b.Fatal(err)
	}
	var stages []*query.Stats
	for _, name := range differing {
		q, err := query.Parse("| stats active by " + name)
		if err != nil {
			b.Fatal(err)
		}
		stages = append(stages, q.Stats())
	}
	for _, e := range []query.Expr{expr, &query.Not{Expr: expr}} {
		req := &Request{Query: &query.Query{Expr: e}, Since: end - time.Hour.Milliseconds(), Until: end}
		b.Run(query.FormatExpr(e), func(b *testing.B) {
			var once, each time.Duration
			for b.Loop() {
				at := testenv.OwnCPU(b)
				if _, _, err := Facets(b.Context(), s, req, stages); err != nil {
					b.Fatal(err)
				}
				once += testenv.OwnCPU(b) - at
				at = testenv.OwnCPU(b)
				for _, st := range stages {
					one := *req
					one.Query = &query.Query{Expr: e, Stages: []query.Stage{st}}
					if _, _, err := Stats(b.Context(), s, &one); err != nil {
						b.Fatal(err)
					}
				}
				each += testenv.OwnCPU(b) - at
			}
			b.ReportMetric(float64(once.Milliseconds())/float64(b.N), "cpu-ms/once")
			b.ReportMetric(float64(each.Milliseconds())/float64(b.N), "cpu-ms/each")
			b.ReportMetric(each.Seconds()/once.Seconds(), "times-less")
		})
	}
}

// BenchmarkConfined is the CPU of the queries that BenchmarkQuery6h asks, to one who sees two
// of twenty namespaces, beside that to one who sees all.
func BenchmarkConfined(b *testing.B) {
	s := big(b)
	end := bigEnd()
	var all, confined time.Duration
	for b.Loop() {
		for _, text := range benchQueries {
			q, err := query.Parse(text)
			if err != nil {
				b.Fatal(err)
			}
			for _, v := range []*flow.Visibility{nil, flow.Confine([]string{"team-07", "team-11"})} {
				at := testenv.OwnCPU(b)
				if _, _, err := Stats(b.Context(), s, &Request{Query: q, Since: end - 6*time.Hour.Milliseconds(), Until: end, Visible: v}); err != nil {
					b.Fatal(err)
				}
				if v == nil {
					all += testenv.OwnCPU(b) - at
				} else {
					confined += testenv.OwnCPU(b) - at
				}
			}
		}
	}
	b.ReportMetric(float64(all.Milliseconds())/float64(b.N), "cpu-ms/all")
	b.ReportMetric(float64(confined.Milliseconds())/float64(b.N), "cpu-ms/confined")
	b.ReportMetric(confined.Seconds()/all.Seconds(), "confined/all")
}
