package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/config"
)

// source is where connections are read, and what goes with it.
type source struct {
	conntrack.Source
	timeouts track.Timeouts
	finite   bool // it ends by itself
}

// openSource opens the kernel's conntrack, OVS's or a recording. restore undoes
// what was asked to be changed on the node.
func openSource(cfg *config.Agent, log *slog.Logger) (s source, restore func(), err error) {
	restore = func() {}
	s.timeouts = track.DefaultTimeouts()
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

func trackConfig(cfg *config.Agent, s source) track.Config {
	return track.Config{
		ActiveMs: cfg.Track.ActiveTimeout.Milliseconds(), IdleMs: cfg.Track.IdleTimeout.Milliseconds(), MaxConns: cfg.Track.MaxConnections,
		Timeouts: s.timeouts,
	}
}
