// Package duckdb reads Weir's history with DuckDB and measures both on the same files.
// It is a module of its own, because DuckDB is a library in C++ that Weir does not need.
package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/engine"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
)

// rows of the history that is measured: WEIR_BENCH_ROWS, or few, for a test.
func rows(t testing.TB) uint64 {
	t.Helper()
	if n, err := strconv.ParseUint(os.Getenv("WEIR_BENCH_ROWS"), 10, 64); err == nil {
		return n
	}
	return 300_000
}

func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// history is a store with n rows.
func history(t testing.TB, n uint64) (*store.Store, string) {
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

func took(runs int, fn func()) time.Duration {
	var all []time.Duration
	for range runs {
		start := time.Now()
		fn()
		all = append(all, time.Since(start))
	}
	return slices.Min(all)
}

// TestBesideDuckDB asks both the same, compares the number of groups, and prints the times.
// With WEIR_BENCH_ROWS it also judges: no query slower than twice DuckDB's, ingest at
// least three times as fast by CPU.
func TestBesideDuckDB(t *testing.T) {
	n := rows(t)
	judge := os.Getenv("WEIR_BENCH_ROWS") != ""
	gen := cpu(t)
	h := flowtest.NewHistory()
	var r flow.Record
	for i := range n {
		h.Record(i, &r)
	}
	gen = cpu(t) - gen
	before := cpu(t)
	s, files := history(t, n)
	ours := cpu(t) - before - gen
	theirs := appendAll(t, n) - gen
	t.Logf("ingest of %d rows: weir %.2f us CPU a row, DuckDB %.2f, %.1fx", n, us(ours, n), us(theirs, n), float64(theirs)/float64(ours))
	if judge && theirs < 3*ours {
		t.Errorf("ingest is not three times DuckDB's")
	}
	db := open(t)
	end := flowtest.HistoryStart + int64(n)*1000/flowtest.HistoryRate
	for _, length := range []time.Duration{5 * time.Minute, 6 * time.Hour} {
		since := end - length.Milliseconds()
		for _, q := range both {
			parsed, err := query.Parse(q.weir)
			if err != nil {
				t.Fatal(err)
			}
			groups := 0
			weir := took(3, func() {
				table, _, err := engine.Stats(context.Background(), s, &engine.Request{Query: parsed, Since: since, Until: end + 1})
				if err != nil {
					t.Fatal(err)
				}
				groups = table.Len()
			})
			inRange := fmt.Sprintf(`"end" > make_timestamptz(%d)`, since*1000)
			folded, plain := inSQL(q.cols, q.sql, files, inRange)
			want := 0
			duckdb := took(3, func() { want = count(t, db, folded) })
			if groups != want {
				t.Errorf("%s: %d groups, DuckDB %d", q.weir, groups, want)
			}
			records := took(3, func() { count(t, db, plain) })
			ratio := float64(weir) / float64(duckdb)
			t.Logf("%-4v weir %7.1f ms, DuckDB %7.1f ms, ratio %.2f (counting records instead: %.1f ms)  %s", length, ms(weir), ms(duckdb), ratio, ms(records), q.weir)
			if judge && ratio > 2 {
				t.Errorf("%s: more than twice DuckDB's time", q.weir)
			}
		}
	}
}

func us(d time.Duration, n uint64) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }
func ms(d time.Duration) float64           { return d.Seconds() * 1000 }

func count(t *testing.T, db *sql.DB, text string) (n int) {
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

// appendAll gives what DuckDB's appender uses of CPU for the same rows and columns.
func appendAll(t *testing.T, n uint64) time.Duration {
	t.Helper()
	c, err := duck.NewConnector(filepath.Join(t.TempDir(), "x.duckdb"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h := flowtest.NewHistory()
	var r flow.Record
	h.Record(0, &r)
	var fields []flow.FieldID
	var cols []string
	for f := range flow.FieldID(flow.NumFields) {
		if r.Has.Has(f) {
			fields = append(fields, f)
			cols = append(cols, fmt.Sprintf("%q %s", segment.ColumnName(f), duckType(f)))
		}
	}
	db := sql.OpenDB(c)
	if _, err := db.Exec("create table flow (" + strings.Join(cols, ", ") + ")"); err != nil {
		t.Fatal(err)
	}
	before := cpu(t)
	a, err := duck.NewAppenderFromConn(conn, "", "flow")
	if err != nil {
		t.Fatal(err)
	}
	row := make([]driver.Value, len(fields))
	for i := range n {
		h.Record(i, &r)
		for k, f := range fields {
			row[k] = duckValue(&r, f)
		}
		if err := a.AppendRow(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return cpu(t) - before
}

func duckType(f flow.FieldID) string {
	if column.KindOf(f) == column.Dict {
		return "varchar"
	}
	switch flow.Fields[f].Type {
	case flow.TypeBool:
		return "boolean"
	case flow.TypeU8:
		return "utinyint"
	case flow.TypeU16:
		return "usmallint"
	case flow.TypeU32:
		return "uinteger"
	case flow.TypeI32:
		return "integer"
	case flow.TypeU64:
		return "ubigint"
	default:
		return "bigint"
	}
}

func duckValue(r *flow.Record, f flow.FieldID) driver.Value {
	if flow.EnumWords[f] != nil || flow.Fields[f].Type == flow.TypeAddr {
		return r.Text(f)
	}
	v := r.Value(f)
	if u, ok := v.(uint64); ok {
		switch flow.Fields[f].Type {
		case flow.TypeU8:
			return uint8(u)
		case flow.TypeU16:
			return uint16(u)
		case flow.TypeU32:
			return uint32(u)
		default:
		}
	}
	return v
}
