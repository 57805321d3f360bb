package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/told"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
)

// source is where connections are read, and what goes with it.
type source struct {
	conntrack.Source
	timeouts track.Timeouts
	finite   bool       // it ends by itself
	memory   *told.File // of what was told; nil for none
	before   map[uint64]track.Told
}

// openSource opens the kernel's conntrack, OVS's or a recording. restore undoes
// what was asked to be changed on the node.
func openSource(cfg *config.Agent, log *slog.Logger) (s source, restore func(), err error) {
	restore = func() {}
	s.timeouts = track.DefaultTimeouts()
	if s.memory, s.before, err = openTold(cfg); err != nil {
		return s, restore, err
	}
	c := &cfg.Conntrack
	switch {
	case cfg.Replay != "":
		f, err := os.Open(cfg.Replay)
		if err != nil {
			return s, restore, fmt.Errorf("replay: %w", err)
		}
		defer func() { _ = f.Close() }()
		p, err := conntrack.NewReplay(f)
		if err != nil {
			return s, restore, fmt.Errorf("replay: %s: %w", cfg.Replay, err)
		}
		s.Source, s.finite = p, true
		return s, restore, nil
	case c.OVSSocket != "":
		s.Source, err = conntrack.NewOVS(c.OVSSocket, conntrack.Filter{Zones: c.Zones})
		if err != nil {
			return s, restore, fmt.Errorf("conntrack.ovsSocket: %w", err)
		}
		return s, restore, nil
	}
	if c.EnableAccounting {
		a, err := conntrack.EnableAccounting(c.Netns)
		if err != nil {
			return s, restore, fmt.Errorf("conntrack.enableAccounting: %w", err)
		}
		if len(a.Changed) > 0 {
			log.Warn("kernel accounting is on now and will be off again after the stop; connections that are older never get counters", "changed", a.Changed)
		}
		restore = func() {
			if err := a.Restore(); err != nil {
				log.Error("kernel accounting was not set back", "error", err.Error())
			}
		}
	}
	sys, err := conntrack.ReadSysctls(c.Netns)
	if err != nil {
		restore()
		return s, func() {}, fmt.Errorf("conntrack: %w", err)
	}
	if !sys.Accounting {
		log.Warn("the kernel counts no bytes: records have no counters (net.netfilter.nf_conntrack_acct is 0); set it, or use --enable-accounting")
	}
	s.timeouts = sys.Timeouts
	s.Source, err = conntrack.NewKernel(conntrack.KernelOptions{
		Options: conntrack.Options{NetNS: c.Netns, Receive: c.EventBuffer}, Filter: conntrack.Filter{Zones: c.Zones}, Events: true, Log: log,
	})
	if err != nil {
		restore()
		return s, func() {}, fmt.Errorf("conntrack: %w: the agent needs CAP_NET_ADMIN in the namespace that it reads", err)
	}
	return s, restore, nil
}

// openTold opens the memory of what was told; nil where there is none.
func openTold(cfg *config.Agent) (*told.File, map[uint64]track.Told, error) {
	if cfg.Track.ToldFile == "" || cfg.Replay != "" {
		return nil, nil, nil
	}
	f, before, err := told.Open(cfg.Track.ToldFile, cfg.Track.MaxConnections)
	if err != nil {
		return nil, nil, fmt.Errorf("track.toldFile: %w", err)
	}
	return f, before, nil
}

func toldMetrics(f *told.File) []obs.Metric {
	return []obs.Metric{{
		Name: "weir_exporter_told_file_failed", Kind: obs.Gauge, Help: "1 where track.toldFile cannot be written any more: what is told now is not remembered beyond a kill.",
		Read: obs.Value(func() float64 {
			if f != nil && f.Err() != nil {
				return 1
			}
			return 0
		}),
	}}
}

func trackConfig(cfg *config.Agent, s source) track.Config {
	c := track.Config{
		ActiveMs: cfg.Track.ActiveTimeout.Milliseconds(), IdleMs: cfg.Track.IdleTimeout.Milliseconds(), MaxConns: cfg.Track.MaxConnections,
		Timeouts: s.timeouts, Before: s.before,
	}
	if s.memory != nil { // a nil *told.File would be a Keeper
		c.Keep = s.memory
	}
	return c
}
