// Package aggregator is the loop around the correlator: it spreads records over
// shards by their connection, tells the shards the time, and hands on what they
// emit.
//
// In: batches of decoded records (TakeBatch), from many sessions at once. Out: batches
// of correlated records (Deps.Out) and what is worth showing before they are told
// (Deps.Live, Subscribe). One goroutine owns each shard; the queue before it is
// bounded, and a full one makes Take wait, so that the exporters' connections slow
// down and nothing is dropped. It names no sink and stores nothing.
//
// If we die here, what the queues and the shards held is lost: the ledger's stage
// "correlate" says how much that can be, and the exporters' totals mend the bytes
// of connections that live on.
package aggregator

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/aggregator/correlate"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// Config is the policy of the loop.
type Config struct {
	Correlate correlate.Config // its caps are those of all shards together; Instance 0 draws one
	Shards    int              // goroutines; 0 for one a core
	Queue     int              // batches that may wait before a shard
	Batch     int              // records of a batch, in and out
	Tick      time.Duration    // how often deadlines are looked at
}

// DefaultConfig gives one shard a core and a tick of 100 ms.
func DefaultConfig() Config {
	return Config{Correlate: correlate.DefaultConfig(), Queue: 64, Batch: 128, Tick: 100 * time.Millisecond}
}

// Validate reports the first value that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.Shards < 0 || c.Shards > 1024:
		return fmt.Errorf("aggregator: %d shards: give 0 (one a core) to 1024", c.Shards)
	case c.Queue < 1:
		return errors.New("aggregator: the queue of a shard holds no batch: give 1 or more")
	case c.Batch < 1 || c.Batch > 65536:
		return fmt.Errorf("aggregator: batches of %d records: give 1 to 65536", c.Batch)
	case c.Tick < time.Millisecond:
		return errors.New("aggregator: the tick is shorter than a millisecond: give 1ms or more")
	}
	return c.Correlate.Validate()
}

// Deps are what the loop uses. Only Stage and Out may not be nil.
type Deps struct {
	Stage *ledger.Stage       // "correlate"
	Out   func([]flow.Record) // takes correlated records; called from several shards at once; must not keep them
	Live  func([]flow.Record) // takes the same before, and first sights, for live views; must not wait nor keep them
	// Pending takes exporters' records whose connection was not told at once, with all that it
	// moved since it was told last; nil for nobody. It must not wait nor keep them.
	Pending func([]flow.Record)
	Logger  *slog.Logger
	// Health says what the silence of each node proves, now; nil for nothing. Each
	// shard asks it every second.
	Health func() []correlate.Health
}

// Aggregator is the loop. It is a task of the daemon.
type Aggregator struct {
	cfg    Config
	deps   Deps
	shards []*shard
	pool   sync.Pool // of batches
	lists  sync.Pool // of record numbers
	subs   subscribers

	mu      sync.RWMutex // closed excludes Take
	closed  bool
	running atomic.Bool
	queued  atomic.Uint64 // records in the queues
	refused atomic.Uint64 // records that came after the end
}

// New makes an Aggregator; Run starts it.
func New(cfg Config, deps Deps) (*Aggregator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Stage == nil || deps.Out == nil {
		return nil, errors.New("aggregator: no ledger stage or no output was given")
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	n := cfg.Shards
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	cc := cfg.Correlate
	cc.MaxConnections = max(1, cc.MaxConnections/n)
	cc.MaxIdentities = max(4, cc.MaxIdentities/n)
	if cc.Instance == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("aggregator: draw an instance number: %w", err)
		}
		cc.Instance = binary.LittleEndian.Uint64(b[:])
	}
	a := &Aggregator{cfg: cfg, deps: deps}
	a.pool.New = func() any { return flow.NewBatch(cfg.Batch, func(b *flow.Batch) { a.pool.Put(b) }) }
	a.lists.New = func() any { return new([]uint16) }
	for range n {
		a.shards = append(a.shards, newShard(a, cc))
	}
	deps.Stage.SetHeld(a.Held)
	return a, nil
}

// part is what one shard is to take of a batch: those of idx, or all.
type part struct {
	b   *flow.Batch
	idx *[]uint16
}

// Take copies records into the queues of their shards. It waits while a queue is
// full. Safe for concurrent use.
func (a *Aggregator) Take(recs []flow.Record) {
	for len(recs) > 0 {
		b := a.pool.Get().(*flow.Batch)
		n := min(len(recs), a.cfg.Batch)
		for i := range n {
			b.Append(&recs[i])
		}
		recs = recs[n:]
		a.TakeBatch(b)
	}
}

// TakeBatch is Take without a copy: the batch, of at most 65,536 records, is ours
// until we release it.
func (a *Aggregator) TakeBatch(b *flow.Batch) {
	if len(b.Recs) == 0 {
		b.Release()
		return
	}
	var weight uint64
	for i := range b.Recs {
		weight += correlate.Weight(&b.Recs[i])
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	a.deps.Stage.In(ledger.Amount{Records: weight})
	if a.closed {
		a.refused.Add(weight)
		a.deps.Stage.Lost("stopped", ledger.Amount{Records: weight})
		b.Release()
		return
	}
	a.queued.Add(weight)
	if len(a.shards) == 1 {
		a.shards[0].in <- part{b: b}
		return
	}
	a.scatter(b)
}

// scatter gives each shard the numbers of its records. They share the batch.
func (a *Aggregator) scatter(b *flow.Batch) {
	var small [16]*[]uint16
	open := small[:]
	if len(a.shards) > len(small) {
		open = make([]*[]uint16, len(a.shards))
	}
	readers := 0
	for i := range b.Recs {
		k := int(uint64(correlate.Shard(&b.Recs[i])) * uint64(len(a.shards)) >> 32)
		if open[k] == nil {
			open[k] = a.lists.Get().(*[]uint16)
			*open[k] = (*open[k])[:0]
			readers++
		}
		*open[k] = append(*open[k], uint16(i))
	}
	b.Share(readers)
	for k, idx := range open {
		if idx != nil {
			a.shards[k].in <- part{b, idx}
		}
	}
}

// Run works until ctx is done; stop the producers first. It then takes in what
// the queues hold, tells everything that the shards hold, and returns.
func (a *Aggregator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range a.shards {
		wg.Go(s.run)
	}
	a.running.Store(true)
	<-ctx.Done()
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	for _, s := range a.shards {
		close(s.in)
	}
	wg.Wait()
	a.running.Store(false)
	a.subs.closeAll()
	return nil
}

// Ready reports whether records are taken.
func (a *Aggregator) Ready() bool { return a.running.Load() }

// String is the task's name.
func (a *Aggregator) String() string { return "correlate" }

// Held is what came in and was not handed on yet.
func (a *Aggregator) Held() ledger.Amount {
	h := ledger.Amount{Records: a.queued.Load()}
	for _, s := range a.shards {
		h = h.Plus(ledger.Amount{Records: s.held[0].Load(), Connections: s.held[1].Load(), Bytes: s.held[2].Load()})
	}
	return h
}
