package query_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
)

// TestRoundTrip: the text of a query is the query again.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		q := querytest.Query(rng)
		text := query.Format(q)
		got, err := query.Parse(text)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if d := cmp.Diff(q, got); d != "" {
			t.Fatalf("%s\n%s", text, d)
		}
		if again := query.Format(got); again != text {
			t.Fatalf("%s\n%s", text, again)
		}
	}
}

// TestPredicate: the compiled predicate says what the naive evaluator says.
func TestPredicate(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	recs := querytest.Records(rng, 300)
	hits, total := 0, 0
	for range 3000 {
		e := querytest.Expr(rng, 4)
		match, err := query.Predicate(e)
		if err != nil {
			t.Fatalf("%s: %v", query.FormatExpr(e), err)
		}
		for range 30 {
			r := &recs[rng.IntN(len(recs))]
			got, want := match(r), querytest.Holds(e, r)
			if got != want {
				t.Fatalf("%s\n= %v, want %v for %s", query.FormatExpr(e), got, want, flow.AppendJSON(nil, r))
			}
			total++
			if got {
				hits++
			}
		}
	}
	if hits < total/10 || hits > total*9/10 {
		t.Errorf("%d of %d hold: the generator tests little", hits, total)
	}
}

func evaluate(t *testing.T, q *query.Query, recs []flow.Record, since, until int64) *query.Answer {
	t.Helper()
	a, err := query.NewAnswer(q, since, until, query.DefaultLimits())
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

// TestEvaluator: generated queries over generated records give what the naive evaluator
// gives, of one aggregator and of three that merge over the wire.
func TestEvaluator(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for n := range 400 {
		q := querytest.Query(rng)
		recs := querytest.Records(rng, 1+rng.IntN(200))
		since := querytest.Base + rng.Int64N(querytest.Span) - 60_000
		until := since + 1 + rng.Int64N(querytest.Span)
		rng.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
		whole := evaluate(t, q, recs, since, until)
		merged, err := query.NewAnswer(q, since, until, query.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for part := range uint64(3) {
			var own []flow.Record
			for _, r := range recs {
				if r.ConnID%3 == part {
					own = append(own, r)
				}
			}
			wire, err := json.Marshal(evaluate(t, q, own, since, until).Part())
			if err != nil {
				t.Fatal(err)
			}
			var p query.Part
			if err := json.Unmarshal(wire, &p); err != nil {
				t.Fatal(err)
			}
			if err := merged.Merge(&p); err != nil {
				t.Fatal(err)
			}
		}
		text := query.Format(q)
		if q.Stats() != nil {
			want := querytest.Groups(q, recs, since, until)
			if d := querytest.Differ(q, whole.Table().Groups(), want); d != "" {
				t.Fatalf("query %d: %s\n%s", n, text, d)
			}
			if d := querytest.Differ(q, merged.Table().Groups(), want); d != "" {
				t.Fatalf("query %d, merged: %s\n%s", n, text, d)
			}
		}
		a, err := whole.Result(0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := merged.Result(0)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a, b); d != "" {
			t.Fatalf("query %d: %s\nmerging changes the answer: %s", n, text, d)
		}
		if q.Stats() == nil {
			checkList(t, a, whole, recs)
		}
	}
}

// checkList compares a list with the rows that the naive evaluator finds.
func checkList(t *testing.T, got *query.Result, a *query.Answer, recs []flow.Record) {
	t.Helper()
	q := a.Query
	want := map[string]string{}
	for _, r := range querytest.Rows(recs, a.Since, a.Until) {
		if querytest.Holds(q.Expr, &r) {
			want[r.Text(flow.FConnID)] = r.Text(flow.FBytes)
		}
	}
	n := len(want)
	for _, s := range q.Stages {
		if l, ok := s.(*query.Limit); ok {
			n = min(n, l.N)
		}
	}
	if len(got.Rows) != n {
		t.Fatalf("%s\n%d rows, want %d", query.Format(q), len(got.Rows), n)
	}
	column := map[string]int{}
	for i, c := range got.Columns {
		column[c.Name] = i
	}
	for _, row := range got.Rows {
		id, bytes := row.Values[column["conn_id"]], row.Values[column["bytes"]]
		w, ok := want[id.(string)]
		if !ok || w != "" && w != fmt.Sprint(bytes) || w == "" && bytes != nil {
			t.Fatalf("%s\nconnection %v: bytes %v, want %q (%v)", query.Format(q), id, bytes, w, ok)
		}
	}
}

// TestTopAddsUp: what top folds is in the row other.
func TestTopAddsUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	recs := querytest.Records(rng, 600)
	sum := func(text string) (total int64, rows int) {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		res, err := evaluate(t, q, recs, querytest.Base, querytest.Base+querytest.Span).Result(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res.Rows {
			total += r.Values[len(r.Values)-1].(int64)
		}
		if n := len(res.Rows); q.Stages[len(q.Stages)-1] != q.Stages[0] && !res.Rows[n-1].Other {
			t.Errorf("%s: the last row is not other", text)
		}
		return total, len(res.Rows)
	}
	all, _ := sum("| stats conns by src.pod, dst.port, outcome")
	top, rows := sum("| stats conns by src.pod, dst.port, outcome | top 3")
	if all != top || rows != 4 || all == 0 {
		t.Errorf("all groups hold %d, the top 3 and other hold %d in %d rows", all, top, rows)
	}
	stepped, _ := sum("| stats conns by src.pod, dst.port, outcome every 1m | top 3")
	if stepped != all {
		t.Errorf("the steps hold %d, the range holds %d", stepped, all)
	}
}

// FuzzMerge: whatever another aggregator sends is merged or refused, and the answer can be
// written.
func FuzzMerge(f *testing.F) {
	rng := rand.New(rand.NewPCG(11, 12))
	recs := querytest.Records(rng, 60)
	texts := []string{"| stats conns, sum(bytes), p95(rtt), uniq(src.pod), min(bytes), max(start) by src.ns every 1m | top 2", "cart | sort bytes"}
	queries := make([]*query.Query, 0, len(texts))
	for i, text := range texts {
		q, err := query.Parse(text)
		if err != nil {
			f.Fatal(err)
		}
		queries = append(queries, q)
		a, err := query.NewAnswer(q, querytest.Base, querytest.Base+querytest.Span, query.DefaultLimits())
		if err != nil {
			f.Fatal(err)
		}
		e, err := query.NewEvaluator(a)
		if err != nil {
			f.Fatal(err)
		}
		for k := range recs {
			if err := e.Add(&recs[k]); err != nil {
				f.Fatal(err)
			}
		}
		if err := e.Finish(); err != nil {
			f.Fatal(err)
		}
		b, err := json.Marshal(a.Part())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, i)
	}
	f.Add([]byte(`{"groups":[null]}`), 0)
	f.Add([]byte(`{"groups":[{"key":[{}],"accs":[{},{},{"n":1,"sketch":{"positive":{"99999":1}}},{},{},{}]}]}`), 0)
	f.Fuzz(func(t *testing.T, data []byte, which int) {
		var p query.Part
		if len(data) > 1<<16 || json.Unmarshal(data, &p) != nil {
			return
		}
		a, err := query.NewAnswer(queries[uint(which)%uint(len(queries))], querytest.Base, querytest.Base+querytest.Span, query.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if a.Merge(&p) != nil {
				return
			}
		}
		res, err := a.Result(0)
		if err != nil {
			return
		}
		if _, err := json.Marshal(res); err != nil {
			t.Fatal(err)
		}
	})
}
