package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
	"github.com/weirnet/weir/internal/probe"
)

// probeTask opens canaries again and again and tells the aggregators of them, who
// judge what arrived.
type probeTask struct {
	cfg    config.Probe
	netns  string
	node   string
	addrs  []netip.Addr
	birds  *canaries
	log    *slog.Logger
	ready  func() bool // the agent reads and sends
	last   atomic.Pointer[canary.Run]
	opened atomic.Uint64 // runs
	failed atomic.Uint64
}

func newProbe(cfg *config.Agent, log *slog.Logger, birds *canaries) *probeTask {
	addrs, _ := cfg.Probe.Parsed() // Validate has read them
	return &probeTask{cfg: cfg.Probe, netns: cfg.Conntrack.Netns, node: cfg.NodeName, addrs: addrs, birds: birds, log: log}
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
	run := &canary.Run{BeganMs: time.Now().UnixMilli()}
	sent, err := probe.Open(ctx, probe.Options{NetNS: t.netns, Addresses: t.addrs})
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
	for i := range sent {
		sent[i].Node = t.node
	}
	run.Sent = sent
	t.last.Store(run)
}

// tellFor is how long after a run's wait its canaries are told.
const tellFor = time.Minute

// facts is what one aggregator is told.
func (t *probeTask) facts(aggregator string) []ipfix.FactRow {
	if t.cfg.Interval == 0 {
		return nil
	}
	var run canary.Run
	if last := t.last.Load(); last != nil {
		run = *last
	}
	run.IntervalMs, run.WaitMs = t.cfg.Interval.Milliseconds(), t.cfg.Wait.Milliseconds()
	run.Agent.NowMs = t.birds.clock()
	now := time.Now().UnixMilli()
	details := now-run.BeganMs < (t.cfg.Wait + tellFor).Milliseconds()
	if details {
		keys := make([]string, len(run.Sent))
		for i := range run.Sent {
			keys[i] = run.Sent[i].Key
		}
		run.Agent.Traces = t.birds.Get(keys)
	}
	rows, err := run.Facts(now, aggregator, details)
	if err != nil {
		t.log.Error("canaries cannot be told", "error", err)
	}
	return rows
}

func (t *probeTask) metrics() []obs.Metric {
	return []obs.Metric{{
		Name: "weir_probe_runs_total", Kind: obs.Counter, Labels: []string{"result"},
		Help: "Runs of the agent's own probe: opened, or failed where a canary could not be; the aggregator judges the opened ones (weir_verify_*).",
		Read: func(emit func(float64, ...string)) {
			emit(float64(t.opened.Load()), "opened")
			emit(float64(t.failed.Load()), "failed")
		},
	}}
}
