package engine

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/testenv"
)

// ingest writes records from..to in batches of 5,000, with the clock that they carry, and
// joins segments as the history does beside.
func ingest(tb testing.TB, s *store.Store, now *time.Time, from, to uint64) {
	tb.Helper()
	h := flowtest.NewHistory()
	recs := make([]flow.Record, 5000)
	for i := from; i < to; i += uint64(len(recs)) {
		for k := range recs {
			h.Record(i+uint64(k), &recs[k])
		}
		*now = time.UnixMilli(recs[len(recs)-1].End)
		if err := s.WriteAt(tb.Context(), i, recs); err != nil {
			tb.Fatal(err)
		}
		if i%(1<<19) < 5000 {
			s.Keep(tb.Context(), *now)
		}
	}
	if err := s.Store(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	s.Keep(tb.Context(), now.Add(2*time.Hour))
}

// generation is what History.Record costs, which ingest must not be charged for.
func generation(tb testing.TB) (perRow time.Duration) {
	tb.Helper()
	h := flowtest.NewHistory()
	var r flow.Record
	start := testenv.OwnCPU(tb)
	for i := range uint64(300_000) {
		h.Record(i, &r)
	}
	return (testenv.OwnCPU(tb) - start) / 300_000
}

// BenchmarkIngest is a million rows of 40 fields, into segments on disk, small ones joined:
// rows a second of wall clock and CPU a row without that of making the records.
func BenchmarkIngest(b *testing.B) {
	const rows = 1_000_000
	gen := generation(b)
	for b.Loop() {
		var now time.Time
		cfg := store.DefaultConfig()
		cfg.Dir = b.TempDir()
		s, err := store.New(cfg, store.Deps{Clock: func() time.Time { return now }})
		if err != nil {
			b.Fatal(err)
		}
		start, used := time.Now(), testenv.OwnCPU(b)
		ingest(b, s, &now, 0, rows)
		wall, used := time.Since(start)-gen*rows, testenv.OwnCPU(b)-used-gen*rows
		b.ReportMetric(rows/wall.Seconds(), "rows/s")
		b.ReportMetric(float64(used.Nanoseconds())/rows/1000, "cpu-us/row")
		b.ReportMetric(float64(s.Size().Bytes)/rows, "B/row")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

var (
	bigOnce  sync.Once
	bigStore *store.Store
	bigDir   string
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(worstEnv); dir != "" {
		if err := worst(dir); err != nil {
			log.Fatal(err)
		}
		return
	}
	status := m.Run()
	if bigDir != "" {
		_ = os.RemoveAll(bigDir)
	}
	os.Exit(status)
}

// big is a history of 10 M rows (or WEIR_BENCH_ROWS): 33 minutes at 5,000 a second. The
// process keeps it until TestMain removes it.
func big(b *testing.B) *store.Store {
	b.Helper()
	bigOnce.Do(func() {
		rows := uint64(10_000_000)
		if n, err := strconv.ParseUint(os.Getenv("WEIR_BENCH_ROWS"), 10, 64); err == nil {
			rows = n
		}
		dir, err := os.MkdirTemp("", "weir-bench-history-") //nolint:usetesting // two benchmarks use it
		if err != nil {
			b.Fatal(err)
		}
		var now time.Time
		cfg := store.DefaultConfig()
		cfg.Dir, bigDir = dir, dir
		bigStore, err = store.New(cfg, store.Deps{Clock: func() time.Time { return now }})
		if err != nil {
			b.Fatal(err)
		}
		ingest(b, bigStore, &now, 0, rows)
	})
	return bigStore
}

// benchQueries are filters with group-by as people ask them.
var benchQueries = []string{
	"src.ns = team-07 | stats conns, sum(bytes) by dst.ns",
	"outcome = refused | stats conns by src.workload, dst.workload",
	"dst.workload = app-00* | stats conns, sum(bytes), p95(rtt) by outcome",
	"port = 8001 | stats sum(bytes), sum(reverse.bytes) by src.ns, dst.ns",
	"src.ip in (10.244.0.0/24) | stats uniq(dst.ip), conns by src.pod",
	"bytes > 10kB | stats conns, max(bytes) by dst.ns",
	"ns = team-11 outcome != ok | stats conns by src.pod, dst.pod",
	"scope = same_node | stats active, sum(packets) by src.node",
}

// bigEnd is when the big history ends, ms.
func bigEnd() int64 {
	n := int64(10_000_000)
	if x, err := strconv.ParseInt(os.Getenv("WEIR_BENCH_ROWS"), 10, 64); err == nil {
		n = x
	}
	return flowtest.HistoryStart + n/flowtest.HistoryRate*1000
}

func benchRange(b *testing.B, length time.Duration) {
	b.Helper()
	s := big(b)
	end := bigEnd()
	var all, used []time.Duration
	for b.Loop() {
		for i, text := range benchQueries {
			q, err := query.Parse(text)
			if err != nil {
				b.Fatal(err)
			}
			until := end - int64(i)*10_000
			start, before := time.Now(), testenv.OwnCPU(b)
			t, _, err := Stats(context.Background(), s, &Request{Query: q, Since: until - length.Milliseconds(), Until: until})
			if err != nil {
				b.Fatal(err)
			}
			took := time.Since(start)
			all, used = append(all, took), append(used, testenv.OwnCPU(b)-before)
			if os.Getenv("WEIR_BENCH_EACH") != "" {
				fmt.Printf("%8.1f ms %8.1f ms CPU %6d groups  %s\n", took.Seconds()*1000, used[len(used)-1].Seconds()*1000, t.Len(), text)
			}
		}
	}
	slices.Sort(all)
	slices.Sort(used)
	b.ReportMetric(used[len(used)*9/10].Seconds()*1000, "p90-cpu-ms")
	b.ReportMetric(all[len(all)*9/10].Seconds()*1000, "p90-ms")
	b.ReportMetric(all[len(all)/2].Seconds()*1000, "p50-ms")
}

// BenchmarkQuery5m is filter and group-by over the newest five minutes, 1.5 M rows.
func BenchmarkQuery5m(b *testing.B) { benchRange(b, 5*time.Minute) }

// BenchmarkQuery6h is the same over a range of six hours, which holds all 10 M rows.
func BenchmarkQuery6h(b *testing.B) { benchRange(b, 6*time.Hour) }
