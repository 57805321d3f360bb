package main

import (
	"errors"
	"sync"
	"time"

	"github.com/weirnet/weir/aggregator/collect"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/obs"
	"github.com/weirnet/weir/sinks"
)

const canariesKept = 8192

// canaries notes the probe's connections on their way through the aggregator, and
// what the last write of each sink came to.
type canaries struct {
	*canary.Trail
	mu     sync.Mutex
	failed map[string]string
}

func newCanaries() *canaries {
	return &canaries{Trail: canary.NewTrail(canariesKept), failed: map[string]string{}}
}

// note is the time and the stage of records that pass.
func (c *canaries) note(stage string, recs []flow.Record) {
	c.Records(time.Now().UnixMilli(), stage, recs)
}

// live hands records to the API's live views.
func (c *canaries) live(next func([]flow.Record)) func([]flow.Record) {
	return func(recs []flow.Record) {
		next(recs)
		c.note(canary.StageLive, recs)
	}
}

// out offers correlated records to every sink.
func (c *canaries) out(sinks *fanout) func([]flow.Record) {
	return func(recs []flow.Record) {
		c.note(canary.StageCorrelate, recs)
		sinks.offer(recs)
	}
}

// tried takes what a write of a sink came to. What the sink could not take of a batch
// is in the ledger; the rest is there.
func (c *canaries) tried(name string) func([]flow.Record, error) {
	return func(recs []flow.Record, err error) {
		un := (*sinks.Undelivered)(nil)
		why := ""
		if err == nil || errors.As(err, &un) {
			c.note(canary.SinkPrefix+name, recs)
		} else {
			why = err.Error()
		}
		c.mu.Lock()
		c.failed[name] = why
		c.mu.Unlock()
	}
}

func (c *canaries) view(sinks *fanout) canary.View {
	return c.with(sinks, c.List())
}

// with is the view with some traces.
func (c *canaries) with(sinks *fanout, traces []canary.Trace) canary.View {
	v := canary.View{NowMs: time.Now().UnixMilli(), Traces: traces}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range sinks.list() {
		r := e.now()
		v.Sinks = append(v.Sinks, canary.SinkView{Name: r.Name(), Filtered: r.Filtered(), Error: c.failed[r.Name()], Held: r.Held().Records})
	}
	return v
}

func (c *canaries) metrics() []obs.Metric {
	return []obs.Metric{{
		Name: "weir_canary_connections_total", Kind: obs.Counter, Help: "Connections of the probe that the aggregator saw; they are in all books.",
		Read: obs.Value(func() float64 { return float64(c.Seen()) }),
	}}
}

// take hands what arrives to the correlator.
type take struct {
	birds *canaries
	next  func(*flow.Batch)
}

// HandleBatch implements collect.Handler.
func (t take) HandleBatch(_ *collect.Source, b *flow.Batch) {
	t.birds.note(canary.StageCollect, b.Recs)
	t.next(b)
}
