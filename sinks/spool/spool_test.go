package spool

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
)

// opened is a running spool whose losses are counted.
type opened struct {
	*Spool
	lost map[string]ledger.Amount
	log  lines
	stop func()
}

// lines counts the lines of the log that tell of a failed write.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("spool write failed")) {
		l.n.Add(1)
	}
	return len(b), nil
}

func testConfig(dir string) Config {
	c := DefaultConfig()
	c.Dir, c.SegmentBytes, c.MaxBytes, c.FsyncEvery, c.BlockRecords = dir, 64<<10, 64<<20, 50*time.Millisecond, 50
	return c
}

func open(tb testing.TB, cfg Config) *opened {
	tb.Helper()
	o := &opened{lost: map[string]ledger.Amount{}}
	s, err := Open(cfg, Deps{Logger: slog.New(slog.NewTextHandler(&o.log, nil)), Lost: func(r string, a ledger.Amount) { o.lost[r] = o.lost[r].Plus(a) }})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	o.Spool = s
	var once bool
	o.stop = func() {
		if once {
			return
		}
		once = true
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	}
	tb.Cleanup(o.stop)
	return o
}

func samples(from, to uint64) []flow.Record {
	rs := make([]flow.Record, 0, to-from)
	for i := from; i < to; i++ {
		rs = append(rs, flowtest.Sample(i))
	}
	return rs
}

func (o *opened) appendAll(tb testing.TB, recs []flow.Record) {
	tb.Helper()
	for len(recs) > 0 {
		n := min(100, len(recs))
		o.Append(recs[:n])
		recs = recs[n:]
		if err := o.Flush(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
}

func (o *opened) readAll(tb testing.TB) (ids []uint64, amt ledger.Amount, pos uint64) {
	tb.Helper()
	var recs []flow.Record
	for {
		n := len(recs)
		out, p, err := o.Read(recs)
		if err != nil {
			tb.Fatal(err)
		}
		if len(out) == n {
			break
		}
		recs, pos = out, p+uint64(len(out)-n)
	}
	for i := range recs {
		ids = append(ids, flowtest.SampleNumber(recs[i].ID))
	}
	return ids, amountOfAll(recs), pos
}

func wantIDs(tb testing.TB, ids []uint64, from, to uint64) {
	tb.Helper()
	if len(ids) != int(to-from) {
		tb.Fatalf("%d records, want %d", len(ids), to-from)
	}
	for i, id := range ids {
		if id != from+uint64(i) {
			tb.Fatalf("record %d is number %d", i, id)
		}
	}
}

func TestCodecKeepsEveryField(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var e encoder
	d := decoder{fields: flow.NumFields}
	for range 100 {
		var want []flow.Record
		e.reset(nil)
		for range 1 + rng.IntN(30) {
			r := flowtest.Random(rng)
			want = append(want, r)
			e.add(&r)
		}
		got, err := d.block(e.buf, len(want), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("record %d:\n%s\n%s", i, flow.AppendJSON(nil, &want[i]), flow.AppendJSON(nil, &got[i]))
			}
		}
	}
}

func TestReadAfterRestart(t *testing.T) {
	cfg := testConfig(t.TempDir())
	o := open(t, cfg)
	o.appendAll(t, samples(0, 5000))
	id := o.ID()
	recs, pos, err := o.Read(nil)
	if err != nil || pos != 0 || len(recs) != 50 {
		t.Fatalf("read %d records at %d: %v", len(recs), pos, err)
	}
	if err := o.Commit(20, amountOfAll(recs[:20]), true); err != nil { // in the middle of a block
		t.Fatal(err)
	}
	o.stop()

	o = open(t, cfg)
	if o.ID() != id {
		t.Error("the spool has another id after a restart")
	}
	want := amountOfAll(samples(20, 5000))
	if got := o.Recovered(); got != want {
		t.Errorf("recovered %+v, want %+v", got, want)
	}
	o.appendAll(t, samples(5000, 6000))
	ids, amt, end := o.readAll(t)
	wantIDs(t, ids, 20, 6000)
	if held := o.Held(); held != amt {
		t.Errorf("held %+v, want %+v", held, amt)
	}
	if err := o.Commit(end, amt, true); err != nil {
		t.Fatal(err)
	}
	if held := o.Held(); held != (ledger.Amount{}) {
		t.Errorf("held %+v after all was committed", held)
	}
	if st := o.Stats(); st.Segments > 1 || st.Committed != 6000 || st.End != 6000 {
		t.Errorf("stats %+v", st)
	}
	o.stop()
	o = open(t, cfg)
	if o.End() != 6000 {
		t.Errorf("positions begin again at %d", o.End())
	}
}

func TestTwoProcessesDoNotShareASpool(t *testing.T) {
	cfg := testConfig(t.TempDir())
	open(t, cfg)
	if _, err := Open(cfg, Deps{}); err == nil {
		t.Error("a second spool opened the same directory")
	}
}

func TestTornTail(t *testing.T) {
	for _, cut := range []int64{1, blkHeader - 1, blkHeader + 1, 500} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			o := open(t, cfg)
			o.appendAll(t, samples(0, 50))
			o.appendAll(t, samples(50, 100))
			o.stop()
			path := filepath.Join(cfg.Dir, segName(0))
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			// The second block's last bytes were not yet written.
			if err := os.Truncate(path, st.Size()-cut); err != nil {
				t.Fatal(err)
			}
			o = open(t, cfg)
			if torn := o.Stats().TornBytes; torn == 0 {
				t.Error("a torn end was not counted")
			}
			o.appendAll(t, samples(50, 100))
			ids, _, _ := o.readAll(t)
			wantIDs(t, ids, 0, 100)
		})
	}
}

func TestDamagedBlockIsSteppedOver(t *testing.T) {
	cfg := testConfig(t.TempDir())
	for name, at := range map[string]int64{"payload": segHeader + blkHeader + 40, "header": segHeader + 5, "segment": 3} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, restart), func(t *testing.T) {
				cfg.Dir = t.TempDir()
				o := open(t, cfg)
				o.appendAll(t, samples(0, 2000))
				all := o.Held()
				if restart {
					o.stop()
				}
				f, err := os.OpenFile(filepath.Join(cfg.Dir, segName(0)), os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte{0xAA, 0xBB}, at); err != nil {
					t.Fatal(err)
				}
				f.Close()
				if restart {
					o = open(t, cfg)
					if got := o.Recovered().Records; got != all.Records {
						t.Errorf("recovered %d records, want %d", got, all.Records)
					}
				}
				ids, amt, _ := o.readAll(t)
				lost := o.lost[LostCorrupt]
				if name == "segment" && !restart {
					wantIDs(t, ids, 0, 2000) // a header is read at the start only
					return
				}
				if lost.Records == 0 || lost.Records+amt.Records != 2000 {
					t.Errorf("read %d, lost %d, want 2000 together", amt.Records, lost.Records)
				}
				if !restart && lost.Plus(amt) != all {
					t.Errorf("read %+v, lost %+v, want %+v together", amt, lost, all)
				}
				if held := o.Held(); held.Records != amt.Records {
					t.Errorf("held %d, want %d", held.Records, amt.Records)
				}
				if o.Stats().DamagedBlocks == 0 {
					t.Error("damage was not counted")
				}
			})
		}
	}
}

func TestFullSpool(t *testing.T) {
	for _, policy := range []Policy{DropOldest, DropNewest} {
		t.Run(string(policy), func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			cfg.OnFull, cfg.MaxBytes = policy, 256<<10
			o := open(t, cfg)
			all := samples(0, 20000)
			o.appendAll(t, all)
			if b := o.Stats().Bytes; b > cfg.MaxBytes {
				t.Errorf("spool has %d bytes, cap %d", b, cfg.MaxBytes)
			}
			held, lost := o.Held(), o.lost[LostSpoolFull]
			if held.Plus(lost) != amountOfAll(all) {
				t.Errorf("held %+v and lost %+v are not what came in", held, lost)
			}
			ids, amt, _ := o.readAll(t)
			if amt != held {
				t.Errorf("read %+v, held was %+v", amt, held)
			}
			if policy == DropOldest {
				wantIDs(t, ids, lost.Records, 20000)
			} else {
				wantIDs(t, ids, 0, held.Records)
			}
		})
	}
}

func TestDropWhileReading(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.MaxBytes = 128 << 10
	o := open(t, cfg)
	o.appendAll(t, samples(0, 100))
	recs, _, err := o.Read(nil)
	if err != nil || len(recs) != 50 {
		t.Fatal(len(recs), err)
	}
	o.appendAll(t, samples(100, 20000)) // the segment under the reader is dropped
	ids, amt, end := o.readAll(t)
	amt = amt.Plus(amountOfAll(recs))
	if got := amt.Plus(o.lost[LostSpoolFull]); got != amountOfAll(samples(0, 20000)) {
		t.Errorf("read and lost %+v", got)
	}
	if ids[len(ids)-1] != 19999 {
		t.Errorf("last is %d", ids[len(ids)-1])
	}
	if err := o.Commit(end, amt, false); err != nil {
		t.Fatal(err)
	}
	if o.Held() != (ledger.Amount{}) {
		t.Errorf("held %+v", o.Held())
	}
}

func TestAppendIsBounded(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.PendingBytes = 64 << 10
	var lost ledger.Amount
	s, err := Open(cfg, Deps{Lost: func(r string, a ledger.Amount) { lost = lost.Plus(a) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	all := samples(0, 5000) // no writer runs: a disk that never answers
	for i := range all {
		s.Append(all[i : i+1])
	}
	if lost.Records == 0 || s.Held().Plus(lost) != amountOfAll(all) {
		t.Errorf("held %+v, lost %+v", s.Held(), lost)
	}
}

func TestDiskFull(t *testing.T) {
	testenv.NeedRoot(t)
	for _, policy := range []Policy{DropOldest, DropNewest} {
		t.Run(string(policy), func(t *testing.T) {
			dir := t.TempDir()
			mountTmpfs(t, dir, "1m")
			cfg := testConfig(filepath.Join(dir, "spool"))
			cfg.OnFull = policy
			o := open(t, cfg)
			all := samples(0, 20000)
			o.appendAll(t, all)
			st := o.Stats()
			if st.WriteErrors == 0 || o.lost[LostDiskFull].Records == 0 {
				t.Fatalf("the disk never filled: %+v %+v", st, o.lost)
			}
			if n := o.log.n.Load(); n == 0 || n > 5 {
				t.Errorf("%d failed writes are %d lines of the log", st.WriteErrors, n)
			}
			ids, amt, end := o.readAll(t)
			if got := amt.Plus(o.lost[LostDiskFull]); got != amountOfAll(all) {
				t.Errorf("read and lost %+v, want %+v", got, amountOfAll(all))
			}
			if policy == DropOldest && ids[len(ids)-1] != 19999 {
				t.Errorf("last is %d", ids[len(ids)-1])
			}
			if err := o.Commit(end, amt, true); err != nil {
				t.Fatal(err)
			}
			o.appendAll(t, samples(20000, 21000)) // there is room again
			ids, _, _ = o.readAll(t)
			wantIDs(t, ids, 20000, 21000)
			o.stop()
		})
	}
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	o := open(f, testConfig(dir))
	o.appendAll(f, samples(0, 120))
	o.stop()
	b, err := os.ReadFile(filepath.Join(dir, segName(0)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, []byte("weir-cursor 7 00000000\n"))
	f.Add(b[:len(b)-9], []byte{})
	f.Fuzz(func(t *testing.T, seg, cursor []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{segName(0): seg, segName(120): b[:segHeader], cursorName: cursor} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := open(t, testConfig(dir))
		in := o.Recovered()
		_, amt, _ := o.readAll(t)
		if got := amt.Records + o.lost[LostCorrupt].Records + o.lost[LostSchema].Records; got != in.Records {
			t.Fatalf("recovered %d records, read and lost %d", in.Records, got)
		}
	})
}

func FuzzBlock(f *testing.F) {
	var e encoder
	e.reset(nil)
	for i := range uint64(5) {
		r := flowtest.Sample(i)
		e.add(&r)
	}
	f.Add(e.buf, 5)
	f.Fuzz(func(t *testing.T, payload []byte, n int) {
		d := decoder{fields: flow.NumFields}
		if n < 0 || n > len(payload) {
			return
		}
		recs, err := d.block(payload, n, nil)
		if err == nil && len(recs) != n {
			t.Fatalf("%d records, want %d", len(recs), n)
		}
	})
}

func BenchmarkAppendRead(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Dir, cfg.MaxBytes = b.TempDir(), 1<<40
	o := open(b, cfg)
	all := samples(0, 4096)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		start := o.Stats()
		for b.Loop() {
			o.Append(all[i : i+1])
			if i++; i == len(all) {
				i = 0
				if err := o.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := o.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
		st := o.Stats()
		b.ReportMetric(float64(st.Written-start.Written)/float64(st.End-start.End), "disk-B/record")
		if len(o.lost) != 0 {
			b.Fatalf("lost %+v", o.lost)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		var recs []flow.Record
		left := 0
		for b.Loop() {
			if left == 0 {
				var err error
				if recs, _, err = o.Read(recs[:0]); err != nil {
					b.Fatal(err)
				}
				if left = len(recs); left == 0 {
					if err := o.SkipTo(0); err != nil {
						b.Fatal(err)
					}
					left = 1
				}
			}
			left--
		}
	})
}

// TestHeldWhileItIsRead: a reader who takes each block as soon as it is there never makes
// the spool hold more, or less, than what was appended and not committed.
func TestHeldWhileItIsRead(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.BlockRecords, cfg.SegmentBytes = 1, 1<<20
	s := open(t, cfg)
	rec := samples(0, 1)
	total := 0
	reader := make(chan error, 1)
	var taken atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		var err error
		var got []flow.Record
		for err == nil && ctx.Err() == nil {
			got, _, err = s.Read(got[:0])
			taken.Add(int64(len(got)))
		}
		reader <- err
	}()
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		s.Append(rec)
		if total++; total%100 == 0 {
			time.Sleep(time.Millisecond) // the reader is at the end again
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for taken.Load() < int64(total) && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-reader; err != nil {
		t.Fatal(err)
	}
	if h := s.Held(); h.Records != uint64(total) {
		t.Errorf("%d records are held, %d were appended and none is committed", h.Records, total)
	}
}
