package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
)

const (
	childEnv  = "WEIR_STORE_CHILD"
	sizeEnv   = "WEIR_STORE_CHILD_BYTES" // what its segments may take
	ageEnv    = "WEIR_STORE_CHILD_AGE"   // and how old they may be by their records' times
	ageStep   = 3                        // ms from record to record, with ageEnv
	killTotal = 200_000
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

func killConfig(dir string) Config {
	c := DefaultConfig()
	c.Dir, c.HeadRows, c.FileRows = filepath.Join(dir, "history"), 20_000, 80_000
	return c
}

// child feeds a history through a Runner, from where its spool ends, joins segments all
// the time, and leaves when all is stored. It says on its output how far it is.
func child(dir string) error {
	book := ledger.NewBook()
	cfg := killConfig(dir)
	step, now := int64(1), time.Now
	var written atomic.Int64 // ms, the time of the newest record
	if age, err := time.ParseDuration(os.Getenv(ageEnv)); err == nil {
		cfg.MaxAge, step = age, ageStep
		now = func() time.Time { return time.UnixMilli(max(start.UnixMilli(), written.Load())) }
	}
	s, err := New(cfg, Deps{Clock: now, Left: book.Stage("history")})
	if err != nil {
		return err
	}
	if n, err := strconv.ParseInt(os.Getenv(sizeEnv), 10, 64); err == nil {
		s.cfg.MaxBytes = n
	}
	record := func(i uint64) flow.Record { return sample(i, start.UnixMilli()+int64(i)*step) }
	if s.cfg.MaxBytes < DefaultConfig().MaxBytes { // what rolls up well
		h := flowtest.NewHistory()
		record = func(i uint64) (r flow.Record) { h.Record(i, &r); return r }
	}
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.BatchAge, rc.RetryMin = filepath.Join(dir, "spool"), 20*time.Millisecond, 10*time.Millisecond
	r, err := sinks.NewRunner(rc, s, sinks.Deps{Stage: book.Stage("sink/history")})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	go func() {
		for ctx.Err() == nil {
			s.Keep(ctx, now())
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for i := r.Position(); i < killTotal; {
		var recs []flow.Record
		for range 500 {
			recs = append(recs, record(i))
			i++
			written.Store(recs[len(recs)-1].End)
		}
		r.Offer(recs)
		if err := r.Flush(ctx); err != nil {
			return err
		}
		fmt.Println("at", i)
	}
	if err := r.Drain(ctx); err != nil {
		return err
	}
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(book.Snapshot())
}

// runChild kills the child after a time; 0 lets it end.
func runChild(t *testing.T, dir string, after time.Duration) (at uint64, books []ledger.Line) {
	t.Helper()
	if after == 0 {
		return runChildUntil(t, dir, nil)
	}
	late := time.Now().Add(after)
	return runChildUntil(t, dir, func() bool { return time.Now().After(late) })
}

// runChildUntil kills the child when a condition holds; nil lets it end.
func runChildUntil(t *testing.T, dir string, kill func() bool) (at uint64, books []ledger.Line) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if kill != nil {
		over := make(chan struct{})
		defer close(over)
		go killWhen(cmd, kill, over)
	}
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		if rest, ok := strings.CutPrefix(sc.Text(), "at "); ok {
			if n, err := strconv.ParseUint(rest, 10, 64); err == nil {
				at = n
			}
		} else if err := json.Unmarshal(sc.Bytes(), &books); err != nil && kill == nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil && kill == nil {
		t.Fatalf("child: %v\n%s", err, stderr.String())
	}
	return at, books
}

func killWhen(cmd *exec.Cmd, kill func() bool, over <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
			if kill() {
				_ = cmd.Process.Kill()
				return
			}
		}
	}
}

// Killed at any moment - while rows come, while a segment is written, while segments are
// joined - the history has in the end every record that the spool had taken, each
// once, and the books of the last process balance.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes: not part of -short")
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var acked uint64
	for range 12 {
		at, _ := runChild(t, dir, 50*time.Millisecond+time.Duration(rng.IntN(500))*time.Millisecond)
		if at > 0 && at < acked {
			t.Fatalf("went back from %d to %d: what was on the disk came again", acked, at)
		}
		acked = max(acked, at)
	}
	t.Logf("killed 12 times up to record %d of %d", acked, killTotal)
	_, books := runChild(t, dir, 0)
	for _, l := range books {
		a, b, c := l.Diff()
		if a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 || l.Held.Records != 0 {
			t.Errorf("books of %s do not balance or something was lost: %+v", l.Stage, l)
		}
	}
	if len(books) != 2 {
		t.Errorf("books of %d stages", len(books))
	}
	s := open(t, killConfig(dir), time.Now)
	got, sc := numbers(t, s, 0, always)
	if sc.Damaged > 0 || s.Stats.Corrupt.Load() > 0 {
		t.Errorf("%d damaged segments", s.Stats.Corrupt.Load())
	}
	wantRun(t, got, 0, killTotal)
}

// Killed while the oldest segments go for want of room, joins and roll-ups besides: what
// is left is the newest, whole and each once, within the bound, and every roll-up is of its
// segment.
func TestKilledWhileTheOldestGo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes: not part of -short")
	}
	const bound = 6 << 20
	t.Setenv(sizeEnv, strconv.Itoa(bound))
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	for range 8 {
		runChild(t, dir, 100*time.Millisecond+time.Duration(rng.IntN(600))*time.Millisecond)
	}
	runChild(t, dir, 0)
	s := open(t, killConfig(dir), time.Now)
	s.cfg.MaxBytes = bound
	s.Keep(t.Context(), time.Now())
	type key struct {
		conn uint64
		seq  uint32
	}
	got := map[key]int{}
	sc, err := s.Scan(t.Context(), Query{To: always, Fields: allFields, Workers: 1}, func(_ int, b *column.Block) error {
		var r flow.Record
		for i := range b.Rows {
			if err := b.Record(i, nil, &r); err != nil {
				return err
			}
			got[key{r.ConnID, r.Seq}]++
		}
		return nil
	})
	if err != nil || sc.Damaged > 0 || sc.Rows != uint64(len(got)) || len(got) >= killTotal || len(got) < killTotal/20 {
		t.Fatalf("%d rows, %d of them different, %d damaged segments: %v", sc.Rows, len(got), sc.Damaged, err)
	}
	h := flowtest.NewHistory()
	for i := killTotal - uint64(len(got)); i < killTotal; i++ {
		var r flow.Record
		if h.Record(i, &r); got[key{r.ConnID, r.Seq}] != 1 {
			t.Fatalf("record %d is there %d times, of the newest %d", i, got[key{r.ConnID, r.Seq}], len(got))
		}
	}
	if z := s.Size(); z.Bytes > bound {
		t.Errorf("%d bytes, %d are allowed", z.Bytes, bound)
	}
	wantRollups(t, s)
}

// wantRollups checks that roll-ups stand for all that they are said to, and that there is
// no other file.
func wantRollups(t *testing.T, s *Store) {
	t.Helper()
	n := 0
	for _, p := range s.parts {
		if p.roll == nil {
			continue
		}
		n++
		alone, stand := uint64(0), uint64(0)
		for _, g := range p.meta.Groups {
			if g.Kind == segment.Sole {
				alone += uint64(g.Rows)
			}
		}
		f, err := s.acquire(p.roll)
		if err != nil {
			t.Fatal(err)
		}
		for i, g := range p.roll.meta.Groups {
			if g.Kind == segment.Sole {
				stand += uint64(g.Rows)
			}
			if g.Kind != segment.Groups {
				continue
			}
			w, err := f.Column(i, segment.Weight)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range w.Nums {
				stand += v
			}
		}
		s.release(p.roll)
		if p.roll.meta.Grouped && stand != alone {
			t.Errorf("%s stands for %d records, its segment has %d", p.roll.path, stand, alone)
		}
	}
	files, err := filepath.Glob(filepath.Join(s.cfg.Dir, rollDir, "*", "*"))
	if err != nil || len(files) != n || n == 0 {
		t.Errorf("%d roll-ups of segments, files %v (%v)", n, files, err)
	}
}

// smallDisk mounts a tmpfs.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	testenv.NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("weir-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a tmpfs of %s: %v", size, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// On a full disk the oldest hours make room; the newest rows are all there.
func TestFullDiskDropsTheOldestHours(t *testing.T) {
	c := &clock{t: start}
	s := open(t, testConfig(smallDisk(t, "600k")), c.now)
	for h := range uint64(8) {
		fill(t, s, c, h*2000, h*2000+2000)
		c.add(time.Hour)
	}
	if s.Stats.RemovedFull.Load() == 0 {
		t.Fatal("the disk was not full")
	}
	got, _ := numbers(t, s, 0, always)
	wantRun(t, got, got[0], 16_000)
	if removed := s.Stats.RemovedRows.Load(); removed != got[0] {
		t.Errorf("%d rows removed, %d counted", got[0], removed)
	}
}

// Within one hour nothing is given up: the write fails, names the disk, and the rows come
// again when there is room.
func TestFullDiskWithinTheHour(t *testing.T) {
	c := &clock{t: start}
	dir := smallDisk(t, "256k")
	s := open(t, testConfig(dir), c.now)
	var n uint64
	var err error
	for ; n < 50_000; n += 100 {
		var recs []flow.Record
		for i := n; i < n+100; i++ {
			recs = append(recs, sample(i, c.now().UnixMilli()))
			c.add(time.Millisecond)
		}
		if err = s.WriteAt(t.Context(), n, recs); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.ENOSPC) || s.Stats.SealFailures.Load() == 0 {
		t.Fatalf("after %d rows: %v", n, err)
	}
	got, _ := numbers(t, s, 0, always)
	wantRun(t, got, 0, n)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	fill(t, s, c, n, n+1000)
	got, _ = numbers(t, s, 0, always)
	wantRun(t, got, 0, n+1000)
	if tmp, _ := filepath.Glob(filepath.Join(dir, "*", "*"+tmpSuffix)); len(tmp) > 0 {
		t.Errorf("left behind: %v", tmp)
	}
}
