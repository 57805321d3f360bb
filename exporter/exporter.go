package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/outcome"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/ledger"
)

// Sink takes records. Send must not keep r after it returns, and must not block
// for long: the kernel's events wait meanwhile.
type Sink interface {
	Send(r *flow.Record)
}

// Config of an Exporter.
type Config struct {
	Source conntrack.Source
	Track  track.Config
	Poll   time.Duration // between dumps; 5 s
	// Enrich fills a record from an export (enrich.Enricher.Fill).
	Enrich func(nowMs int64, x *track.Export, r *flow.Record)
	Sink   Sink
	// Canary gets the entries that are the probe's, as the source shows them; nil for none.
	Canary func(nowMs int64, c *track.Conn)
	// Owner names the pod of an address, for the largest owners of the table; nil
	// leaves addresses.
	Owner func(addr [16]byte, nowMs int64) string
	Book  *ledger.Book
	Log   *slog.Logger
	// Clock gives Unix milliseconds and never goes back; nil for SteadyClock.
	Clock func() int64
}

const (
	step      = 100 * time.Millisecond // between looks at what is due
	drainTime = 5 * time.Second
	dumpTime  = 60 * time.Second
	minRest   = 10 // a dump is not begun until so many tenths of the last one's time have passed
)

// Exporter is the loop. Run it once.
type Exporter struct {
	cfg     Config
	tr      *track.Tracker
	rec     flow.Record
	told    track.Stats // what the ledger has been told
	join    *outcome.Joiner
	joined  outcome.Stats // what the ledger has been told of it
	proofs  *ledger.Stage
	inbox   chan []outcome.Observation
	looked  int64 // when the attempts were looked at, ms
	second  int64 // when this second began, ms
	asked   int   // connections that the kernel was asked for in it
	now     int64
	seen    *ledger.Stage
	tracked *ledger.Stage
	gauge   *gauge
	state   atomic.Pointer[State]
	st      State
}

// State is what the metrics and the status page show.
type State struct {
	Track       track.Stats
	Vitals      conntrack.Vitals
	Dumps       uint64
	DumpErrors  uint64
	LastDump    conntrack.DumpStats
	Malformed   uint64
	Interrupted uint64
	Gaps        uint64
	Ready       bool // the first dump was made
	Pressure    pressure.State
	Outcome     outcome.Stats
}

// SteadyClock gives a clock that starts at the present time and goes on evenly,
// whatever is done to the machine's.
func SteadyClock() func() int64 {
	start := time.Now()
	return func() int64 { return start.UnixMilli() + time.Since(start).Milliseconds() }
}

// New makes an exporter.
func New(cfg Config) (*Exporter, error) {
	if cfg.Source == nil || cfg.Enrich == nil || cfg.Sink == nil {
		return nil, errors.New("exporter: Source, Enrich and Sink are needed")
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 5 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = SteadyClock()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Book == nil {
		cfg.Book = ledger.NewBook()
	}
	cfg.Track.Events = cfg.Source.Events() != nil
	e := &Exporter{cfg: cfg, now: cfg.Clock(), seen: cfg.Book.Stage("conntrack"), tracked: cfg.Book.Stage("track"), gauge: newGauge(cfg.Owner)}
	e.tr = track.New(cfg.Track, e.now, e.export)
	e.join = outcome.New(outcome.Config{HoldMs: holdMs(&cfg), Exists: e.asker()}, e.send)
	e.inbox = make(chan []outcome.Observation, 256)
	e.proofs = cfg.Book.Stage("outcome")
	e.proofs.SetHeld(func() ledger.Amount { return ledger.Amount{Records: e.state.Load().Outcome.Held} })
	e.state.Store(&State{})
	e.tracked.SetHeld(func() ledger.Amount {
		s := &e.state.Load().Track
		return ledger.Amount{Connections: s.HeldConnections, Bytes: s.HeldBytes}
	})
	return e, nil
}

// holdMs is how long an observation waits for an export of its connection: until the
// next dump has shown the entry, and the active timeout has run out for it.
func holdMs(cfg *Config) int64 {
	active := cfg.Track.ActiveMs
	if active <= 0 {
		active = 5000
	}
	const more = 2000 // ms; a dump takes its time
	return cfg.Poll.Milliseconds() + active + more
}

// State gives the latest numbers. Safe from any goroutine.
func (e *Exporter) State() State { return *e.state.Load() }

// Run works until ctx ends or the source is over, and then drains.
func (e *Exporter) Run(ctx context.Context) error {
	if err := e.dump(ctx); err != nil && ctx.Err() == nil {
		e.cfg.Source.Stop()
		e.drain()
		return errors.Join(fmt.Errorf("first read of the connections: %w", err), e.cfg.Source.Close())
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	events := e.cfg.Source.Events()
	next := time.Now().Add(e.cfg.Poll)
	for {
		select {
		case <-ctx.Done():
			return e.finish() //nolint:contextcheck // the last dump runs after the context's end
		case b, ok := <-events:
			if !ok {
				return e.finish() //nolint:contextcheck // the last dump runs after the context's end
			}
			if e.batch(b) {
				next = time.Now() // show what is gone
			}
		case list := <-e.inbox:
			e.time()
			e.observe(list)
		case <-tick.C:
			e.time()
			if now := time.Now(); !now.Before(next) {
				if err := e.dump(ctx); err != nil && ctx.Err() == nil {
					e.cfg.Log.Error("connections cannot be read", "error", err)
				}
				next = now.Add(max(e.cfg.Poll, e.st.LastDump.Took*minRest/10))
			}
			e.tr.Expire(e.now)
			e.look()
			e.publish()
		}
	}
}

// look finds what is due of the attempts: soon after it is, while they are few.
func (e *Exporter) look() {
	const few, often, seldom = 1 << 12, 200, 1000 // attempts, ms
	if e.now-e.second >= 1000 {
		e.second, e.asked = e.now, 0
	}
	every := int64(often)
	if e.st.Outcome.Attempts > few {
		every = seldom
	}
	if e.now-e.looked >= every {
		e.looked = e.now
		e.join.Expire(e.now)
	}
}

func (e *Exporter) time() { e.now = e.cfg.Clock() }

// export is what the tracker calls.
func (e *Exporter) export(x *track.Export) {
	e.join.Join(x)
	e.send(x)
}

func (e *Exporter) send(x *track.Export) {
	e.cfg.Enrich(e.now, x, &e.rec)
	e.cfg.Sink.Send(&e.rec)
}

func (e *Exporter) canary(c *track.Conn) {
	if e.cfg.Canary != nil && canary.MayBe(c) {
		e.cfg.Canary(e.now, c)
	}
}

// Observed takes what other sources saw of connections, and keeps the list. Safe from
// any goroutine; where the loop is too busy, it is counted as lost.
func (e *Exporter) Observed(list []outcome.Observation) {
	select {
	case e.inbox <- list:
	default:
		a := ledger.Amount{Records: uint64(len(list))}
		e.proofs.In(a)
		e.proofs.Lost("loop_busy", a)
	}
}

func (e *Exporter) observe(list []outcome.Observation) {
	for i := range list {
		if o := &list[i]; e.join.Observe(e.now, o) {
			e.tr.Renew(e.now, &o.Tuple)
		}
	}
}

// batch applies events and says whether a dump has to show what was missed.
func (e *Exporter) batch(b *conntrack.Batch) bool {
	e.time()
	gap := b.Gap
	if gap {
		e.st.Gaps++
		// How many were in the gap nobody knows: the line says that there is one.
		e.seen.Lost("gap"+ledger.UnknownSize, ledger.Amount{})
		e.cfg.Log.Warn("conntrack events were lost; connections that ended meanwhile are told as of the last read", "why", b.Why)
	}
	for i := range b.Conns {
		e.canary(&b.Conns[i])
		e.tr.Observe(e.now, &b.Conns[i])
	}
	e.cfg.Source.Recycle(b)
	return gap
}

// dump reads all connections. What a complete dump does not have is gone.
func (e *Exporter) dump(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dumpTime)
	defer cancel()
	e.time()
	e.tr.BeginDump(e.now)
	e.gauge.begin(e.now)
	n := 0
	st, err := e.cfg.Source.Dump(ctx, func(c *track.Conn) {
		if n++; n%1024 == 0 {
			e.time()
		}
		e.gauge.conn(c)
		e.canary(c)
		e.tr.Observe(e.now, c)
	})
	e.time()
	e.st.Dumps++
	e.st.LastDump = st
	e.st.Malformed += uint64(st.Malformed)
	e.st.Interrupted += uint64(st.Interrupted)
	if err != nil {
		e.st.DumpErrors++
	} else {
		e.st.Ready = true
		if st.Complete() {
			e.tr.Sweep(e.now)
		}
	}
	e.st.Vitals = e.cfg.Source.Vitals()
	e.st.Pressure = e.gauge.end(e.now, &e.st.Vitals, err == nil)
	e.publish()
	return err
}

// finish drains: what events had arrived, one more dump, all that is pending.
func (e *Exporter) finish() error {
	e.cfg.Source.Stop()
	e.drain()
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err := e.dump(ctx)
	if err != nil {
		err = fmt.Errorf("last read of the connections: %w", err)
	}
	for len(e.inbox) > 0 {
		e.observe(<-e.inbox)
	}
	e.tr.Flush(e.now)
	e.join.Flush(e.now)
	e.publish()
	return errors.Join(err, e.cfg.Source.Close())
}

func (e *Exporter) drain() {
	events := e.cfg.Source.Events()
	if events == nil {
		return
	}
	late := time.After(drainTime)
	for {
		select {
		case b, ok := <-events:
			if !ok {
				return
			}
			e.batch(b)
		case <-late:
			e.seen.Lost("stopped_before_read"+ledger.UnknownSize, ledger.Amount{})
			e.cfg.Log.Warn("events did not end in time at the stop; the rest is lost", "waited", drainTime)
			go func() {
				for range events { // so that the source can end
				}
			}()
			return
		}
	}
}

// account tells the ledger what came in of other sources, and gives what tells it the
// rest, once the state says what is held.
func (e *Exporter) account() (rest func()) {
	s, t := e.join.Stats(), e.joined
	n := func(v uint64) ledger.Amount { return ledger.Amount{Records: v} }
	e.proofs.In(n(s.In - t.In))
	e.st.Outcome, e.joined = s, s
	return func() {
		e.proofs.Out(n(s.Joined + s.Told - t.Joined - t.Told))
		if v := s.NoConnection - t.NoConnection; v > 0 {
			e.proofs.Lost("no_connection", n(v))
		}
		if v := s.Full - t.Full; v > 0 {
			e.proofs.Lost("full", n(v))
		}
	}
}

// publish tells the ledger and the metrics what has changed: first what came in,
// so that the difference is never below zero.
func (e *Exporter) publish() {
	s, t := e.tr.Stats(), &e.told
	in := ledger.Amount{Connections: s.InConnections - t.InConnections, Bytes: s.InBytes - t.InBytes}
	e.seen.In(in)
	e.seen.Out(in)
	out := ledger.Amount{Records: s.OutRecords - t.OutRecords, Connections: s.OutConnections - t.OutConnections, Bytes: s.OutBytes - t.OutBytes}
	in.Records = out.Records // a record comes into being here
	e.tracked.In(in)
	e.st.Track = s
	account := e.account()
	state := e.st
	e.state.Store(&state)
	e.tracked.Out(out)
	account()
	*t = s
}
