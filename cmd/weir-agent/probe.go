package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/sockets"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
	"github.com/weirnet/weir/internal/probe"
)

type lookup interface {
	Lookup(addr [16]byte, proto uint8, port uint16, ms int64) *cluster.Identity
}

// probeTask opens canaries again and again and tells the aggregators of them, who
// judge what arrived. It answers those of other nodes.
type probeTask struct {
	cfg     config.Probe
	netns   string
	ways    *ways
	birds   *canaries
	log     *slog.Logger
	ready   func() bool // the agent reads and sends
	last    atomic.Pointer[canary.Run]
	settled atomic.Pointer[[]coverage.Tried] // of the last run that nothing can come of any more
	opened  atomic.Uint64                    // runs
	failed  atomic.Uint64
}

func newProbe(cfg *config.Agent, log *slog.Logger, birds *canaries, n *names) *probeTask {
	addrs, _ := cfg.Probe.Parsed() // Validate has read them
	peers, external, _ := cfg.Probe.Far()
	w := &ways{
		holders: sockets.NewHolders(cfg.Sockets.Netns), listen: cfg.Probe.Listen, netns: cfg.Conntrack.Netns,
		planner:  probe.Planner{Node: cfg.NodeName, Addresses: addrs, Peers: peers, Namespace: cfg.Probe.Namespace, External: external},
		answerer: probe.Answerer{Log: log},
	}
	w.answerer.Allow = w.allow
	w.planner.NetNS = w.holders.Find
	if n.source != nil {
		w.planner.Cluster, w.index = n.model.Index(), n.model.Index()
	} else {
		w.planner.Namespace = "" // nobody knows its pods
	}
	birds.external = external
	return &probeTask{cfg: cfg.Probe, netns: cfg.Conntrack.Netns, ways: w, birds: birds, log: log}
}

func (t *probeTask) String() string { return "probe" }

// Ready is true from the start: a probe that cannot run is a finding.
func (t *probeTask) Ready() bool { return true }

// Run opens canaries until ctx is done.
func (t *probeTask) Run(ctx context.Context) error {
	if t.cfg.Interval == 0 {
		<-ctx.Done()
		return nil
	}
	answered := make(chan struct{})
	go func() { defer close(answered); t.ways.answer(ctx) }()
	defer func() { <-answered }()
	// A run that begins before the agent reads and sends would say what is known.
	late := time.After(t.cfg.Wait)
	for waiting := true; waiting && !t.ready(); {
		select {
		case <-ctx.Done():
			return nil
		case <-late:
			waiting = false
		case <-time.After(100 * time.Millisecond):
		}
	}
	for {
		t.once(ctx)
		// A twentieth to and fro, so that the nodes of a cluster do not run at once.
		pause := time.Duration((0.95 + 0.1*rand.Float64()) * float64(t.cfg.Interval))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (t *probeTask) once(ctx context.Context) {
	t.tried(true)
	run := &canary.Run{BeganMs: time.Now().UnixMilli()}
	sent, skipped, err := probe.Open(ctx, probe.Options{NetNS: t.netns, Addresses: t.ways.addresses(), Plan: t.ways.plan(true)})
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		run.Failed = err.Error()
		t.failed.Add(1)
		t.log.Warn("canaries cannot be opened", "error", err)
	default:
		t.opened.Add(1)
	}
	run.Sent, run.Skipped = sent, skipped
	t.last.Store(run)
}

// run is the last one with what the agent has of it by now; nil where there is none.
func (t *probeTask) run() *canary.Run {
	last := t.last.Load()
	if last == nil {
		return nil
	}
	run := *last
	run.WaitMs, run.Agent.NowMs = t.cfg.Wait.Milliseconds(), t.birds.clock()
	keys := make([]string, len(run.Sent))
	for i := range run.Sent {
		keys[i] = run.Sent[i].Key
	}
	run.Agent.Traces = t.birds.Get(keys)
	return &run
}

// tried is what the newest run shows that nothing can come of any more; with over, the
// last one is such.
func (t *probeTask) tried(over bool) []coverage.Tried {
	if run := t.run(); run != nil {
		list, pending := run.Tried(time.Now().UnixMilli())
		if run.Failed != "" {
			for _, family := range []string{"v4", "v6"} {
				list = append(list, coverage.Tried{Class: "host", Family: family, Canary: coverage.CanarySkipped, Why: run.Failed})
			}
		}
		if !pending || over {
			if now := time.Now().UnixMilli(); now-run.BeganMs < t.kept() {
				t.settled.Store(&list)
			}
		}
	}
	if s := t.settled.Load(); s != nil {
		return *s
	}
	return nil
}

// kept is for how long the trail has a run's canaries for sure, ms: others pass too.
func (t *probeTask) kept() int64 { return (t.cfg.Wait + tellFor).Milliseconds() }

// tellFor is how long after a run's wait its canaries are told.
const tellFor = time.Minute

// facts is what one aggregator is told.
func (t *probeTask) facts(aggregator string) []ipfix.FactRow {
	if t.cfg.Interval == 0 {
		return nil
	}
	run := t.run()
	if run == nil {
		run = &canary.Run{Agent: canary.View{NowMs: t.birds.clock()}}
	}
	run.IntervalMs, run.WaitMs = t.cfg.Interval.Milliseconds(), t.cfg.Wait.Milliseconds()
	now := time.Now().UnixMilli()
	rows, err := run.Facts(now, aggregator, now-run.BeganMs < t.kept())
	if err != nil {
		t.log.Error("canaries cannot be told", "error", err)
	}
	return rows
}

func (t *probeTask) metrics() []obs.Metric {
	return []obs.Metric{
		{
			Name: "weir_probe_runs_total", Kind: obs.Counter, Labels: []string{"result"},
			Help: "Runs of the agent's own probe: opened, or failed where a canary could not be; the aggregator judges the opened ones (weir_verify_*).",
			Read: func(emit func(float64, ...string)) {
				emit(float64(t.opened.Load()), "opened")
				emit(float64(t.failed.Load()), "failed")
			},
		},
		{
			Name: "weir_probe_answered_total", Kind: obs.Counter, Labels: []string{"result"},
			Help: "Canaries of other nodes that came here: answered, denied to who is neither a node nor a canary pod, or limited where too many came.",
			Read: func(emit func(float64, ...string)) {
				a := &t.ways.answerer
				emit(float64(a.Served.Load()), "answered")
				emit(float64(a.Denied.Load()), "denied")
				emit(float64(a.Limited.Load()), "limited")
			},
		},
		{
			Name: "weir_probe_places", Kind: obs.Gauge, Help: "Addresses at which canaries of other nodes are answered: the node's own and its canary pods'.",
			Read: obs.Value(func() float64 { return float64(t.ways.answerer.Open()) }),
		},
	}
}
