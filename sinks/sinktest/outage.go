package sinktest

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
)

// Outage is a sink at work while a test breaks and mends its destination.
type Outage struct {
	*sinks.Runner
	Total int // records offered so far: samples 0 to Total-1

	ctx  context.Context //nolint:containedctx // bounds the waits of the test
	book *ledger.Book
	last atomic.Pointer[string] // error
	end  func() error
}

// StartOutage starts the sink with short times: a write may take three seconds.
func StartOutage(t *testing.T, s sinks.Sink) *Outage {
	t.Helper()
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.BatchRecords, rc.WriteTimeout, rc.RetryMin, rc.RetryMax = t.TempDir(), 2000, 3*time.Second, 20*time.Millisecond, 100*time.Millisecond
	o := &Outage{book: ledger.NewBook()}
	r, err := sinks.NewRunner(rc, s, sinks.Deps{Stage: o.book.Stage("sink"), Tried: o.tried, Logger: slog.New(said{slog.DiscardHandler, o})})
	if err != nil {
		t.Fatal(err)
	}
	o.Runner = r
	wait, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	ctx, stop := context.WithCancel(wait)
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	o.ctx = wait
	o.end = func() error { stop(); return <-done }
	return o
}

func (o *Outage) failed(err error) {
	s := err.Error()
	o.last.Store(&s)
}

func (o *Outage) tried(_ []flow.Record, err error) {
	if err != nil {
		o.failed(err)
	}
}

// said notes errors that are in the log alone: of what a sink does besides its writes.
type said struct {
	slog.Handler
	o *Outage
}

func (said) Enabled(context.Context, slog.Level) bool { return true }

func (s said) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			s.o.failed(err)
		}
		return true
	})
	return nil
}

func (s said) WithAttrs([]slog.Attr) slog.Handler { return s }

// Offer gives n records more; they are in the spool when it returns.
func (o *Outage) Offer(t *testing.T, n int) {
	t.Helper()
	for end := o.Total + n; o.Total < end; o.Total += 1000 {
		o.Runner.Offer(Samples(o.Total, 1000))
		if err := o.Flush(o.ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// Drain waits until all is delivered.
func (o *Outage) Drain(t *testing.T) {
	t.Helper()
	if err := o.Runner.Drain(o.ctx); err != nil {
		t.Fatalf("%v, last error: %s", err, o.lastError())
	}
}

func (o *Outage) lastError() string {
	if p := o.last.Load(); p != nil {
		return *p
	}
	return "none"
}

// Says waits until a write, or what the sink does besides, fails with an error that says so.
func (o *Outage) Says(t *testing.T, part string) {
	t.Helper()
	for o.ctx.Err() == nil {
		if strings.Contains(o.lastError(), part) {
			return
		}
		// Not for its end: a sink that keeps records in memory is to write them now.
		wait, cancel := context.WithTimeout(o.ctx, 50*time.Millisecond)
		if err := o.Runner.Drain(wait); err == nil {
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
	}
	t.Fatalf("no error that says %q, the last: %s", part, o.lastError())
}

// Memory checks that what is held is on the disk: the heap after a collection of garbage.
func (o *Outage) Memory(t *testing.T, most uint64) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d MiB in use with %d records held", m.HeapAlloc>>20, o.Held().Records)
	if m.HeapAlloc > most {
		t.Errorf("at most %d MiB may be", most>>20)
	}
}

// End stops the sink and checks its books: all is out, nothing is lost.
func (o *Outage) End(t *testing.T) {
	t.Helper()
	if err := o.end(); err != nil {
		t.Error(err)
	}
	checkBooks(t, o.book.Snapshot(), o.Total, nil)
}
