package engine

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/testenv"
)

// growthQuery reads records: its condition and its aggregates are in no roll-up.
const growthQuery = "dst.workload = app-00* | stats active, sum(bytes), p95(rtt) by outcome"

// asks measures a query over so much time up to the newest row, CPU a query.
func asks(b *testing.B, s *store.Store, text string, length time.Duration, viewers int) {
	b.Helper()
	q, err := query.Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	until := int64(flowtest.HistoryStart) + int64(s.Size().Rows)*1000/flowtest.HistoryRate
	ask := func() {
		req := &Request{Query: q, Since: until - length.Milliseconds(), Until: until}
		if _, _, err := Stats(b.Context(), s, req); err != nil {
			b.Error(err)
		}
	}
	ask() // columns come from the disk once
	before, n := testenv.OwnCPU(b), 0
	for b.Loop() {
		var wg sync.WaitGroup
		for range viewers {
			wg.Go(ask)
		}
		wg.Wait()
		n += viewers
	}
	b.ReportMetric((testenv.OwnCPU(b)-before).Seconds()*1000/float64(n), "cpu-ms/query")
}

// BenchmarkGrowth is what a query costs by what it is asked of. Each series changes one
// thing: the rows that the history has beside the range, the length of the range, the
// columns that the query names, and how many ask at once.
func BenchmarkGrowth(b *testing.B) {
	const most = 4_000_000
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	b.Run("rows", func(b *testing.B) {
		for _, n := range []uint64{500_000, 1_000_000, 2_000_000, most} {
			b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
				asks(b, history(b, store.DefaultConfig().Memory, n), growthQuery, minutes(1), 1)
			})
		}
	})
	s := history(b, store.DefaultConfig().Memory, most)
	b.Run("range", func(b *testing.B) {
		for _, n := range []int{1, 2, 4, 8, 13} {
			b.Run(fmt.Sprintf("minutes=%d", n), func(b *testing.B) { asks(b, s, growthQuery, minutes(n), 1) })
		}
	})
	b.Run("rolled", func(b *testing.B) {
		for _, n := range []int{1, 2, 4, 8, 13} {
			b.Run(fmt.Sprintf("minutes=%d", n), func(b *testing.B) { asks(b, s, benchQueries[0], minutes(n), 1) })
		}
	})
	b.Run("columns", func(b *testing.B) {
		fields := []string{"src.ns", "dst.ns", "src.workload", "dst.workload", "src.node", "dst.node", "src.pod", "dst.pod"}
		for _, n := range []int{1, 2, 4, 8} {
			text := strings.Join(fields[:n], " != nobody ") + " != nobody | stats active, p95(rtt) by outcome"
			b.Run(fmt.Sprintf("columns=%d", n), func(b *testing.B) { asks(b, s, text, minutes(5), 1) })
		}
	})
	b.Run("viewers", func(b *testing.B) {
		for _, n := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("viewers=%d", n), func(b *testing.B) { asks(b, s, growthQuery, minutes(5), n) })
		}
	})
}
