package store

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
)

// Killed while the oldest segments go by their age, joins besides: what is left is the
// newest, whole and each once, no older than a segment beyond the age, and the books of the
// last process balance.
func TestKilledWhileTheOldestAge(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes: not part of -short")
	}
	const age = 2 * time.Minute // of ten that are written
	t.Setenv(ageEnv, age.String())
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	for range 8 {
		runChild(t, dir, 100*time.Millisecond+time.Duration(rng.IntN(600))*time.Millisecond)
	}
	_, books := runChild(t, dir, 0)
	left := false
	for _, l := range books {
		a, b, c := l.Diff()
		if a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 {
			t.Errorf("books of %s do not balance or something was lost: %+v", l.Stage, l)
		}
		left = left || l.Stage == "history"
	}
	if !left {
		t.Error("no books of what left the history")
	}
	end := start.UnixMilli() + killTotal*ageStep
	cfg := killConfig(dir)
	cfg.MaxAge = age
	s := open(t, cfg, func() time.Time { return time.UnixMilli(end) })
	s.Keep(t.Context(), time.UnixMilli(end))
	got, sc := numbers(t, s, 0, always)
	if len(got) == 0 || len(got) == killTotal || sc.Damaged > 0 {
		t.Fatalf("%d rows, %d damaged segments", len(got), sc.Damaged)
	}
	wantRun(t, got, got[0], killTotal)
	most := int(age.Milliseconds()/ageStep) + cfg.FileRows + cfg.HeadRows
	if least := int(age.Milliseconds() / ageStep); len(got) < least || len(got) > most {
		t.Errorf("%d rows are left, want %d to %d", len(got), least, most)
	}
}

// Killed at the moment when a joined segment or a roll-up is being written: its unfinished
// file goes, and nothing is missing or there twice.
func TestKilledWhileFilesAreWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes: not part of -short")
	}
	for name, pattern := range map[string]string{
		"join": filepath.Join("history", hourPrefix+"*", "*"+suffix+tmpSuffix), "roll-up": filepath.Join("history", rollDir, hourPrefix+"*", "*"+tmpSuffix),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(sizeEnv, strconv.Itoa(1<<30)) // of what rolls up well, with room for all
			dir := t.TempDir()
			caught := 0
			for range 6 {
				runChildUntil(t, dir, func() bool {
					files, err := filepath.Glob(filepath.Join(dir, pattern))
					for _, f := range files {
						var lo, hi uint64
						if n, _ := parsePart(filepath.Base(f), &lo, &hi); n == 2 && (name != "join" || lo != hi) {
							caught++
							return true
						}
					}
					return err != nil
				})
			}
			if caught == 0 {
				t.Fatal("it was never killed while one was written")
			}
			t.Logf("killed %d times with an unfinished file", caught)
			runChild(t, dir, 0)
			s := open(t, killConfig(dir), time.Now)
			s.Keep(t.Context(), time.Now())
			wantHistory(t, s, killTotal)
			if files, err := filepath.Glob(filepath.Join(dir, "history", "*", "*", "*"+tmpSuffix)); err != nil || len(files) > 0 {
				t.Errorf("left behind: %v (%v)", files, err)
			}
			wantRollups(t, s)
		})
	}
}

// wantHistory checks that a store has the first n records of flowtest.History, each once.
func wantHistory(t *testing.T, s *Store, n uint64) {
	t.Helper()
	type key struct {
		conn uint64
		seq  uint32
	}
	got := map[key]int{}
	sc, err := s.Scan(t.Context(), Query{To: always, Fields: []flow.FieldID{flow.FConnID, flow.FSeq}, Workers: 1}, func(_ int, b *column.Block) error {
		for i := range b.Rows {
			got[key{b.Cols[flow.FConnID].Nums[i], uint32(b.Cols[flow.FSeq].Nums[i])}]++
		}
		return nil
	})
	if err != nil || sc.Damaged > 0 || sc.Rows != n {
		t.Fatalf("%d rows of %d, %d damaged segments: %v", sc.Rows, n, sc.Damaged, err)
	}
	h := flowtest.NewHistory()
	var r flow.Record
	for i := range n {
		if h.Record(i, &r); got[key{r.ConnID, r.Seq}] != 1 {
			t.Fatalf("record %d is there %d times", i, got[key{r.ConnID, r.Seq}])
		}
	}
}

// full fills a disk up to a few bytes, and gives what makes room again.
func full(t *testing.T, dir string, leave int64) (undo func()) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "filler")
	n := int64(st.Bavail)*int64(st.Bsize) - leave //nolint:unconvert // 32 bits where words have as many
	if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// fillHistory writes records of flowtest.History, in segments of the configured size.
func fillHistory(t *testing.T, s *Store, n uint64) {
	t.Helper()
	h := flowtest.NewHistory()
	recs := make([]flow.Record, 500)
	for i := uint64(0); i < n; i += uint64(len(recs)) {
		for k := range recs {
			h.Record(i+uint64(k), &recs[k])
		}
		if err := s.WriteAt(t.Context(), i, recs); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A disk that is full when segments are to be joined, or rolled up: they stay as they are and
// answer, nothing is given up and nothing half-written stays; both is done when there is
// room again.
func TestFullDiskWhileJoinedAndRolledUp(t *testing.T) {
	c := &clock{t: start}
	dir := smallDisk(t, "16m")
	cfg := killConfig(dir)
	s := open(t, cfg, c.now)
	fillHistory(t, s, 90_000)
	later := c.now().Add(2 * time.Hour)

	undo := full(t, dir, 300<<10)
	s.Keep(t.Context(), later)
	if n := s.Stats.CompactFailures.Load(); n != 1 || s.Stats.Compactions.Load() != 0 {
		t.Errorf("%d joins failed, %d did not", n, s.Stats.Compactions.Load())
	}
	wantHistory(t, s, 90_000)
	undo()
	s.Keep(t.Context(), later.Add(time.Minute))
	if s.Stats.Compactions.Load() == 0 {
		t.Error("not joined when there was room again")
	}
	rolled := uint64(0)
	s.mu.Lock()
	for _, p := range s.parts {
		if p.roll != nil {
			rolled++
		}
		s.unroll(p)
	}
	s.mu.Unlock()

	failed := s.Stats.RollupFailures.Load()
	undo = full(t, dir, 8<<10)
	s.Keep(t.Context(), later.Add(time.Hour))
	s.Keep(t.Context(), later.Add(time.Hour+time.Minute)) // not tried again at once
	if n := s.Stats.RollupFailures.Load() - failed; n != rolled || n == 0 {
		t.Errorf("%d roll-ups of %d failed", n, rolled)
	}
	wantHistory(t, s, 90_000)
	for _, pattern := range []string{"*", filepath.Join("*", "*"), filepath.Join(rollDir, "*", "*")} {
		if files, err := filepath.Glob(filepath.Join(cfg.Dir, pattern+tmpSuffix)); err != nil || len(files) > 0 {
			t.Errorf("left behind: %v (%v)", files, err)
		}
	}
	undo()
	s.Keep(t.Context(), later.Add(2*time.Hour))
	wantRollups(t, s)
	if s.Stats.RemovedFull.Load() != 0 || s.Stats.RemovedRows.Load() != 0 {
		t.Error("records were given up for a file that can be made again")
	}
}

// A roll-up that is damaged when the history is opened goes, counted, and is made again; so
// is one of other records than its segment's.
func TestDamagedRollupAtTheStart(t *testing.T) {
	for _, how := range []string{"cut", "footer", "another's"} {
		t.Run(how, func(t *testing.T) {
			c := &clock{t: start}
			cfg := killConfig(t.TempDir())
			s := open(t, cfg, c.now)
			fillHistory(t, s, 180_000)
			s.Keep(t.Context(), c.now().Add(2*time.Hour))
			files, err := filepath.Glob(filepath.Join(cfg.Dir, rollDir, "*", "*"))
			if err != nil || len(files) < 2 {
				t.Fatalf("roll-ups %v (%v)", files, err)
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			switch how {
			case "cut":
				b = b[:len(b)/2]
			case "footer":
				b[len(b)-50] ^= 1
			case "another's":
				if b, err = os.ReadFile(files[1]); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(files[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, cfg, c.now)
			if n := s.Stats.CorruptRollups.Load(); n != 1 {
				t.Errorf("%d damaged roll-ups counted", n)
			}
			if _, err := os.Stat(files[0]); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is there still: %v", err)
			}
			wantHistory(t, s, 180_000)
			s.Keep(t.Context(), c.now().Add(2*time.Hour))
			wantRollups(t, s)
		})
	}
}

// The books say what left the history, and why: by age as configured, damaged, or for room
// on a full disk.
func TestBooksOfWhatLeaves(t *testing.T) {
	book := ledger.NewBook()
	c := &clock{t: start}
	cfg := testConfig(smallDisk(t, "900k"))
	cfg.MaxAge = 3 * time.Hour
	s, err := New(cfg, Deps{Clock: c.now, Left: book.Stage("history")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	want := ledger.Line{Stage: "history", Lost: map[string]ledger.Amount{}}
	check := func(what string) {
		t.Helper()
		l := book.Snapshot()[0]
		if a, b, c := l.Diff(); a != 0 || b != 0 || c != 0 || l.Out != want.Out {
			t.Errorf("%s: %+v, want %+v", what, l, want)
		}
		for why, a := range want.Lost {
			if l.Lost[why] != a {
				t.Errorf("%s: lost %+v, want %+v", what, l.Lost, want.Lost)
			}
		}
	}
	fill(t, s, c, 0, 2000)
	c.add(5 * time.Hour)
	fill(t, s, c, 2000, 4001)
	s.Keep(t.Context(), c.now())
	want.Out.Records = 2000
	check("age")

	path := s.parts[0].path
	if err := os.Truncate(path, 1000); err != nil {
		t.Fatal(err)
	}
	rows := uint64(s.parts[0].rows())
	numbers(t, s, 0, always)
	want.Lost["damaged_segment"] = ledger.Amount{Records: rows}
	check("damaged")

	for s.Stats.RemovedFull.Load() == 0 && c.now().Before(start.Add(100*time.Hour)) {
		c.add(time.Hour)
		n := s.head.to
		fill(t, s, c, n, n+2000)
	}
	want.Lost["disk_full"] = ledger.Amount{Records: s.Stats.RemovedRows.Load() - 2000}
	if want.Lost["disk_full"].Records == 0 {
		t.Error("the disk was not full")
	}
	check("disk full")
}
