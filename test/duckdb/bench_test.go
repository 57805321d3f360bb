package duckdb

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

// benchRows are the rows of every measurement.
const benchRows = 2_000_000

func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spent is what fn uses of CPU, threads of DuckDB included.
func spent(t testing.TB, fn func()) time.Duration {
	t.Helper()
	before := cpu(t)
	fn()
	return cpu(t) - before
}

// BenchmarkIngest takes the same records in on both sides, without what making them costs.
// Weir's part ends with everything in segments that are synced to disk, joined, and rolled
// up. DuckDB's is its driver's appender into a table of the same columns in a file,
// without a checkpoint at the end; duckdb-copy, for what the driver's values cost, is the
// same rows from Weir's files into a table, without a line of Go.
func BenchmarkIngest(b *testing.B) {
	h := flowtest.NewHistory()
	var r flow.Record
	making := spent(b, func() {
		for i := range uint64(benchRows) {
			h.Record(i, &r)
		}
	})
	var files string
	report := func(b *testing.B, used time.Duration) {
		b.Helper()
		b.ReportMetric(float64(used.Nanoseconds())/1000/benchRows, "cpu-us/row")
	}
	b.Run("weir", func(b *testing.B) {
		for b.Loop() {
			report(b, spent(b, func() { _, files = history(b, benchRows) })-making)
		}
		db := open(b)
		if n := count(b, db, "select 1 from "+files); n != benchRows {
			b.Fatalf("%d rows in the files", n)
		}
	})
	b.Run("duckdb", func(b *testing.B) {
		for b.Loop() {
			report(b, appendAll(b, benchRows)-making)
		}
	})
	_, files = history(b, benchRows)
	b.Run("duckdb-copy", func(b *testing.B) {
		for b.Loop() {
			db := openFile(b)
			report(b, spent(b, func() {
				if _, err := db.Exec("create table flow as select * from " + files); err != nil {
					b.Fatal(err)
				}
			}))
		}
	})
}

// BenchmarkQuery asks both the same of the same files, each with two threads: the
// metric is the slowest's share of DuckDB's time, so that 2 would be twice as slow.
func BenchmarkQuery(b *testing.B) {
	s, files := history(b, benchRows)
	db := open(b)
	for b.Loop() {
		slowest := 0.0
		for _, length := range lengths {
			for _, q := range both {
				since, inRange := newest(benchRows, length)
				folded, plain := inSQL(q.cols, q.sql, files, inRange)
				weir := took(3, func() { ask(b, s, q.weir, since) })
				duckdb := took(3, func() { count(b, db, folded) })
				records := took(3, func() { count(b, db, plain) })
				slowest = max(slowest, weir/duckdb)
				b.Logf("%-4v weir %7.1f ms, DuckDB %7.1f ms, ratio %.2f (counting records instead: %.1f ms)  %s", length, weir, duckdb, weir/duckdb, records, q.weir)
			}
		}
		b.ReportMetric(slowest, "x-slowest")
	}
}

// took is the time of the fastest of some runs, in ms.
func took(runs int, fn func()) float64 {
	all := make([]float64, runs)
	for i := range all {
		start := time.Now()
		fn()
		all[i] = time.Since(start).Seconds() * 1000
	}
	return slices.Min(all)
}

func openFile(t testing.TB) *sql.DB {
	t.Helper()
	db := sql.OpenDB(connector(t))
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec("SET threads TO 2"); err != nil {
		t.Fatal(err)
	}
	return db
}

func connector(t testing.TB) *duck.Connector {
	t.Helper()
	c, err := duck.NewConnector(filepath.Join(t.TempDir(), "x.duckdb"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// appendAll gives what DuckDB's appender uses of CPU for the same rows and columns.
func appendAll(t testing.TB, n uint64) time.Duration {
	t.Helper()
	c := connector(t)
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
	if _, err := sql.OpenDB(c).Exec("create table flow (" + strings.Join(cols, ", ") + ")"); err != nil {
		t.Fatal(err)
	}
	return spent(t, func() {
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
	})
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
