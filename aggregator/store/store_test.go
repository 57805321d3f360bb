package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var start = time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)

func testConfig(dir string) Config {
	c := DefaultConfig()
	c.Dir, c.HeadRows, c.FileRows = dir, 1000, 4000
	return c
}

func open(t testing.TB, cfg Config, now func() time.Time) *Store {
	t.Helper()
	s, err := New(cfg, Deps{Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// sample is record i, which ends at ms.
func sample(i uint64, ms int64) flow.Record {
	r := flowtest.Sample(i)
	r.SetStart(ms - 500)
	r.SetSince(ms - 500)
	r.SetEnd(ms)
	r.ID = flow.UUID{}
	r.Has.Clear(flow.FID)
	return r
}

// fill writes records from..to in batches, one a millisecond of the clock.
func fill(t testing.TB, s *Store, c *clock, from, to uint64) {
	t.Helper()
	var recs []flow.Record
	for i := from; i < to; i++ {
		recs = append(recs, sample(i, c.now().UnixMilli()))
		c.add(time.Millisecond)
		if len(recs) == 100 || i == to-1 {
			if err := s.WriteAt(context.Background(), i+1-uint64(len(recs)), recs); err != nil {
				t.Fatal(err)
			}
			recs = recs[:0]
		}
	}
}

var allFields = flow.AllFields()

// numbers gives the conn_ids of all rows in a range as sample numbers, sorted.
func numbers(t testing.TB, s *Store, from, to int64) ([]uint64, Scanned) {
	t.Helper()
	ctx := context.Background()
	var mu sync.Mutex
	var list []uint64
	sc, err := s.Scan(ctx, Query{From: from, To: to, Fields: allFields}, func(_ int, b *column.Block) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range b.Rows {
			var r flow.Record
			if err := b.Record(i, nil, &r); err != nil {
				return err
			}
			if a, z := column.Interval(&r); z >= from && a < to {
				n := r.ConnID * 0xf1de83e19937733d // the inverse of what Sample multiplies with
				want := sample(n, r.End)
				if r != want {
					return fmt.Errorf("row of connection %d is not what was written", n)
				}
				list = append(list, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list, sc
}

// wantRun checks that a list is from..to, each once.
func wantRun(t testing.TB, got []uint64, from, to uint64) {
	t.Helper()
	for i := range got {
		if got[i] != from+uint64(i) {
			t.Fatalf("row %d is number %d, want %d", i, got[i], from+uint64(i))
		}
	}
	if uint64(len(got)) != to-from {
		t.Fatalf("%d rows, want %d", len(got), to-from)
	}
}

const always = int64(1) << 50

func TestRowsAreSeenAtOnceAndAfterRestart(t *testing.T) {
	c := &clock{t: start}
	cfg := testConfig(t.TempDir())
	s := open(t, cfg, c.now)
	if _, ok, err := s.Resume(t.Context(), "spool"); ok || err != nil {
		t.Fatal("an empty history knows a position", err)
	}
	fill(t, s, c, 0, 2550)
	got, sc := numbers(t, s, 0, always)
	wantRun(t, got, 0, 2550)
	if sc.Blocks != 3 || s.Stored() != 2000 {
		t.Fatalf("%d blocks, stored up to %d", sc.Blocks, s.Stored())
	}
	from := start.UnixMilli()
	got, sc = numbers(t, s, from+1600, from+1700)
	wantRun(t, got, 1600, 2200) // 500 ms long each
	if sc.Blocks != 2 {
		t.Errorf("a range in the second and third thousand looked at %d blocks", sc.Blocks)
	}

	// As after kill -9: what was in memory comes again from the position it tells.
	s = open(t, cfg, c.now)
	pos, ok, err := s.Resume(t.Context(), "spool")
	if pos != 2000 || !ok || err != nil {
		t.Fatal(pos, ok, err)
	}
	got, _ = numbers(t, s, 0, always)
	wantRun(t, got, 0, 2000)
	fill(t, s, c, 2000, 2600)
	if err := s.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg, c.now)
	if pos, _, _ := s.Resume(t.Context(), "spool"); pos != 2600 {
		t.Fatal(pos)
	}
	if _, ok, _ := s.Resume(t.Context(), "another"); ok {
		t.Fatal("positions of one spool taken for another's")
	}
	got, _ = numbers(t, s, 0, always)
	wantRun(t, got, 0, 2600)
}

func TestRepeatedRowsAreTakenOnce(t *testing.T) {
	c := &clock{t: start}
	s := open(t, testConfig(t.TempDir()), c.now)
	fill(t, s, c, 0, 100)
	fill(t, s, c, 0, 100)
	fill(t, s, c, 100, 200)
	got, _ := numbers(t, s, 0, always)
	wantRun(t, got, 0, 200)
}

func TestHeadAgesAndHoursEnd(t *testing.T) {
	c := &clock{t: start.Add(59 * time.Minute)}
	cfg := testConfig(t.TempDir())
	s := open(t, cfg, c.now)
	fill(t, s, c, 0, 10)
	if err := s.Tick(t.Context(), c.now().Add(30*time.Second)); err != nil || len(s.parts) != 0 {
		t.Fatal("young rows became a segment", err)
	}
	c.add(time.Minute)
	fill(t, s, c, 10, 20) // in the next hour
	c.add(11 * time.Minute)
	if err := s.Tick(t.Context(), c.now()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range s.parts {
		rel, _ := filepath.Rel(cfg.Dir, p.path)
		names = append(names, rel)
	}
	want := "hour=2026-03-04T10/000000000001-000000000001.parquet hour=2026-03-04T11/000000000002-000000000002.parquet"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("segments %s, want %s", got, want)
	}
}

// Segments are joined while queries run; each query sees every row once, and no file of
// the old ones stays.
func TestJoinWhileQueriesRun(t *testing.T) {
	c := &clock{t: start}
	cfg := testConfig(t.TempDir())
	cfg.Memory = 16 << 20
	s := open(t, cfg, c.now)
	fill(t, s, c, 0, 12_500)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				got, sc := numbers(t, s, 0, always) //nolint:contextcheck // a query that is not cut short
				if sc.Damaged > 0 || len(got) != 12_500 {
					t.Errorf("%d rows, %d damaged", len(got), sc.Damaged)
					return
				}
			}
		})
	}
	s.Keep(t.Context(), c.now())
	if n := s.Stats.Compactions.Load(); n != 3 {
		t.Errorf("%d joins, want 3", n)
	}
	c.add(2 * time.Hour)
	if err := s.Tick(ctx, c.now()); err != nil {
		t.Error(err)
	}
	s.Keep(t.Context(), c.now())
	cancel()
	wg.Wait()
	got, _ := numbers(t, s, 0, always)
	wantRun(t, got, 0, 12_500)
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "hour=*", "*"))
	if err != nil || len(files) != len(s.parts) {
		t.Errorf("%d files for %d segments: %v", len(files), len(s.parts), files)
	}
	var size int64
	all := slices.Clone(s.parts)
	for _, p := range s.parts {
		if p.roll != nil {
			all = append(all, p.roll)
		}
	}
	for _, p := range all {
		st, err := os.Stat(p.path)
		if err != nil {
			t.Fatal(err)
		}
		size += st.Size()
	}
	if size != s.bytes {
		t.Errorf("%d bytes on disk, %d in the sum", size, s.bytes)
	}
	s = open(t, cfg, c.now)
	got, _ = numbers(t, s, 0, always)
	wantRun(t, got, 0, 12_500)
}

// A crash after the joined segment has its name and before the old ones are gone.
func TestCrashWhileJoining(t *testing.T) {
	c := &clock{t: start}
	cfg := testConfig(t.TempDir())
	s := open(t, cfg, c.now)
	fill(t, s, c, 0, 5000)
	keep := map[string][]byte{}
	for _, p := range s.parts {
		b, err := os.ReadFile(p.path)
		if err != nil {
			t.Fatal(err)
		}
		keep[p.path] = b
	}
	s.Keep(t.Context(), c.now())
	for path, b := range keep {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "hour=2026-03-04T10", "000000000009-000000000009.parquet.tmp"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg, c.now)
	got, _ := numbers(t, s, 0, always)
	wantRun(t, got, 0, 4000)
	if files, _ := filepath.Glob(filepath.Join(cfg.Dir, "hour=*", "*")); len(files) != len(s.parts) {
		t.Errorf("files %v for %d segments", files, len(s.parts))
	}
}

func TestRetention(t *testing.T) {
	c := &clock{t: start}
	cfg := testConfig(t.TempDir())
	cfg.MaxAge = 3 * time.Hour
	s := open(t, cfg, c.now)
	for h := range uint64(6) {
		fill(t, s, c, h*2000, h*2000+2000)
		c.add(time.Hour)
	}
	s.Keep(t.Context(), c.now())
	got, sc := numbers(t, s, 0, always)
	wantRun(t, got, 8000, 12_000)
	if !sc.Short || sc.Oldest < start.Add(3*time.Hour).UnixMilli()-500 {
		t.Errorf("scan says %+v", sc)
	}
	if n := s.Stats.RemovedAge.Load(); n == 0 || s.Stats.RemovedRows.Load() != 8000 {
		t.Errorf("%d segments with %d rows removed", n, s.Stats.RemovedRows.Load())
	}
	s.cfg.MaxBytes = s.bytes / 2
	s.Keep(t.Context(), c.now())
	if s.bytes > s.cfg.MaxBytes || s.Stats.RemovedSize.Load() == 0 {
		t.Errorf("%d bytes of %d", s.bytes, s.cfg.MaxBytes)
	}
	got, _ = numbers(t, s, 0, always)
	wantRun(t, got, got[0], 12_000)
	if dirs, _ := os.ReadDir(cfg.Dir); len(dirs) > 3 {
		t.Errorf("empty hours stay: %v", dirs)
	}
}

// A damaged segment is set aside, counted, and the rest answers: found at the start or by a
// query, in the footer or in a column.
func TestDamagedSegment(t *testing.T) {
	for _, at := range []string{"start", "query", "footer"} {
		t.Run(at, func(t *testing.T) {
			c := &clock{t: start}
			cfg := testConfig(t.TempDir())
			s := open(t, cfg, c.now)
			fill(t, s, c, 0, 3100)
			path := s.parts[1].path
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			switch at {
			case "start":
				b = b[:len(b)/2]
			case "query":
				b[len(b)/3] ^= 1
			case "footer":
				b[len(b)-100] ^= 1
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, cfg, c.now)
			got, sc := numbers(t, s, 0, always)
			if len(got) != 2000 || got[999] != 999 || got[1000] != 2000 {
				t.Fatalf("%d rows", len(got))
			}
			if s.Stats.Corrupt.Load() != 1 || (sc.Damaged == 1) != (at == "query") {
				t.Errorf("%d damaged in all, %d in the scan", s.Stats.Corrupt.Load(), sc.Damaged)
			}
			if at == "query" && s.Stats.CorruptRows.Load() != 1000 {
				t.Errorf("%d rows", s.Stats.CorruptRows.Load())
			}
			if _, err := os.Stat(path + badSuffix); err != nil {
				t.Error(err)
			}
			if got, sc = numbers(t, s, 0, always); len(got) != 2000 || sc.Damaged != 0 {
				t.Errorf("then %d rows, %d damaged", len(got), sc.Damaged)
			}
			// The next segment does not take its number.
			if _, ok, _ := s.Resume(t.Context(), ""); !ok {
				t.Fatal("no position")
			}
			fill(t, s, c, 3000, 5000)
			s.Keep(t.Context(), c.now().Add(2*time.Hour))
			s = open(t, cfg, c.now)
			if got, _ = numbers(t, s, 0, always); len(got) != 3000 && len(got) != 4000 {
				t.Errorf("after a restart %d rows", len(got))
			}
		})
	}
}

func TestScanEnds(t *testing.T) {
	c := &clock{t: start}
	s := open(t, testConfig(t.TempDir()), c.now)
	fill(t, s, c, 0, 5000)
	n := 0
	sc, err := s.Scan(t.Context(), Query{To: always, Fields: allFields, Workers: 1, Newest: true}, func(int, *column.Block) error {
		n++
		return ErrStop
	})
	if err != nil || n != 1 || sc.Rows != 1000 {
		t.Errorf("%d blocks, %d rows, %v", n, sc.Rows, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = s.Scan(ctx, Query{To: always, Workers: 1}, func(int, *column.Block) error { cancel(); return nil })
	if err == nil {
		t.Error("a cancelled scan did not say so")
	}
}
