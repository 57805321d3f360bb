package sinks_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/spool"
)

// memSink keeps the numbers of the records it took.
type memSink struct {
	name string
	mu   sync.Mutex
	ids  []uint64
	fail func(try int) error
	hang bool
	try  int
}

func (m *memSink) Name() string { return m.name }

func (m *memSink) Write(ctx context.Context, recs []flow.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.try++
	if m.hang {
		m.mu.Unlock()
		<-ctx.Done()
		m.mu.Lock()
		return ctx.Err()
	}
	if m.fail != nil {
		if err := m.fail(m.try); err != nil {
			return err
		}
	}
	for i := range recs {
		m.ids = append(m.ids, flowtest.SampleNumber(recs[i].ID))
	}
	return nil
}

func (m *memSink) got() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ids)
}

func testConfig(dir string) sinks.RunnerConfig {
	c := sinks.DefaultRunnerConfig()
	c.Dir, c.BatchAge, c.RetryMin, c.RetryMax, c.BatchRecords = dir, 20*time.Millisecond, time.Millisecond, 20*time.Millisecond, 500
	return c
}

type running struct {
	*sinks.Runner
	book *ledger.Book
	stop func()
}

func start(tb testing.TB, cfg sinks.RunnerConfig, s sinks.Sink) *running {
	tb.Helper()
	r := &running{book: ledger.NewBook()}
	var err error
	if r.Runner, err = sinks.NewRunner(cfg, s, sinks.Deps{Stage: r.book.Stage("sink/" + s.Name())}); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				tb.Errorf("run: %v", err)
			}
		})
	}
	tb.Cleanup(r.stop)
	return r
}

// line checks that the books balance and gives them.
func (r *running) line(tb testing.TB) ledger.Line {
	tb.Helper()
	l := r.book.Snapshot()[0]
	if a, b, c := l.Diff(); a != 0 || b != 0 || c != 0 {
		tb.Errorf("books differ by %d records, %d connections, %d bytes: %+v", a, b, c, l)
	}
	return l
}

func samples(from, to uint64) []flow.Record {
	var rs []flow.Record
	for i := from; i < to; i++ {
		rs = append(rs, flowtest.Sample(i))
	}
	return rs
}

func drain(tb testing.TB, r *running) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.Drain(ctx); err != nil {
		tb.Fatal(err)
	}
}

func wantInOrder(tb testing.TB, ids []uint64, n int) {
	tb.Helper()
	for i, id := range ids {
		if id != uint64(i) {
			tb.Fatalf("record %d is number %d", i, id)
		}
	}
	if len(ids) != n {
		tb.Fatalf("%d records, want %d", len(ids), n)
	}
}

func TestDeliversInOrderThroughFailures(t *testing.T) {
	m := &memSink{name: "m", fail: func(try int) error {
		if try%3 != 0 {
			return errors.New("not now")
		}
		return nil
	}}
	r := start(t, testConfig(t.TempDir()), m)
	for i := uint64(0); i < 10_000; i += 100 {
		r.Offer(samples(i, i+100))
	}
	drain(t, r)
	wantInOrder(t, m.got(), 10_000)
	if l := r.line(t); l.Out.Records != 10_000 || l.Out.Connections != 10_000 || l.Held.Records != 0 {
		t.Errorf("books %+v", l)
	}
}

func TestBooksSurviveARestart(t *testing.T) {
	cfg := testConfig(t.TempDir())
	down := &memSink{name: "m", fail: func(int) error { return errors.New("down") }}
	r := start(t, cfg, down)
	r.Offer(samples(0, 3000))
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := r.line(t)
	r.stop()
	if l := r.line(t); l.Held != before.In {
		t.Errorf("held %+v after the stop, want %+v", l.Held, before.In)
	}
	up := &memSink{name: "m"}
	r = start(t, cfg, up)
	if l := r.line(t); l.In != before.Held {
		t.Errorf("recovered %+v, want %+v", l.In, before.Held)
	}
	drain(t, r)
	wantInOrder(t, up.got(), 3000)
	if l := r.line(t); l.Out != before.Held {
		t.Errorf("out %+v, want %+v", l.Out, before.Held)
	}
}

// behindSink says that it has nothing, whatever it was given before.
type behindSink struct{ memSink }

func (b *behindSink) Resume(context.Context, string) (uint64, bool, error) { return 0, true, nil }

func (b *behindSink) WriteAt(ctx context.Context, _ uint64, recs []flow.Record) error {
	return b.Write(ctx, recs)
}

// TestBooksOfWhatComesAgain: a sink that lost what it had gets it again from the spool,
// and the books say so.
func TestBooksOfWhatComesAgain(t *testing.T) {
	cfg := testConfig(t.TempDir())
	var down atomic.Bool
	r := start(t, cfg, &behindSink{memSink: memSink{name: "a", fail: func(int) error {
		if down.Load() {
			return errors.New("down")
		}
		return nil
	}}})
	r.Offer(samples(0, 100))
	drain(t, r)
	down.Store(true)
	r.Offer(samples(100, 150)) // they keep the segment
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.stop()
	again := &behindSink{memSink: memSink{name: "a"}}
	r = start(t, cfg, again)
	drain(t, r)
	r.stop()
	wantInOrder(t, again.got(), 150)
	if l := r.line(t); l.In.Records != 150 || l.Out.Records != 150 {
		t.Errorf("150 came again, the books say %+v", l)
	}
}

func TestADeadSinkDelaysNobody(t *testing.T) {
	dead, live := &memSink{name: "dead", hang: true}, &memSink{name: "live"}
	rd, rl := start(t, testConfig(t.TempDir()), dead), start(t, testConfig(t.TempDir()), live)
	var worst time.Duration
	for i := uint64(0); i < 20_000; i += 100 {
		recs := samples(i, i+100)
		begin := time.Now()
		rd.Offer(recs)
		rl.Offer(recs)
		worst = max(worst, time.Since(begin))
	}
	drain(t, rl)
	wantInOrder(t, live.got(), 20_000)
	if l := rd.line(t); l.In.Records != 20_000 || l.Out.Records != 0 {
		t.Errorf("dead sink's books %+v", l)
	}
	t.Logf("longest Offer of 100 records to two sinks: %v", worst)
	if worst > time.Second {
		t.Errorf("an Offer took %v", worst)
	}
}

func TestRejectedBatchIsBooked(t *testing.T) {
	m := &memSink{name: "m", fail: func(try int) error {
		if try == 1 {
			return sinks.Reject(errors.New("poison"))
		}
		return nil
	}}
	cfg := testConfig(t.TempDir())
	cfg.BatchRecords = 100
	r := start(t, cfg, m)
	r.Offer(samples(0, 1000))
	drain(t, r)
	l := r.line(t)
	if l.Lost[sinks.LostRejected].Records == 0 || l.Out.Records+l.Lost[sinks.LostRejected].Records != 1000 {
		t.Errorf("books %+v", l)
	}
}

func TestFilter(t *testing.T) {
	m := &memSink{name: "m"}
	cfg := testConfig(t.TempDir())
	cfg.Filter = func(r *flow.Record) bool { return flowtest.SampleNumber(r.ID)%10 < 3 }
	r := start(t, cfg, m)
	r.Offer(samples(0, 1000))
	drain(t, r)
	if l := r.line(t); l.In.Records != 300 || len(m.got()) != 300 {
		t.Errorf("%d records, books %+v", len(m.got()), l)
	}
}

func TestFullSpoolKeepsTheBooks(t *testing.T) {
	for _, policy := range []spool.Policy{spool.DropOldest, spool.DropNewest} {
		block := make(chan struct{})
		m := &memSink{name: "m", fail: func(int) error {
			select {
			case <-block:
				return nil
			default:
				return errors.New("down")
			}
		}}
		cfg := testConfig(t.TempDir())
		cfg.SegmentBytes, cfg.MaxBytes, cfg.OnFull = 64<<10, 512<<10, policy
		r := start(t, cfg, m)
		for i := uint64(0); i < 20_000; i += 1000 {
			r.Offer(samples(i, i+1000))
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		close(block)
		drain(t, r)
		l := r.line(t)
		if lost := l.Lost[spool.LostSpoolFull].Records; lost == 0 || int(lost)+len(m.got()) != 20_000 {
			t.Errorf("%s: lost %d, delivered %d", policy, lost, len(m.got()))
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	for _, name := range []string{"a", "b"} {
		cfg := testConfig(t.TempDir())
		r, err := sinks.NewRunner(cfg, &memSink{name: name}, sinks.Deps{Stage: ledger.NewBook().Stage(name), Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		r.Offer(samples(0, 5))
	}
	fams, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range fams {
		if !strings.HasPrefix(f.GetName(), "weir_sink_") || len(f.GetMetric()) != 2 {
			t.Errorf("metric %s has %d series", f.GetName(), len(f.GetMetric()))
		}
		found = found || f.GetName() == "weir_sink_in_records_total" && f.GetMetric()[0].GetCounter().GetValue() == 5
	}
	if !found {
		t.Error("weir_sink_in_records_total is not 5")
	}
}

func TestBadConfig(t *testing.T) {
	for want, change := range map[string]func(*sinks.RunnerConfig){
		"batchRecords: 0 is not in": func(c *sinks.RunnerConfig) { c.BatchRecords = 0 },
		"retryMax:":                 func(c *sinks.RunnerConfig) { c.RetryMax = 1 },
		"maxBytes: 1 is below":      func(c *sinks.RunnerConfig) { c.MaxBytes = 1 },
		`onFull: "x" is neither`:    func(c *sinks.RunnerConfig) { c.OnFull = "x" },
		"dir: is empty":             func(c *sinks.RunnerConfig) { c.Dir = "" },
	} {
		cfg := testConfig(t.TempDir())
		change(&cfg)
		_, err := sinks.NewRunner(cfg, &memSink{name: "m"}, sinks.Deps{Stage: ledger.NewBook().Stage("m")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestNoMoreHeldThanCameIn reads the books while records come.
func TestNoMoreHeldThanCameIn(t *testing.T) {
	r := start(t, testConfig(t.TempDir()), &memSink{name: "a", fail: func(int) error { return errors.New("down") }})
	var feeding sync.WaitGroup
	var done atomic.Bool
	for k := range uint64(2) {
		feeding.Go(func() {
			for i := k * 1e6; !done.Load(); i++ {
				r.Offer(samples(i, i+1))
			}
		})
	}
	for range 20_000 {
		if l := r.book.Snapshot()[0]; l.In.Records < l.Held.Records {
			t.Errorf("more is held than came in: %+v", l)
			break
		}
	}
	done.Store(true)
	feeding.Wait()
}
