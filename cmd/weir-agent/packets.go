package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/dns"
	"github.com/weirnet/weir/exporter/dnswatch"
	"github.com/weirnet/weir/exporter/icmp"
	"github.com/weirnet/weir/exporter/nflog"
	"github.com/weirnet/weir/exporter/reset"
	"github.com/weirnet/weir/internal/config"
)

// packets are the sources of evidence that read packets. One that is off or cannot be
// opened is nil: the agent works without, and says so.
type packets struct {
	dns      *dnswatch.Watcher
	nflog    *nflog.Listener
	icmp     *icmp.Watcher
	resets   *reset.Watcher
	evidence []func() coverage.Evidence

	// denied, quoted and reset get what was read, in order, from one goroutine each. They
	// must not block for long.
	denied func([]nflog.Denial)
	quoted func([]icmp.Error)
	reset  func([]reset.Reset)

	mu     sync.Mutex
	recent recentPackets
}

// recentPackets are the last of each kind, for /debug/state.
type recentPackets struct {
	Denials []nflog.Denial
	Errors  []icmp.Error
	Resets  []reset.Reset
}

const keepRecent = 32

// openPackets opens what the configuration asks for. A replay has no packets.
func openPackets(cfg *config.Agent, log *slog.Logger) *packets {
	p := &packets{denied: func([]nflog.Denial) {}, quoted: func([]icmp.Error) {}, reset: func([]reset.Reset) {}}
	if cfg.Replay != "" {
		return p
	}
	netns := cfg.Conntrack.Netns
	var dnsErr, nflogErr, icmpErr, resetErr error
	if cfg.DNS.Enabled {
		p.dns, dnsErr = dnswatch.Watch(dnswatch.Options{NetNS: netns, Log: log, Limits: dns.Limits{
			Names: cfg.DNS.MaxNames, Flows: cfg.DNS.MaxFlows, GraceMs: cfg.DNS.Grace.Milliseconds(),
		}})
	}
	if cfg.NFLOG.Enabled {
		p.nflog, nflogErr = nflog.Listen(nflog.Options{NetNS: netns, Log: log, Rules: nflogRules(cfg)})
	}
	if cfg.ICMP.Enabled {
		p.icmp, icmpErr = icmp.Watch(icmp.Options{NetNS: netns, Log: log})
	}
	if cfg.Resets.Enabled {
		p.resets, resetErr = reset.Watch(reset.Options{NetNS: netns, Log: log})
	}
	for _, e := range []coverage.Evidence{
		dnswatch.Status(cfg.DNS.Enabled, dnsErr), nflog.Status(cfg.NFLOG.Enabled, nflogErr), icmp.Status(cfg.ICMP.Enabled, icmpErr),
		reset.Status(cfg.Resets.Enabled, resetErr),
	} {
		p.evidence = append(p.evidence, func() coverage.Evidence { return e })
	}
	for name, err := range map[string]error{"dns": dnsErr, "nflog": nflogErr, "icmp": icmpErr, "resets": resetErr} {
		if err != nil {
			log.Warn("a source of evidence is off", "source", name, "why", err.Error())
		}
	}
	return p
}

func nflogRules(cfg *config.Agent) []nflog.Rule {
	var list []nflog.Rule
	for _, p := range cfg.NFLOG.Prefixes {
		r := nflog.Rule{Group: p.Group, Prefix: p.Prefix, Action: flow.RuleActionDrop}
		if p.Action == "reject" {
			r.Action = flow.RuleActionReject
		}
		for i, w := range nflog.NamesWords {
			if w == p.Names {
				r.Names = nflog.Names(i)
			}
		}
		list = append(list, r)
	}
	return list
}

func (p *packets) String() string { return "packets" }

// Ready is true from the start: that a source cannot be opened is a finding.
func (p *packets) Ready() bool { return true }

// Run hands on what is read until ctx is done.
func (p *packets) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if p.nflog != nil {
		wg.Go(func() {
			for b := range p.nflog.Denials() {
				p.denied(b)
				p.mu.Lock()
				p.recent.Denials = last(p.recent.Denials, b)
				p.mu.Unlock()
			}
		})
	}
	if p.icmp != nil {
		wg.Go(func() {
			for b := range p.icmp.Errors() {
				p.quoted(b)
				p.mu.Lock()
				p.recent.Errors = last(p.recent.Errors, b)
				p.mu.Unlock()
			}
		})
	}
	if p.resets != nil {
		wg.Go(func() {
			for b := range p.resets.Resets() {
				p.reset(b)
				p.mu.Lock()
				p.recent.Resets = last(p.recent.Resets, b)
				p.mu.Unlock()
			}
		})
	}
	<-ctx.Done()
	p.stop()
	wg.Wait()
	return nil
}

// stop ends the sources; what is known of DNS stays for the last records.
func (p *packets) stop() {
	if p.nflog != nil {
		p.nflog.Stop()
	}
	if p.icmp != nil {
		p.icmp.Stop()
	}
	if p.resets != nil {
		p.resets.Stop()
	}
	if p.dns != nil {
		p.dns.Stop()
	}
}

func last[T any](list, more []T) []T {
	list = append(list, more...)
	return append([]T(nil), list[max(0, len(list)-keepRecent):]...)
}

// state is what /debug/state shows.
func (p *packets) state() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := map[string]any{"denials": p.recent.Denials, "errors": p.recent.Errors, "resets": p.recent.Resets}
	if p.dns != nil {
		s["dns"] = p.dns.Stats()
	}
	if p.nflog != nil {
		s["nflog"] = p.nflog.Stats()
	}
	if p.icmp != nil {
		s["icmp"] = p.icmp.Stats()
	}
	if p.resets != nil {
		s["reset"] = p.resets.Stats()
	}
	return s
}
