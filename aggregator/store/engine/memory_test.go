package engine

import (
	"errors"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// live is the heap that the last collection of garbage found in use.
func live() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// history is a store of n rows with so much memory.
func history(tb testing.TB, memory int64, n uint64) *store.Store {
	tb.Helper()
	var now time.Time
	cfg := store.DefaultConfig()
	cfg.Dir, cfg.Memory = tb.TempDir(), memory
	s, err := store.New(cfg, store.Deps{Clock: func() time.Time { return now }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	ingest(tb, s, &now, 0, n)
	return s
}

// Four queries at a time and a list, over columns of which a fifth fits: the heap stays within the
// configured memory and what a column's reading needs.
func TestMemoryIsBounded(t *testing.T) {
	const memory, rows = 64 << 20, 600_000
	before := live()
	s := history(t, memory, rows)
	var most uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				most = max(most, live())
			}
		}
	}()
	var answered atomic.Int64
	var mu sync.Mutex
	var refused []*Request
	var wg sync.WaitGroup
	atOnce := make(chan struct{}, 4)
	for _, text := range benchQueries {
		wg.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			q, err := query.Parse(text)
			if err != nil {
				t.Error(err)
				return
			}
			for _, norollups := range []bool{true, false} {
				req := &Request{Query: q, Since: 0, Until: 1 << 45, NoRollups: norollups}
				_, _, err := Stats(t.Context(), s, req)
				switch {
				case err == nil:
					answered.Add(1)
				case !errors.Is(err, store.ErrMemory):
					t.Errorf("%s: %v", text, err)
				default:
					t.Logf("%s: %v", text, err)
					mu.Lock()
					refused = append(refused, req)
					mu.Unlock()
				}
			}
		})
	}
	wg.Go(func() {
		n := 0
		_, _, err := List(t.Context(), s, &Request{Query: &query.Query{}, Since: 0, Until: 1 << 45}, 20_000, func(*flow.Record) error { n++; return nil })
		if err == nil && n != 20_000 {
			t.Errorf("%d rows", n)
		}
		if err != nil && !errors.Is(err, store.ErrMemory) {
			t.Error(err)
		}
	})
	wg.Wait()
	close(stop)
	<-stopped
	t.Logf("heap in use: %d MiB before, at most %d MiB of %d MiB; %d of %d queries answered", before>>20, most>>20, memory>>20, answered.Load(), 2*len(benchQueries))
	// How many found room beside the others is the scheduler's; alone each has it.
	for _, req := range refused {
		if _, _, err := Stats(t.Context(), s, req); err != nil {
			t.Errorf("alone, %s: %v", query.Format(req.Query), err)
		}
	}
	if answered.Load() == 0 {
		t.Error("no query was answered beside others")
	}
	if most > before+memory+32<<20 {
		t.Errorf("%d MiB are in use, %d were before, %d are allowed", most>>20, before>>20, memory>>20)
	}
	if z := s.Size(); z.Memory > memory {
		t.Errorf("%d bytes are held, of %d", z.Memory, memory)
	}
}

// A query that needs more than there is says so, and gives back what it held.
func TestTooMuchMemory(t *testing.T) {
	s := history(t, 16<<20, 200_000)
	held := s.Size().Memory
	q, err := query.Parse("| stats active, p95(bytes), uniq(src.pod) by src.ip, src.port, dst.ip, dst.port")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Stats(t.Context(), s, &Request{Query: q, Since: 0, Until: 1 << 45, MaxGroups: 1 << 20})
	if !errors.Is(err, store.ErrMemory) {
		t.Errorf("%v", err)
	}
	if after := s.Size().Memory; after > 16<<20 || after > held+12<<20 {
		t.Errorf("%d bytes are held after it, %d before", after, held)
	}
	q, err = query.Parse("src.ns = team-07 | stats active by dst.ns")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Stats(t.Context(), s, &Request{Query: q, Since: 0, Until: 1 << 45}); err != nil {
		t.Errorf("a small query: %v", err)
	}
}
