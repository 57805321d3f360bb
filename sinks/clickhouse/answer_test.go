package clickhouse_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/clickhouse"
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
	agree(t, rng, newReader(t, cfg), places{recs: recs}, 150)
}

// TestAnswersWithLiveRecordsAgree is TestAnswersAgree where the database has some of the
// records, and the rest, with some that it has, come with the query.
func TestAnswersWithLiveRecordsAgree(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	cfg := config(srv.Addr)
	rng := rand.New(rand.NewPCG(17, 18))
	w := querytest.Scatter(rng, querytest.Records(rng, 600))
	if err := newSink(t, cfg, "a").WriteAt(t.Context(), 0, w.Stored); err != nil {
		t.Fatal(err)
	}
	agree(t, rng, newReader(t, cfg), placesOf(&w), 150)
}

// places are the records of an answer, and those of them that come with the query.
type places struct {
	recs []flow.Record
	live []*flow.Record
}

func placesOf(w *querytest.Places) places {
	p := places{recs: append(w.Told, w.Sights...)}
	for _, list := range [][]flow.Record{w.Waiting, w.Sights, w.Passed} {
		for i := range list {
			p.live = append(p.live, &list[i])
		}
	}
	return p
}

// agree asks the same of the database, with live records, and of the evaluator in memory;
// WEIR_QUERIES asks more.
func agree(t *testing.T, rng *rand.Rand, reader *clickhouse.Reader, p places, queries int) {
	t.Helper()
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
		req := request(t, q, since, until)
		req.Whole = i%4 == 0
		switch i % 6 {
		case 1:
			req.Visible = flow.Confine([]string{"shop"})
		case 4:
			req.Visible = flow.Confine([]string{"bank", "it's"})
		case 5:
			if i%30 == 5 {
				req.Visible = flow.Confine(nil)
			}
		}
		want := inMemory(t, req.Fresh(), p.recs)
		got := req.Fresh()
		if err := reader.Answer(t.Context(), got, p.live); err != nil {
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

func newReader(t *testing.T, cfg clickhouse.Config) *clickhouse.Reader {
	t.Helper()
	r, err := clickhouse.NewReader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func request(t *testing.T, q *query.Query, since, until int64) *query.Answer {
	t.Helper()
	a, err := query.NewAnswer(q, since, until, query.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func inMemory(t *testing.T, a *query.Answer, recs []flow.Record) *query.Answer {
	t.Helper()
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
		var lines []string
		for _, r := range res.Rows {
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(b))
		}
		if a.Visible != nil && a.Query.Stats() == nil {
			slices.Sort(lines) // nothing that he sees says which of two that ended at once comes first
		}
		return fmt.Sprintln(res.Columns) + strings.Join(append(lines, res.Notes...), "\n")
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
	if d := cmp.Diff(text(want), text(got)); d != "" || !want.Whole || want.Visible != nil || want.Query.Stats() != nil {
		return d
	}
	x, y := want.Records(), got.Records()
	if len(x) != len(y) {
		return fmt.Sprintf("%d records and %d", len(x), len(y))
	}
	for i := range x {
		if d := cmp.Diff(string(flow.AppendJSON(nil, &x[i])), string(flow.AppendJSON(nil, &y[i]))); d != "" {
			return fmt.Sprintf("record %d: %s", i, d)
		}
	}
	return ""
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
	got := request(t, q, recs[0].Start-1, recs[4999].End+1)
	want := inMemory(t, got.Fresh(), recs)
	if err := newReader(t, cfg).Answer(t.Context(), got, nil); err != nil {
		t.Fatal(err)
	}
	if d := differ(t, want, got); d != "" {
		t.Error(d)
	}
}
