package clickhouse_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/clickhouse"
	"github.com/weirnet/weir/sinks/clickhouse/sql"
)

// TestAnswersAgree asks the same of the database and of the evaluator in memory.
func TestAnswersAgree(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	cfg := config(srv.Addr)
	rng := rand.New(rand.NewPCG(7, 8))
	recs := querytest.Records(rng, 600)
	for i := range recs {
		if i%17 == 0 { // of a foreign exporter: each a row of its own
			recs[i].Has.Clear(flow.FConnID)
		}
	}
	s := newSink(t, cfg, "a")
	if err := s.WriteAt(t.Context(), 0, recs[:300]); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteAt(t.Context(), 300, recs[300:]); err != nil {
		t.Fatal(err)
	}
	queries := 150
	if n, err := strconv.Atoi(os.Getenv("WEIR_QUERIES")); err == nil {
		queries = n
	}
	wrong := 0
	for i := range queries {
		q := querytest.Query(rng)
		since := querytest.Base + rng.Int64N(querytest.Span)
		until := since + 1 + rng.Int64N(querytest.Span)
		if i%5 == 0 {
			since, until = querytest.Base-1000, querytest.Base+2*querytest.Span
		}
		req := sql.Request{Query: q, Since: since, Until: until, Limits: query.DefaultLimits()}
		want := inMemory(t, &req, recs)
		got, err := clickhouse.Answer(t.Context(), &cfg, &req)
		if err != nil {
			t.Fatalf("query %d %s: %v", i, query.Format(q), err)
		}
		if d := differ(t, want, got); d != "" {
			t.Errorf("query %d over %d to %d:\n%s\n(-memory +clickhouse)\n%s", i, since, until, query.Format(q), d)
			if wrong++; wrong > 3 {
				t.FailNow()
			}
		}
	}
}

func inMemory(t *testing.T, r *sql.Request, recs []flow.Record) *query.Answer {
	t.Helper()
	a, err := query.NewAnswer(r.Query, r.Since, r.Until, r.Limits)
	if err != nil {
		t.Fatal(err)
	}
	e, err := query.NewEvaluator(a)
	if err != nil {
		t.Fatal(err)
	}
	for i := range recs {
		if err := e.Add(&recs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Finish(); err != nil {
		t.Fatal(err)
	}
	return a
}

// differ compares the parts, which merge, and the results, which people see.
func differ(t *testing.T, want, got *query.Answer) string {
	t.Helper()
	text := func(a *query.Answer) string {
		res, err := a.Result(0)
		if err != nil {
			t.Fatal(err)
		}
		res.Scanned = query.Scanned{}
		out := ""
		for _, r := range res.Rows {
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			out += string(b) + "\n"
		}
		for _, n := range res.Notes {
			out += n + "\n"
		}
		return fmt.Sprintln(res.Columns) + out
	}
	if want.Query.Stats() != nil {
		x, err := json.MarshalIndent(want.Part().Groups, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		y, err := json.MarshalIndent(got.Part().Groups, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(x), string(y)); d != "" {
			return d
		}
	}
	return cmp.Diff(text(want), text(got))
}

// TestManyDistinct has more values than a counter keeps.
func TestManyDistinct(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	cfg := config(srv.Addr)
	recs := samples(0, 5000)
	for i := range recs {
		recs[i].SetDstName(fmt.Sprintf("host-%d", i))
	}
	if err := newSink(t, cfg, "a").WriteAt(t.Context(), 0, recs); err != nil {
		t.Fatal(err)
	}
	q, err := query.Parse("| stats uniq(dst.name), uniq(conn_id), p99(reverse.bytes)")
	if err != nil {
		t.Fatal(err)
	}
	req := sql.Request{Query: q, Since: recs[0].Start - 1, Until: recs[4999].End + 1, Limits: query.DefaultLimits()}
	want := inMemory(t, &req, recs)
	got, err := clickhouse.Answer(t.Context(), &cfg, &req)
	if err != nil {
		t.Fatal(err)
	}
	if d := differ(t, want, got); d != "" {
		t.Error(d)
	}
}
