// Package sinktest holds every sink to the same: what goes in comes out once and in
// order, whatever fails, is killed or is closed on the way, and the books say so.
//
// In: a Target, which makes a sink over a destination and reads back what the destination
// has. Out: failures of the test. It is for tests only; TestMain of a package that uses
// it calls Main, as the sink that is killed runs in a process of its own.
package sinktest

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/remote"
)

// Target is one kind of sink over one destination. Each subtest gets its own.
type Target struct {
	// Address is what Make needs, in this process or in another, to reach the destination.
	Address string
	// Dir is the directory of the spool and of whatever the sink keeps.
	Dir string
	// Stored gives the numbers of the samples that the destination has, those of one
	// connection in its order; nil for a destination that only counts.
	Stored func(t *testing.T) []uint64
	// Count gives how many connections the destination counted, where Stored is nil.
	Count func(t *testing.T) uint64
}

// Kind is what is said of a kind of sink.
type Kind struct {
	// Make makes the sink, as the aggregator would at each start.
	Make func(address, dir string) (sinks.Sink, error)
	// New makes an empty destination.
	New func(t *testing.T) Target
	// Batch is how many records a write has; 0 for 500.
	Batch int

	// AgainAfterKill says that records may come again after a kill, at most a batch for each;
	// AgainAfterFailure, that they may after any write that failed.
	AgainAfterKill, AgainAfterFailure bool
	// Volatile says that the destination is in the sink's process and dies with it.
	Volatile bool
	// Poison makes a sample one that the destination can never take, and names the reason
	// in the books; nil where it takes everything.
	Poison func(r *flow.Record) (reason string)
	// Unreachable makes a sink whose destination never answers; nil where it is a file or
	// this process.
	Unreachable func(t *testing.T) sinks.Sink
	// Mutual makes a sink over a new destination, behind a server that takes only clients
	// with a certificate: it calls front.To. Nil where there is no server.
	Mutual func(t *testing.T, front *testenv.Front, client remote.TLS) (Target, sinks.Sink)
}

// Run holds a kind to everything.
func Run(t *testing.T, k Kind) {
	t.Helper()
	if k.Batch == 0 {
		k.Batch = 500
	}
	t.Run("order", k.order)
	t.Run("retry", k.retry)
	t.Run("filters", k.filters)
	if k.Unreachable != nil {
		t.Run("cancel", k.cancel)
	}
	if k.Poison != nil {
		t.Run("poison", k.poison)
	}
	if k.Mutual != nil {
		t.Run("certificates", k.certificates)
	}
	if !k.Volatile {
		t.Run("close", k.close)
		t.Run("kill", k.kill)
	}
}

// connections is how many a run of samples belongs to, so that each has many records.
const connections = 97

// Sample gives record n of the suite: one of few connections.
func Sample(n uint64) flow.Record {
	r := flowtest.Sample(n)
	r.SetConnID(n % connections)
	r.SetSrcPort(uint16(1024 + n%connections))
	r.SetSeq(uint32(n / connections))
	r.SetStart(flowtest.HistoryStart + int64(n)*msPerSample)
	r.SetEnd(r.Start + 50)
	r.SetFirst(true) // counted each, for sinks that only count
	r.SetEgressName(numberPrefix + strconv.FormatUint(n, 10))
	return r
}

// msPerSample spreads some ten thousand samples over hours, for sinks that part them.
const msPerSample = 300

const numberPrefix = "number-"

// Number gives back n from a Sample's egress.name, which even the smallest format has.
func Number(t *testing.T, egressName string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(egressName, numberPrefix), 10, 64)
	if err != nil {
		t.Fatalf("egress.name %q is no sample's: %v", egressName, err)
	}
	return n
}

// Samples gives n records from the first on.
func Samples(from, n int) []flow.Record {
	recs := make([]flow.Record, n)
	for i := range recs {
		recs[i] = Sample(uint64(from + i))
	}
	return recs
}

// run is a Runner at work.
type run struct {
	*sinks.Runner
	book *ledger.Book
	stop func() error // ends it as the aggregator does
}

func (k *Kind) config(dir string) sinks.RunnerConfig {
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.MaxBytes, rc.BatchRecords, rc.BatchAge = filepath.Join(dir, "spool"), 8<<30, k.Batch, 50*time.Millisecond
	rc.RetryMin, rc.RetryMax = 20*time.Millisecond, 300*time.Millisecond
	return rc
}

func (k *Kind) sink(t *testing.T, g Target) sinks.Sink {
	t.Helper()
	s, err := k.Make(g.Address, g.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, rc sinks.RunnerConfig, s sinks.Sink) run {
	t.Helper()
	book := ledger.NewBook()
	r, err := sinks.NewRunner(rc, s, sinks.Deps{Stage: book.Stage("sink")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	ended := false
	stop := func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(2 * time.Minute):
			return errors.New("the Runner did not end in two minutes")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return run{r, book, stop}
}

// offer gives samples in steps.
func (r *run) offer(from, n int) {
	const step = 250
	for i := 0; i < n; i += step {
		r.Offer(Samples(from+i, min(step, n-i)))
	}
}

func (r *run) drain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := r.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

// balanced checks the books: in is what came, and each is out or lost for the reason.
func (r *run) balanced(t *testing.T, in int, lost map[string]uint64) {
	t.Helper()
	checkBooks(t, r.book.Snapshot(), in, lost)
}

func checkBooks(t *testing.T, books []ledger.Line, in int, lost map[string]uint64) {
	t.Helper()
	if len(books) != 1 {
		t.Fatalf("books of %d sinks", len(books))
	}
	l := &books[0]
	out := uint64(in)
	for reason, n := range lost {
		out -= n
		if l.Lost[reason].Records != n {
			t.Errorf("%d records are lost as %s, want %d: %+v", l.Lost[reason].Records, reason, n, l)
		}
	}
	if len(l.Lost) != len(lost) {
		t.Errorf("lost: %+v, want %v", l.Lost, lost)
	}
	if a, b, c := l.Diff(); a != 0 || b != 0 || c != 0 || l.Held.Records != 0 || l.In.Records != uint64(in) || l.Out.Records != out {
		t.Errorf("books do not balance: %+v, want in %d, out %d", l, in, out)
	}
}

// has checks what the destination has: each number of want, in order within its
// connection, and at most again of them more than once.
func (g *Target) has(t *testing.T, want func(n uint64) bool, total, again int) {
	t.Helper()
	expect := 0
	for n := range uint64(total) {
		if want(n) {
			expect++
		}
	}
	if g.Stored == nil {
		if got := g.Count(t); got != uint64(expect) {
			t.Errorf("the destination counted %d connections, the ledger has %d", got, expect)
		}
		return
	}
	seen := make([]int, total)
	last := map[uint64]uint64{}
	twice := 0
	for _, n := range g.Stored(t) {
		if n >= uint64(total) || !want(n) {
			t.Fatalf("record %d is there and should not be", n)
		}
		if seen[n]++; seen[n] > 1 {
			twice++
			continue
		}
		if p, ok := last[n%connections]; ok && p > n {
			t.Fatalf("record %d of connection %d comes behind %d", n, n%connections, p)
		}
		last[n%connections] = n
	}
	for n, times := range seen {
		if want(uint64(n)) && times == 0 {
			t.Fatalf("record %d is missing (%d are there, %d are due)", n, total-slices.Index(seen, 0), expect)
		}
	}
	if twice > again {
		t.Errorf("%d records are there twice, at most %d may be", twice, again)
	}
	if twice > 0 {
		t.Logf("%d records are there twice", twice)
	}
}

func all(uint64) bool { return true }

// order: records arrive once, those of a connection in order, and the counts are the books'.
func (k *Kind) order(t *testing.T) {
	g := k.New(t)
	const n = 5000
	r := start(t, k.config(g.Dir), k.sink(t, g))
	r.offer(0, n)
	r.drain(t)
	g.has(t, all, n, 0)
	r.balanced(t, n, nil)
}

// retry: writes that fail, or whose time runs out while the destination may have taken
// them, are tried again, and nothing comes twice while the process lives.
func (k *Kind) retry(t *testing.T) {
	g := k.New(t)
	const n = 8000
	var off atomic.Bool
	r := start(t, k.config(g.Dir), makeFlaky(k.sink(t, g), &off))
	r.offer(0, n)
	r.drain(t)
	off.Store(true) // the end is not to fail
	again := 0
	if k.AgainAfterFailure {
		again = n
	}
	g.has(t, all, n, again)
	r.balanced(t, n, nil)
}

// cancel: a write ends soon after its context, also where nobody answers.
func (k *Kind) cancel(t *testing.T) {
	s := k.Unreachable(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var err error
		switch s := s.(type) {
		case sinks.Keeper:
			if _, _, err = s.Resume(ctx, "spool"); err == nil {
				if err = s.WriteAt(ctx, 0, Samples(0, 100)); err == nil {
					err = s.Store(ctx)
				}
			}
		case sinks.Resumer:
			if _, _, err = s.Resume(ctx, "spool"); err == nil {
				err = s.WriteAt(ctx, 0, Samples(0, 100))
			}
		default:
			err = s.Write(ctx, Samples(0, 100))
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error from a destination that never answers")
		}
	case <-time.After(time.Minute):
		t.Error("the write did not end with its context")
	}
	if err := closeSink(s); err != nil {
		t.Error(err)
	}
}

// close: what is not delivered when the Runner ends is delivered by the next one.
func (k *Kind) close(t *testing.T) {
	g := k.New(t)
	const n = 6000
	r := start(t, k.config(g.Dir), k.sink(t, g))
	r.offer(0, n/2)
	if err := r.stop(); err != nil { // at once: most are in the spool
		t.Fatal(err)
	}
	first := r.book.Snapshot()[0]
	r = start(t, k.config(g.Dir), k.sink(t, g))
	r.offer(n/2, n/2)
	r.drain(t)
	again := 0
	if k.AgainAfterKill {
		again = 2 * k.Batch
	}
	g.has(t, all, n, again)
	second := r.book.Snapshot()[0]
	if got := first.Out.Records + second.Out.Records; got < n || got > uint64(n+again) {
		t.Errorf("out: %d and %d, want %d together", first.Out.Records, second.Out.Records, n)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

// poison: one record that can never be taken is lost with its reason; its batch is not.
func (k *Kind) poison(t *testing.T) {
	g := k.New(t)
	const n, bad = 3000, 1234
	recs := Samples(0, n)
	reason := k.Poison(&recs[bad])
	r := start(t, k.config(g.Dir), k.sink(t, g))
	for i := 0; i < n; i += 500 {
		r.Offer(recs[i : i+500])
	}
	r.drain(t)
	g.has(t, func(i uint64) bool { return i != bad }, n, 0)
	r.balanced(t, n, map[string]uint64{reason: 1})
}

// filters: two instances of the kind at once, each with its own filter, get each their own.
func (k *Kind) filters(t *testing.T) {
	const n = 4000
	want := map[string]func(i uint64) bool{
		"dst.ns = team-03 or dst.ns = team-07": func(i uint64) bool { r := Sample(i); return r.DstNS == "team-03" || r.DstNS == "team-07" },
		"not bytes > 3000":                     func(i uint64) bool { r := Sample(i); return r.Bytes <= 3000 },
	}
	var runs []run
	for text := range want {
		g := k.New(t)
		rc := k.config(g.Dir)
		rc.Filter = predicate(t, text)
		r := start(t, rc, k.sink(t, g))
		runs = append(runs, r)
		defer func() {
			r.drain(t)
			in := 0
			for i := range uint64(n) {
				if want[text](i) {
					in++
				}
			}
			if in == 0 || in == n {
				t.Fatalf("%s takes %d of %d: it tells nothing", text, in, n)
			}
			g.has(t, want[text], n, 0)
			r.balanced(t, in, nil)
		}()
	}
	for i := 0; i < n; i += 500 {
		recs := Samples(i, 500)
		for _, r := range runs {
			r.Offer(recs)
		}
	}
}
