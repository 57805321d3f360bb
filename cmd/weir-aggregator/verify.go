package main

import (
	"context"
	"sync"
	"time"

	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/obs"
)

const judgeEvery = time.Second

// verify judges the canaries that the agents open by themselves.
type verify struct {
	birds *canaries
	sinks *fanout
	col   collector
	mu    sync.Mutex
	watch *canary.Watch
}

func newVerify(birds *canaries, sinks *fanout, col collector) *verify {
	return &verify{birds: birds, sinks: sinks, col: col, watch: canary.NewWatch(time.Now().UnixMilli())}
}

func (v *verify) String() string { return "verify" }
func (v *verify) Ready() bool    { return true }

// Run judges until ctx is done.
func (v *verify) Run(ctx context.Context) error {
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			v.step(now)
		}
	}
}

func (v *verify) step(now time.Time) {
	var told []canary.Told
	for _, f := range v.col.FactsWhere(now, canary.IsFact) {
		run, ok, err := canary.FromFacts(f.Rows)
		if ok {
			told = append(told, canary.Told{Node: f.Observer, Instance: f.Instance, HeardMs: f.Heard.UnixMilli(), Run: run, Err: err})
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watch.Step(now.UnixMilli(), told, func(keys []string) canary.View { return v.birds.with(v.sinks, v.birds.Get(keys)) })
}

func (v *verify) list() []canary.NodeRuns {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.watch.List()
}

func (v *verify) metrics() []obs.Metric {
	each := func(f func(emit func(float64, ...string), n *canary.NodeRuns)) func(func(float64, ...string)) {
		return func(emit func(float64, ...string)) {
			list := v.list()
			for i := range list {
				f(emit, &list[i])
			}
		}
	}
	type emit = func(float64, ...string)
	return []obs.Metric{
		{
			Name: "weir_verify_runs_total", Kind: obs.Counter, Labels: []string{"node", "result"},
			Help: "Runs of each node's own probe that were judged: ok, failed where a hop did not book every canary exactly, overdue where none came.",
			Read: each(func(e emit, n *canary.NodeRuns) {
				e(float64(n.Runs.OK), n.Node, "ok")
				e(float64(n.Runs.Failed), n.Node, "failed")
				e(float64(n.Runs.Overdue), n.Node, "overdue")
			}),
		},
		{
			Name: "weir_verify_last_success_timestamp_seconds", Kind: obs.Gauge, Labels: []string{"node"},
			Help: "When a run of the node's probe was found right last; absent where none was since the start.",
			Read: each(func(e emit, n *canary.NodeRuns) {
				if n.LastOKMs > 0 {
					e(float64(n.LastOKMs)/1000, n.Node)
				}
			}),
		},
		{
			Name: "weir_verify_failed_hop", Kind: obs.Gauge, Labels: []string{"node", "hop"},
			Help: "1 for the hop at which the newest judged run of the node's probe is broken; absent where all is well.",
			Read: each(func(e emit, n *canary.NodeRuns) {
				if n.Verdict != nil && n.Verdict.Broken != "" {
					e(1, n.Node, n.Verdict.Broken)
				}
			}),
		},
		{
			Name: "weir_verify_interval_seconds", Kind: obs.Gauge, Labels: []string{"node"},
			Help: "Time between two runs of the node's own probe; absent where it has none.",
			Read: each(func(e emit, n *canary.NodeRuns) { e(float64(n.IntervalMs)/1000, n.Node) }),
		},
	}
}
