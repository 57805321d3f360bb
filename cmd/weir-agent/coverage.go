package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/exporter"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/inspect"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
)

const lookEvery = 30 * time.Second

// coverageTask looks again and again at what can be seen on this node.
type coverageTask struct {
	options  inspect.Options
	evidence []func() coverage.Evidence // of the other sources
	loop     *exporter.Exporter
	tried    func() []coverage.Tried // what canaries showed
	table    atomic.Pointer[coverage.Table]
}

func newCoverage(cfg *config.Agent, more []func() coverage.Evidence) *coverageTask {
	o := inspect.Options{Node: cfg.NodeName, NetNS: cfg.Conntrack.Netns, Zones: cfg.Conntrack.Zones, Source: "kernel"}
	switch {
	case cfg.Replay != "":
		o.Source = "replay"
	case cfg.Conntrack.OVSSocket != "":
		o.Source = "ovs"
	}
	conntrack := func() coverage.Evidence {
		return coverage.Evidence{Name: "conntrack", On: true, Why: map[string]string{
			"kernel": "the kernel's entries and their ends", "ovs": "the entries of vswitchd's own conntrack", "replay": "a recording",
		}[o.Source]}
	}
	return &coverageTask{options: o, evidence: append([]func() coverage.Evidence{conntrack}, more...)}
}

func (t *coverageTask) String() string { return "coverage" }

// Ready is true from the start: that a node cannot be looked at is a finding.
func (t *coverageTask) Ready() bool { return true }

// Run looks until ctx is done.
func (t *coverageTask) Run(ctx context.Context) error {
	look := inspect.New(t.options)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		f := look.Look(ctx)
		table := coverage.Decide(&f)
		t.table.Store(&table)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// now is the newest table with the pressure and the sources as they are; nil before
// the first look.
func (t *coverageTask) now() *coverage.Table {
	last := t.table.Load()
	if last == nil {
		return nil
	}
	table := *last
	table.Try(t.tried())
	if p := t.loop.State().Pressure; p.Max > 0 {
		table.Pressure = &p
	}
	table.Evidence = nil
	for _, f := range t.evidence {
		table.Evidence = append(table.Evidence, f())
	}
	return &table
}

// facts is what is told to the aggregators.
func (t *coverageTask) facts() []ipfix.FactRow {
	table := t.now()
	if table == nil {
		return nil
	}
	now := time.Now().UnixMilli()
	// What was missed and cannot be counted makes the node's silence worth nothing.
	s := t.loop.State()
	missed := ipfix.FactRow{Topic: "gap", Key: "conntrack", Value: int64(s.Gaps), AtMs: now}
	// So does a table without room: what it dropped arrived, and was not seen.
	room := ipfix.FactRow{Topic: "gap", Key: "room", Value: int64(s.Vitals.CPU.Drop + s.Vitals.CPU.EarlyDrop), AtMs: now}
	return append(table.Facts(now), missed, room)
}

func (t *coverageTask) metrics() []obs.Metric {
	return []obs.Metric{
		{
			Name: "weir_coverage", Kind: obs.Gauge, Labels: []string{"traffic", "family", "seen"},
			Help: "1 for what is true of each class of traffic and family: seen is yes, partly, unknown, no or absent.",
			Read: func(emit func(float64, ...string)) {
				if table := t.now(); table != nil {
					for _, r := range table.Rows {
						emit(1, r.Class, r.Family, r.Seen.String())
					}
				}
			},
		},
		{
			Name: "weir_coverage_canary", Kind: obs.Gauge, Labels: []string{"traffic", "family", "result"},
			Help: "1 for what canaries showed of each class of traffic and family: result is booked, not opened, booked wrongly, not booked, or none where there was none. Where it disagrees with what inspection says, weir_coverage has what was tried.",
			Read: func(emit func(float64, ...string)) {
				if table := t.now(); table != nil {
					for _, r := range table.Rows {
						emit(1, r.Class, r.Family, r.Canary.String())
					}
				}
			},
		},
		{
			Name: "weir_evidence_on", Kind: obs.Gauge, Labels: []string{"source"},
			Help: "1 for a source of evidence that is on, 0 for one that is off.",
			Read: func(emit func(float64, ...string)) {
				if table := t.now(); table != nil {
					for _, e := range table.Evidence {
						v := 0.0
						if e.On {
							v = 1
						}
						emit(v, e.Name)
					}
				}
			},
		},
	}
}
