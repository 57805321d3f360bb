package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/ledger"
)

func file(dir, name, filter string) config.Sink {
	s := config.Sink{Name: name, Kind: "jsonl"}
	s.SetDefaults()
	s.JSONL.Path, s.Filter.Query, s.JSONL.MaxBytes = filepath.Join(dir, name+".jsonl"), filter, 1<<30
	s.Spool.BatchAge, s.Spool.BatchSize = 10*time.Millisecond, 100
	return s
}

// ids counts the samples in the files of a sink.
func ids(t *testing.T, paths ...string) map[uint64]int {
	t.Helper()
	seen := map[uint64]int{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			var r flow.Record
			if err := flow.ParseJSON(line, &r); err != nil {
				t.Fatal(err)
			}
			seen[flowtest.SampleNumber(r.ID)]++
		}
	}
	return seen
}

// offering offers samples, 50 a millisecond, until halt, which says how many they were;
// more waits for 1000 more.
func offering(t *testing.T, f *fanout) (more func(), halt func() uint64) {
	t.Helper()
	var n atomic.Uint64
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			recs := make([]flow.Record, 50)
			for i := range recs {
				recs[i] = flowtest.Sample(n.Add(1) - 1)
			}
			f.offer(recs)
		}
	})
	more = func() {
		for want := n.Load() + 1000; n.Load() < want && t.Context().Err() == nil; {
			time.Sleep(time.Millisecond)
		}
	}
	return more, func() uint64 {
		close(stop)
		feeding.Wait()
		return n.Load()
	}
}

// TestSinksFollowTheConfiguration: while records come, a sink is added, one gets another
// filter and path, one goes, and one stays. Every record is in the files of each sink
// once, what stays is the same Runner, and the books of all balance. What cannot be made
// changes nothing.
func TestSinksFollowTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	cfg := config.DefaultAggregator()
	cfg.DataDir = dir
	cfg.Sinks = []config.Sink{file(dir, "stays", ""), file(dir, "changes", ""), file(dir, "goes", "")}
	book := ledger.NewBook()
	reg := prometheus.NewRegistry()
	f, err := newFanout(cfg, slog.New(slog.DiscardHandler), book, reg, newCanaries())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	<-f.begun
	before := f.list()[0].now().Runner

	more, halt := offering(t, f)
	more()
	moved := file(dir, "changes", "")
	moved.JSONL.Path = filepath.Join(dir, "moved.jsonl")
	fresh := file(dir, "fresh", "dst.ns = team-07")
	changes, err := f.reload([]config.Sink{file(dir, "stays", ""), moved, fresh})
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 6 {
		t.Errorf("changes: %v", changes)
	}
	more()
	bad := file(dir, "bad", "")
	bad.JSONL.Path = filepath.Join(dir, "goes.jsonl", "no", "directory")
	if _, err := f.reload([]config.Sink{fresh, bad}); err == nil || !strings.Contains(err.Error(), "sink bad: ") {
		t.Errorf("a sink that cannot be made: %v", err)
	}
	if got := len(f.list()); got != 3 {
		t.Errorf("%d sinks after a change that was refused", got)
	}
	more()
	n := halt()
	if f.list()[0].now().Runner != before {
		t.Error("the sink that stays has another Runner")
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, files := range [][]string{{"stays.jsonl"}, {"changes.jsonl", "moved.jsonl"}} {
		for i := range files {
			files[i] = filepath.Join(dir, files[i])
		}
		seen := ids(t, files...)
		if len(seen) != int(n) {
			t.Errorf("%v have %d records, %d were given", files, len(seen), n)
		}
		for i, k := range seen {
			if k != 1 {
				t.Fatalf("%v have record %d %d times", files, i, k)
			}
		}
	}
	if a, b := len(ids(t, filepath.Join(dir, "changes.jsonl"))), len(ids(t, filepath.Join(dir, "moved.jsonl"))); a == 0 || b == 0 {
		t.Errorf("%d records before the change, %d after it", a, b)
	}
	for i := range ids(t, filepath.Join(dir, "fresh.jsonl")) {
		if r := flowtest.Sample(i); r.DstNS != "team-07" {
			t.Fatalf("record %d of %s passed the filter", i, r.DstNS)
		}
	}
	for _, l := range book.Snapshot() {
		if a, b, c := l.Diff(); a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 || l.Held.Records != 0 {
			t.Errorf("books: %+v", l)
		}
	}
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}
