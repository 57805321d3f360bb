package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/spool"
)

// lostReloading is the reason for records that came while a sink was changed and were
// more than could be kept for it.
const lostReloading = "reloading"

// keptWhileChanged bounds the records (1.3 kB each) that wait for a sink that is changed.
const keptWhileChanged = 20_000

// fanout gives records to every sink. Sinks come, change and go while it does; those that
// stay as they are notice nothing of it. It is a task of the daemon.
type fanout struct {
	dataDir string
	drain   time.Duration
	log     *slog.Logger
	book    *ledger.Book
	reg     prometheus.Registerer
	birds   *canaries
	written func(sink string, recs []flow.Record, err error) // is told of each write; nil for nobody

	mu      sync.Mutex // of changes
	entries atomic.Pointer[[]*entry]
	ctx     context.Context //nolint:containedctx // of Run, for sinks that come later
	begun   chan struct{}   // closed when all work
	ended   chan error
}

// entry is one place in the fan-out: the Runner behind it may be another after a change.
type entry struct {
	cfg   config.Sink // zero for the history, which no reload touches
	stage *ledger.Stage

	mu      sync.Mutex
	runner  runner
	away    bool          // the Runner is being replaced
	waiting []flow.Record // what came meanwhile

	metrics prometheus.Collector // of the sink itself; may be nil
	stop    context.CancelFunc
	done    chan error
}

func newFanout(cfg *config.Aggregator, log *slog.Logger, book *ledger.Book, reg prometheus.Registerer, birds *canaries) (*fanout, error) {
	f := &fanout{dataDir: cfg.DataDir, drain: cfg.StopTimeout / 3, log: log, book: book, reg: reg, birds: birds, ended: make(chan error, 1), begun: make(chan struct{})}
	list := []*entry{}
	for i := range cfg.Sinks {
		e := &entry{cfg: cfg.Sinks[i]}
		if err := f.open(e, ledger.Amount{}); err != nil {
			return nil, fmt.Errorf("sinks[%d] %s: %w", i, cfg.Sinks[i].Name, err)
		}
		list = append(list, e)
	}
	f.entries.Store(&list)
	return f, nil
}

// add gives a Runner that is no sink of the configuration a place.
func (f *fanout) add(r runner) {
	list := append(f.list(), &entry{runner: r, stage: f.book.Stage("sink/" + r.Name())})
	f.entries.Store(&list)
}

// open makes the sink and its Runner. Held is what the books hold of its spool.
func (f *fanout) open(e *entry, held ledger.Amount) error {
	s := &e.cfg
	sink, err := makeSink(s, f.dataDir, f.log)
	if err != nil {
		return err
	}
	filter, err := makeFilter(&s.Filter)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if c, ok := sink.(prometheus.Collector); ok {
		if err := f.reg.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		e.metrics = c
	}
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.MaxBytes, rc.OnFull, rc.Fsync = filepath.Join(f.dataDir, "spool", s.Name), s.Spool.MaxBytes, spool.Policy(s.Spool.WhenFull), s.Spool.FsyncEvery
	rc.SegmentBytes = min(rc.SegmentBytes, max(1<<20, s.Spool.MaxBytes/4))
	rc.BatchRecords, rc.BatchAge = s.Batch()
	rc.RetryMin, rc.RetryMax, rc.Filter = s.Spool.RetryMin, s.Spool.RetryMax, filter
	e.stage = f.book.Stage("sink/" + s.Name)
	r, err := sinks.NewRunner(rc, sink, sinks.Deps{Logger: f.log, Stage: e.stage, Registerer: f.reg, Clock: time.Now, Tried: f.tried(s.Name), Held: held})
	if err != nil {
		f.forget(e)
		return err
	}
	e.runner = runner{r, f.drain, f.log}
	return nil
}

// tried is told of the writes of a sink.
func (f *fanout) tried(name string) func([]flow.Record, error) {
	birds := f.birds.tried(name)
	return func(recs []flow.Record, err error) {
		birds(recs, err)
		if f.written != nil {
			f.written(name, recs, err)
		}
	}
}

func (f *fanout) forget(e *entry) {
	if e.metrics != nil {
		f.reg.Unregister(e.metrics)
		e.metrics = nil
	}
}

func (f *fanout) list() []*entry {
	if p := f.entries.Load(); p != nil {
		return append([]*entry(nil), *p...)
	}
	return nil
}

// offer gives records to every sink.
func (f *fanout) offer(recs []flow.Record) {
	for _, e := range *f.entries.Load() {
		e.offer(recs)
	}
}

func (e *entry) offer(recs []flow.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.away {
		e.runner.Offer(recs)
		return
	}
	n := min(len(recs), keptWhileChanged-len(e.waiting))
	e.waiting = append(e.waiting, recs[:n]...)
	for i := range recs[n:] {
		a := spool.AmountOf(&recs[n+i])
		e.stage.In(a)
		e.stage.Lost(lostReloading, a)
	}
}

// now is the Runner at this moment.
func (e *entry) now() runner {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.runner
}

func (f *fanout) String() string { return "sinks" }

// Ready is true: a sink whose destination is down keeps its records in its spool.
func (f *fanout) Ready() bool { return true }

// Run delivers until ctx is done, and then, for a while, what is still waiting.
func (f *fanout) Run(ctx context.Context) error {
	f.mu.Lock()
	f.ctx = context.WithoutCancel(ctx)
	for _, e := range f.list() {
		f.start(e) //nolint:contextcheck // a Runner ends when its entry is stopped, after ctx
	}
	close(f.begun)
	f.mu.Unlock()
	var first error
	select {
	case <-ctx.Done():
	case first = <-f.ended:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := []error{first}
	list := f.list()
	for _, e := range list {
		e.stop()
	}
	for _, e := range list {
		errs = append(errs, <-e.done)
	}
	return errors.Join(errs...)
}

// start lets a Runner work; if it ends by itself, so does the process.
func (f *fanout) start(e *entry) {
	ctx, stop := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	e.stop, e.done = stop, done
	r := e.runner
	go func() {
		err := r.Run(ctx)
		if ctx.Err() == nil {
			select {
			case f.ended <- errors.Join(fmt.Errorf("%s ended although nobody asked it to", r), err):
			default:
			}
			err = nil
		}
		done <- err
	}()
}

// reload makes the sinks those of a new configuration: what is new comes, what is gone
// drains and goes, what differs is made again on its spool, and the rest is left alone.
// Where a sink cannot be made, all stay as they are.
func (f *fanout) reload(want []config.Sink) (changes []any, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have := map[string]*entry{}
	for _, e := range f.list() {
		if e.cfg.Name != "" {
			have[e.cfg.Name] = e
		}
	}
	var list, fresh, changed []*entry
	next := map[*entry]config.Sink{}
	for i := range want {
		s := want[i]
		e := have[s.Name]
		delete(have, s.Name)
		switch {
		case e == nil:
			e = &entry{cfg: s}
			fresh = append(fresh, e)
		case !reflect.DeepEqual(e.cfg, s):
			changed, next[e] = append(changed, e), s
		}
		list = append(list, e)
	}
	if err := f.tryAll(fresh, changed, next); err != nil {
		return nil, err
	}
	for _, e := range f.list() {
		if e.cfg.Name == "" {
			list = append(list, e)
		}
	}
	for _, e := range fresh {
		f.start(e)
		changes = append(changes, "added", e.cfg.Name)
	}
	f.entries.Store(&list) // what is gone is offered nothing from here on
	for name, e := range have {
		e.stop()
		err = errors.Join(err, <-e.done)
		e.runner.Forget()
		f.forget(e)
		changes = append(changes, "removed", name)
	}
	for _, e := range changed {
		err = errors.Join(err, f.replace(e, next[e]))
		changes = append(changes, "changed", e.cfg.Name)
	}
	return changes, err
}

// tryAll makes what is new, and tries whether what differs could be made.
func (f *fanout) tryAll(fresh, changed []*entry, next map[*entry]config.Sink) error {
	for _, e := range changed {
		s := next[e]
		if s.Kind == "jsonl" && e.cfg.Kind == "jsonl" {
			continue // it writes to the file as soon as it is made
		}
		sink, err := makeSink(&s, f.dataDir, f.log)
		if err != nil {
			return fmt.Errorf("sink %s: %w", s.Name, err)
		}
		if c, ok := sink.(io.Closer); ok {
			if err := c.Close(); err != nil {
				return fmt.Errorf("sink %s: %w", s.Name, err)
			}
		}
	}
	for i, e := range fresh {
		if err := f.open(e, ledger.Amount{}); err != nil {
			for _, made := range fresh[:i] {
				made.runner.Forget()
				f.forget(made)
				f.start(made) // only a Runner that runs can end
				made.stop()
				if end := <-made.done; end != nil {
					err = errors.Join(err, fmt.Errorf("sink %s, made before it: %w", made.cfg.Name, end))
				}
			}
			return fmt.Errorf("sink %s: %w", e.cfg.Name, err)
		}
	}
	return nil
}

// replace puts another sink on the spool of an entry. Where that fails, the old one goes on.
func (f *fanout) replace(e *entry, s config.Sink) error {
	e.mu.Lock()
	e.away = true
	e.mu.Unlock()
	old := e.cfg
	e.runner.Yield()
	f.forget(e)
	e.stop()
	err := <-e.done
	e.cfg = s
	held := e.runner.Held()
	if openErr := f.open(e, held); openErr != nil {
		err = errors.Join(err, fmt.Errorf("sink %s: %w: it goes on as it was", s.Name, openErr))
		e.cfg = old
		if again := f.open(e, held); again != nil {
			return errors.Join(err, again)
		}
	}
	f.start(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.runner.Offer(e.waiting)
	e.away, e.waiting = false, nil
	return err
}
