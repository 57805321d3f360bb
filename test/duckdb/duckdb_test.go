// Package duckdb reads Weir's history with DuckDB and measures both on the same files.
// It is a module of its own, because DuckDB is a library in C++ that Weir does not need.
package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/engine"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
)

// history is a store with n rows.
func history(t testing.TB, n uint64) (s *store.Store, files string) {
	t.Helper()
	var now time.Time
	cfg := store.DefaultConfig()
	cfg.Dir = t.TempDir()
	s, err := store.New(cfg, store.Deps{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h := flowtest.NewHistory()
	recs := make([]flow.Record, 5000)
	for i := uint64(0); i < n; i += uint64(len(recs)) {
		for k := range recs {
			h.Record(i+uint64(k), &recs[k])
		}
		now = time.UnixMilli(recs[len(recs)-1].End)
		if err := s.WriteAt(t.Context(), i, recs); err != nil {
			t.Fatal(err)
		}
		if i%(1<<19) < 5000 {
			s.Keep(t.Context(), now)
		}
	}
	if err := s.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Keep(t.Context(), now.Add(2*time.Hour))
	return s, fmt.Sprintf("read_parquet('%s', union_by_name=true)", filepath.Join(cfg.Dir, "*", "*.parquet"))
}

func open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec("SET threads TO 2"); err != nil {
		t.Fatal(err)
	}
	return db
}

// DuckDB reads every column of the files as it was written.
func TestReadsWhatWasWritten(t *testing.T) {
	const n = 20_000
	_, files := history(t, n)
	db := open(t)
	h := flowtest.NewHistory()
	var r flow.Record
	h.Record(0, &r)
	for f := range flow.FieldID(flow.NumFields) {
		if !r.Has.Has(f) || column.KindOf(f) == column.None {
			continue
		}
		name := strconv.Quote(segment.ColumnName(f))
		expr := fmt.Sprintf("cast(%s as varchar)", name)
		if flow.Fields[f].Type == flow.TypeMillis {
			expr = fmt.Sprintf("cast(epoch_ms(%s) as varchar)", name)
		}
		got, err := db.Query(fmt.Sprintf("select %s, conn_id, seq from %s", expr, files))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		type key struct {
			conn uint64
			seq  uint32
		}
		have := map[key]string{}
		for got.Next() {
			var v string
			var k key
			if err := got.Scan(&v, &k.conn, &k.seq); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			have[k] = v
		}
		if err := got.Err(); err != nil || len(have) != n {
			t.Fatalf("%s: %d rows: %v", name, len(have), err)
		}
		for i := range uint64(n) {
			h.Record(i, &r)
			want := r.Text(f)
			switch v := r.Value(f).(type) {
			case int64:
				want = strconv.FormatInt(v, 10)
			case uint64:
				if flow.EnumWords[f] == nil {
					want = strconv.FormatUint(v, 10)
				}
			}
			if v := have[key{r.ConnID, r.Seq}]; v != want {
				t.Fatalf("%s of record %d is %q, want %q", name, i, v, want)
			}
		}
	}
}

// both are the same questions in both languages. What a connection means has to be said in
// SQL: its newest record's fields and the sums of its deltas; plain leaves that out and
// counts records.
var both = []struct{ weir, cols, sql string }{
	{"src.ns = team-07 | stats active, sum(bytes) by dst.ns", "src_ns dst_ns", "select dst_ns, count(*), sum(bytes_delta) from C where src_ns = 'team-07' group by all"},
	{"outcome = refused | stats active by src.workload, dst.workload", "outcome src_workload dst_workload", "select src_workload, dst_workload, count(*) from C where outcome = 'refused' group by all"},
	{"port = 8001 | stats sum(bytes), sum(reverse.bytes) by src.ns, dst.ns", "dst_port src_ns dst_ns", "select src_ns, dst_ns, sum(bytes_delta), sum(reverse_bytes_delta) from C where dst_port = 8001 group by all"},
	{"scope = same_node | stats active, sum(packets) by src.node", "scope src_node", "select src_node, count(*), sum(packets_delta) from C where \"scope\" = 'same_node' group by all"},
	{"dst.workload = app-00* | stats active, max(rtt) by outcome", "dst_workload outcome rtt", "select outcome, count(*), max(rtt) from C where dst_workload like '%/app-00%' group by all"},
	{"bytes > 10kB | stats active, max(bytes) by dst.ns", "dst_ns", "select dst_ns, count(*), max(bytes_delta) from C where bytes_delta > 10000 group by all"},
}

// inSQL gives the question of a range, one connection a row, and plain.
func inSQL(cols, text, files, inRange string) (folded, plain string) {
	var newest []string
	for c := range strings.FieldsSeq(cols) {
		newest = append(newest, fmt.Sprintf(`arg_max(%q, "end") %q`, c, c))
	}
	for _, c := range []string{"bytes_delta", "reverse_bytes_delta", "packets_delta"} {
		if strings.Contains(text, c) {
			newest = append(newest, fmt.Sprintf("sum(%s) %s", c, c))
		}
	}
	folded = fmt.Sprintf("(select %s from %s where %s group by conn_id)", strings.Join(newest, ", "), files, inRange)
	plain = fmt.Sprintf("(select * from %s where %s)", files, inRange)
	return strings.Replace(text, "C", folded, 1), strings.Replace(text, "C", plain, 1)
}

// TestBothAnswerAlike asks both the same and compares the number of groups.
func TestBothAnswerAlike(t *testing.T) {
	const n = 300_000
	s, files := history(t, n)
	db := open(t)
	for _, length := range lengths {
		for _, q := range both {
			since, inRange := newest(n, length)
			folded, _ := inSQL(q.cols, q.sql, files, inRange)
			if groups, want := ask(t, s, q.weir, since), count(t, db, folded); groups != want || want == 0 {
				t.Errorf("%v, %s: %d groups, DuckDB %d", length, q.weir, groups, want)
			}
		}
	}
}

// lengths are those of the ranges that are asked for.
var lengths = []time.Duration{5 * time.Minute, 6 * time.Hour}

// newest is a range that ends with the last of n rows.
func newest(n uint64, length time.Duration) (since int64, sql string) {
	since = flowtest.HistoryStart + int64(n)*1000/flowtest.HistoryRate - length.Milliseconds()
	return since, fmt.Sprintf(`"end" > make_timestamptz(%d)`, since*1000)
}

// ask gives the number of groups of an answer.
func ask(t testing.TB, s *store.Store, text string, since int64) int {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	table, _, err := engine.Stats(context.Background(), s, &engine.Request{Query: q, Since: since, Until: 1 << 45})
	if err != nil {
		t.Fatal(err)
	}
	return table.Len()
}

func count(t testing.TB, db *sql.DB, text string) (n int) {
	t.Helper()
	got, err := db.Query(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for got.Next() {
		n++
	}
	if err := got.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
