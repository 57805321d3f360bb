package engine

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/query"
)

// A damaged roll-up costs no answer: the records give it, and the roll-up is made again.
func TestDamagedRollup(t *testing.T) {
	recs := orderly(rand.New(rand.NewPCG(4, 4)), 3000)
	cfg := store.DefaultConfig()
	cfg.Dir, cfg.HeadRows, cfg.FileRows = t.TempDir(), 700, 2000
	s, err := store.New(cfg, store.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.WriteAt(t.Context(), 0, recs[:2000]); err != nil {
		t.Fatal(err)
	}
	if err := s.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(2 * time.Hour)
	s.Keep(t.Context(), later)
	q, err := query.Parse("| stats conns, active, sum(bytes) by src.ns, outcome")
	if err != nil {
		t.Fatal(err)
	}
	req := &Request{Query: q, Since: 0, Until: 1 << 45}
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "rollup", "*", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Fatalf("roll-ups %v (%v)", files, err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4; i < len(b)/2; i++ { // its columns, not its footer
			b[i] ^= 0x55
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := asJSON(t, naive(t, req, recs[:2000]).Groups())
	for _, rollups := range []int{0, len(files)} {
		got, sc, err := Stats(t.Context(), s, req)
		if err != nil {
			t.Fatal(err)
		}
		if asJSON(t, got.Groups()) != want || sc.Rollups != rollups || sc.Damaged != 0 {
			t.Errorf("%d roll-ups used, want %d, %d damaged segments, answer\n%s\nwant %s", sc.Rollups, rollups, sc.Damaged, asJSON(t, got.Groups()), want)
		}
		s.Keep(t.Context(), later)
	}
	if n := s.Stats.CorruptRollups.Load(); n != uint64(len(files)) {
		t.Errorf("%d damaged roll-ups counted of %d", n, len(files))
	}
}
