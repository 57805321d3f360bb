package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks/spool"
)

// LostRejected is the reason for records that the destination will never take.
const LostRejected = "rejected"

// Deps are what a Runner uses. Only Stage may not be nil.
type Deps struct {
	Logger     *slog.Logger
	Stage      *ledger.Stage // "sink/<name>"
	Registerer prometheus.Registerer
	Clock      func() time.Time
	// Held is what this process's books hold of the spool already, as a Runner before this
	// one took it in and did not deliver it.
	Held ledger.Amount
	// Tried is told of each write and what came of it; nil for nobody. It must not keep
	// the records.
	Tried func(recs []flow.Record, err error)
}

// Runner feeds one sink from a spool of its own. Offer may be called from any
// goroutine and never waits for the sink; Run does the rest.
type Runner struct {
	cfg   RunnerConfig
	sink  Sink
	pos   Resumer // nil unless the sink stores positions
	keep  Keeper  // nil unless it also stores many batches at once
	sp    *spool.Spool
	log   *slog.Logger
	stage *ledger.Stage
	now   func() time.Time
	tried func([]flow.Record, error)
	reg   prometheus.Registerer
	brief atomic.Bool   // Run is to end without storing
	hurry chan struct{} // Drain waits: deliver what there is
	wants atomic.Int32  // how many Drains wait
	m     metrics

	// Profiles tell by labels whose work it is: sink, and part, of which offer and write are
	// the spool's and deliver is reading it and the sink itself.
	offering, unlabelled context.Context //nolint:containedctx // hold the labels of Offer, which has no context

	taking  sync.RWMutex  // held for reading from an Append until it is booked
	behind  []written     // taken by the Keeper and not stored; the loop's own
	rest    []flow.Record // read and kept for the next batch; the loop's own
	restPos uint64
}

// written is a batch that a Keeper has in memory.
type written struct {
	end      uint64 // position behind it
	amt, out ledger.Amount
}

// NewRunner opens the sink's spool. What the process before left in it is booked as In
// (and in the metric recovered) and delivered first.
func NewRunner(cfg RunnerConfig, sink Sink, deps Deps) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sink %s: %w", sink.Name(), err)
	}
	r := &Runner{cfg: cfg, sink: sink, log: deps.Logger, stage: deps.Stage, now: deps.Clock, tried: deps.Tried, hurry: make(chan struct{}, 1)}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("sink", sink.Name())
	if r.now == nil {
		r.now = time.Now
	}
	r.unlabelled = context.Background()
	r.offering = pprof.WithLabels(r.unlabelled, r.labels("offer"))
	r.pos, _ = sink.(Resumer)
	r.keep, _ = sink.(Keeper)
	lost := func(reason string, a ledger.Amount) {
		r.m.lost.add(reason, a)
		r.stage.Lost(reason, a)
	}
	sp, err := spool.Open(cfg.spool(), spool.Deps{Logger: r.log, Lost: lost})
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", sink.Name(), err)
	}
	r.sp = sp
	found := sp.Recovered()
	if err := r.resume(); err != nil {
		return nil, errors.Join(fmt.Errorf("sink %s: %w", sink.Name(), err), sp.Close())
	}
	rec := sp.Recovered()
	r.m.recovered = rec.Records
	r.stage.In(found.Minus(deps.Held))
	// A sink that had stored less than was booked gets those records again.
	r.stage.In(rec.Minus(found))
	// What the process before had stored and had no time to book.
	if landed := found.Minus(rec); landed.Records > 0 {
		r.stage.Out(landed)
	}
	r.stage.SetHeld(r.bookedHeld)
	if rec.Records > 0 {
		r.log.Info("spool holds records of an earlier process", "records", rec.Records, "connections", rec.Connections)
	}
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(&collector{r}); err != nil {
			return nil, errors.Join(fmt.Errorf("sink %s: metrics: %w", sink.Name(), err), sp.Close())
		}
		r.reg = deps.Registerer
	}
	return r, nil
}

// resume asks a sink that stores positions where to go on.
func (r *Runner) resume() error {
	if r.pos == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.WriteTimeout)
	defer cancel()
	pos, ok, err := r.pos.Resume(ctx, r.sp.ID())
	if err != nil {
		return fmt.Errorf("ask for its position: %w", err)
	}
	if !ok {
		return nil
	}
	return r.sp.SkipTo(pos)
}

func (r *Runner) labels(part string) pprof.LabelSet {
	return pprof.Labels("sink", r.sink.Name(), "part", part)
}

// Name is the sink's name.
func (r *Runner) Name() string { return r.sink.Name() }

// Held is what came in and is neither delivered nor lost.
func (r *Runner) Held() ledger.Amount { return r.sp.Held() }

// Position is the number of records that the spool ever wrote: where a source that
// can repeat itself goes on after a crash.
func (r *Runner) Position() uint64 { return r.sp.End() }

// Flush waits until everything offered before is on the disk.
func (r *Runner) Flush(ctx context.Context) error { return r.sp.Flush(ctx) }

// Filtered says whether the sink has a filter that leaves records out.
func (r *Runner) Filtered() bool { return r.cfg.Filter != nil }

// Offer gives records to the sink. It packs them into memory and returns; what does not
// fit is booked as lost. The records are not kept. The goroutine's labels for profiles
// are gone afterwards.
func (r *Runner) Offer(recs []flow.Record) {
	pprof.SetGoroutineLabels(r.offering)
	defer pprof.SetGoroutineLabels(r.unlabelled)
	if r.cfg.Filter == nil {
		r.take(recs)
		return
	}
	// Runs of wanted records go in together, so that nothing is copied.
	start := -1
	for i := range recs {
		switch want := r.cfg.Filter(&recs[i]); {
		case want && start < 0:
			start = i
		case !want && start >= 0:
			r.take(recs[start:i])
			start = -1
		}
		if start < 0 {
			r.m.filtered.Add(1)
		}
	}
	if start >= 0 {
		r.take(recs[start:])
	}
}

func (r *Runner) take(recs []flow.Record) {
	r.taking.RLock()
	defer r.taking.RUnlock()
	a := r.sp.Append(recs)
	r.m.in.Add(a.Records)
	r.stage.In(a)
}

// bookedHeld is Held without what is appended at this moment and not booked as In yet.
func (r *Runner) bookedHeld() ledger.Amount {
	r.taking.Lock()
	defer r.taking.Unlock()
	return r.sp.Held()
}

// Run delivers until ctx ends. It then writes what is packed to the disk, so that the next
// process finds it, closes the sink if it is an io.Closer, and returns.
func (r *Runner) Run(ctx context.Context) (err error) {
	pprof.Do(ctx, r.labels("deliver"), func(ctx context.Context) { err = r.run(ctx) })
	return err
}

func (r *Runner) run(ctx context.Context) error {
	wctx, stopWriter := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go pprof.Do(wctx, r.labels("write"), func(ctx context.Context) { ended <- r.sp.Run(ctx) })
	r.deliver(ctx)
	stopWriter()
	err := <-ended
	if r.keep != nil && !r.brief.Load() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.WriteTimeout)
		err = errors.Join(err, r.keep.Store(sctx)) // if it fails, the spool has the records
		cancel()
		r.settle()
	}
	if c, ok := r.sink.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	if err = errors.Join(err, r.sp.Close()); err != nil {
		return fmt.Errorf("sink %s: %w", r.sink.Name(), err)
	}
	return nil
}

// Yield says that another Runner follows on the same spool: Run then ends at once, and
// what a Keeper has in memory is read again. The metrics are given up.
func (r *Runner) Yield() {
	r.brief.Store(true)
	r.Forget()
}

// Yields says whether another Runner follows.
func (r *Runner) Yields() bool { return r.brief.Load() }

// Forget gives up the metrics, as the sink does not come again.
func (r *Runner) Forget() {
	if r.reg != nil {
		r.reg.Unregister(&collector{r})
	}
}

// Drain waits until everything offered before is delivered or lost. Run must be running.
func (r *Runner) Drain(ctx context.Context) error {
	r.wants.Add(1)
	defer r.wants.Add(-1)
	if err := r.sp.Flush(ctx); err != nil {
		return err
	}
	target := r.sp.End()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if r.sp.Committed() >= target || r.sp.Held() == (ledger.Amount{}) {
			return nil
		}
		select {
		case r.hurry <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sink %s: drain: %w with %d records held", r.sink.Name(), ctx.Err(), r.sp.Held().Records)
		case <-tick.C:
		}
	}
}

// deliver is the loop: fill a batch, write it until it is taken, commit.
func (r *Runner) deliver(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var batch []flow.Record
	for ctx.Err() == nil {
		var pos uint64
		batch, pos = r.fill(ctx, batch[:0], tick.C)
		if len(batch) == 0 {
			continue
		}
		if !r.write(ctx, pos, batch) {
			return
		}
		clear(batch) // let go of strings
	}
}

// fill reads until the batch is full or old enough. Its records follow each other in
// position, so that a position and a number say which they are.
func (r *Runner) fill(ctx context.Context, batch []flow.Record, tick <-chan time.Time) (_ []flow.Record, pos uint64) {
	var old <-chan time.Time
	if len(r.rest) > 0 {
		batch, pos = append(batch, r.rest...), r.restPos
		r.rest = r.rest[:0]
		old = time.After(r.cfg.BatchAge)
	}
	for len(batch) < r.cfg.BatchRecords {
		n := len(batch)
		more, at, err := r.sp.Read(batch)
		if err != nil {
			r.log.Error("spool read failed", "error", err)
		}
		batch = more
		if len(batch) > n {
			if n == 0 {
				pos = at
				timer := time.NewTimer(r.cfg.BatchAge)
				defer timer.Stop()
				old = timer.C
			} else if at != pos+uint64(n) {
				// Something between was lost; what comes behind it is the next batch.
				r.rest, r.restPos = append(r.rest, batch[n:]...), at
				return batch[:n], pos
			}
			continue
		}
		if n > 0 && r.wants.Load() > 0 {
			return batch, pos
		}
		select {
		case <-ctx.Done():
			return nil, 0
		case <-old:
			return batch, pos
		case <-r.sp.Ready():
		case <-r.hurry:
			r.store(ctx)
		case <-tick:
			r.tick(ctx)
			r.settle()
		}
	}
	return batch, pos
}

// store makes a Keeper put on the disk what a Drain waits for.
func (r *Runner) store(ctx context.Context) {
	if r.keep == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.WriteTimeout)
	defer cancel()
	if err := r.keep.Store(ctx); err != nil {
		r.m.failures.Add(1)
		r.log.Warn("sink failed to store what it holds", "error", err)
	}
	r.settle()
}

// settle books and commits what a Keeper has stored since the last time.
func (r *Runner) settle() {
	if r.keep == nil {
		return
	}
	stored := r.keep.Stored()
	n := 0
	var amt, out ledger.Amount
	for n < len(r.behind) && r.behind[n].end <= stored {
		amt, out = amt.Plus(r.behind[n].amt), out.Plus(r.behind[n].out)
		n++
	}
	if n == 0 {
		return
	}
	end := r.behind[n-1].end
	r.behind = append(r.behind[:0], r.behind[n:]...)
	r.m.out.Add(out.Records)
	r.stage.Out(out)
	r.commit(end, amt)
}

func (r *Runner) tick(ctx context.Context) {
	t, ok := r.sink.(Ticker)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.WriteTimeout)
	defer cancel()
	if err := t.Tick(ctx, r.now()); err != nil {
		r.m.failures.Add(1)
		r.log.Warn("sink failed at its own work", "error", err)
	}
}

// write tries until the sink takes the batch; false when ctx ended first.
func (r *Runner) write(ctx context.Context, pos uint64, batch []flow.Record) bool {
	var amt ledger.Amount
	for i := range batch {
		amt = amt.Plus(spool.AmountOf(&batch[i]))
	}
	pause := r.cfg.RetryMin
	for try := 0; ; try++ {
		err := r.writeOnce(ctx, pos, batch)
		if r.tried != nil {
			r.tried(batch, err)
		}
		if un, ok := errors.AsType[*Undelivered](err); ok {
			r.m.lost.add(un.Reason, un.Amount)
			r.stage.Lost(un.Reason, un.Amount)
			r.done(pos, batch, amt, un.Amount)
			return true
		}
		if err == nil {
			r.done(pos, batch, amt, ledger.Amount{})
			return true
		}
		if isRejection(err) {
			r.log.Error("sink refused a batch for good, it is lost", "records", len(batch), "error", err)
			r.m.lost.add(LostRejected, amt)
			r.stage.Lost(LostRejected, amt)
			if r.keep != nil {
				r.behind = append(r.behind, written{end: pos + uint64(len(batch)), amt: amt})
				return true
			}
			r.commit(pos+uint64(len(batch)), amt)
			return true
		}
		r.m.failures.Add(1)
		if ctx.Err() != nil {
			return false
		}
		if try&(try+1) == 0 { // 0, 1, 3, 7, ...: what keeps it from working may be another thing now
			r.log.Warn("sink failed, trying again", "records", len(batch), "tries", try+1, "error", err)
		}
		r.m.failing.Store(true)
		// Full jitter on the upper half: pauses grow, and instances do not march in step.
		wait := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
			wait.Stop()
			return false
		case <-wait.C:
		}
		pause = min(2*pause, r.cfg.RetryMax)
	}
}

func (r *Runner) writeOnce(ctx context.Context, pos uint64, batch []flow.Record) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.WriteTimeout)
	defer cancel()
	start := r.now()
	defer func() { r.m.nanos.Add(uint64(max(0, r.now().Sub(start)))) }()
	if r.pos != nil {
		return r.pos.WriteAt(ctx, pos, batch)
	}
	return r.sink.Write(ctx, batch)
}

func (r *Runner) done(pos uint64, batch []flow.Record, amt, lost ledger.Amount) {
	if r.m.failing.Swap(false) {
		r.log.Info("sink works again", "held", r.sp.Held().Records)
	}
	out := ledger.Amount{Records: amt.Records - lost.Records, Connections: amt.Connections - lost.Connections, Bytes: amt.Bytes - lost.Bytes}
	r.m.batches.Add(1)
	if r.keep != nil {
		r.behind = append(r.behind, written{end: pos + uint64(len(batch)), amt: amt, out: out})
		r.settle()
		return
	}
	r.m.out.Add(out.Records)
	r.stage.Out(out)
	r.commit(pos+uint64(len(batch)), amt)
}

// commit stores the cursor. If that fails the sink still has the records: at worst they
// come again after a crash.
func (r *Runner) commit(pos uint64, amt ledger.Amount) {
	if err := r.sp.Commit(pos, amt, r.pos == nil); err != nil {
		r.m.cursorErrors.Add(1)
		r.log.Error("cursor not stored, records may come again after a crash", "error", err)
	}
}
