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
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
)

// packets are the sources of evidence that read packets. One that is off or cannot be
// opened is nil: the agent works without, and says so.
type packets struct {
	dns      *dnswatch.Watcher
	nflog    *nflog.Listener
	icmp     *icmp.Watcher
	evidence []func() coverage.Evidence

	// denied and quoted get what was read, in order, from one goroutine each. They
	// must not block for long.
	denied func([]nflog.Denial)
	quoted func([]icmp.Error)

	mu     sync.Mutex
	recent recentPackets
}

// recentPackets are the last of each kind, for /debug/state.
type recentPackets struct {
	Denials []nflog.Denial
	Errors  []icmp.Error
}

const keepRecent = 32

// openPackets opens what the configuration asks for. A replay has no packets.
func openPackets(cfg *config.Agent, log *slog.Logger) *packets {
	p := &packets{denied: func([]nflog.Denial) {}, quoted: func([]icmp.Error) {}}
	if cfg.Replay != "" {
		return p
	}
	netns := cfg.Conntrack.Netns
	var dnsErr, nflogErr, icmpErr error
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
	for _, e := range []coverage.Evidence{
		dnswatch.Status(cfg.DNS.Enabled, dnsErr), nflog.Status(cfg.NFLOG.Enabled, nflogErr), icmp.Status(cfg.ICMP.Enabled, icmpErr),
	} {
		p.evidence = append(p.evidence, func() coverage.Evidence { return e })
	}
	for name, err := range map[string]error{"dns": dnsErr, "nflog": nflogErr, "icmp": icmpErr} {
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
	s := map[string]any{"denials": p.recent.Denials, "errors": p.recent.Errors}
	if p.dns != nil {
		s["dns"] = p.dns.Stats()
	}
	if p.nflog != nil {
		s["nflog"] = p.nflog.Stats()
	}
	if p.icmp != nil {
		s["icmp"] = p.icmp.Stats()
	}
	return s
}

// metrics are there, at zero, whether a source is on or off (weir_evidence_on tells).
func (p *packets) metrics() []obs.Metric {
	var d dnswatch.Stats
	var n nflog.Stats
	var i icmp.Stats
	look := func() {
		if p.dns != nil {
			d = p.dns.Stats()
		}
		if p.nflog != nil {
			n = p.nflog.Stats()
		}
		if p.icmp != nil {
			i = p.icmp.Stats()
		}
	}
	var mu sync.Mutex // one scrape at a time looks
	by := func(name, help string, values func() map[string]uint64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Counter, Labels: []string{"what"}, Read: func(emit func(float64, ...string)) {
			mu.Lock()
			look()
			list := values()
			mu.Unlock()
			for what, v := range list {
				emit(float64(v), what)
			}
		}}
	}
	return []obs.Metric{
		by("weir_dns_messages_total", "DNS messages seen: query and answer counted once, repeated at another interface, unasked, unanswered, malformed, incomplete.", func() map[string]uint64 {
			return map[string]uint64{
				"query": d.Queries, "answer": d.Answers, "repeated": d.Repeated, "unasked": d.Unasked, "unanswered": d.Unanswered,
				"malformed": d.Malformed, "incomplete": d.Incomplete,
			}
		}),
		by("weir_dns_given_up_total", "What the DNS watch could not hold, by bound: name, client_share, query, flow, stream; socket is packets that the kernel dropped; foreign is addresses in answers that nobody asked for.", func() map[string]uint64 {
			return map[string]uint64{
				"name": d.EvictedNames, "client_share": d.RefusedNames, "query": d.EvictedQueries, "flow": d.EvictedFlows,
				"stream": d.EvictedStreams, "socket": d.Socket.Dropped, "foreign": d.Foreign,
			}
		}),
		by("weir_nflog_total", "Logged packets: denial, unmatched (no prefix names it), malformed, lost in the kernel, dropped (read too slowly), overrun (times).", func() map[string]uint64 {
			return map[string]uint64{
				"denial": n.Denials, "unmatched": n.Unmatched, "malformed": n.Malformed, "lost": n.Lost, "dropped": n.Dropped, "overrun": n.Overruns,
			}
		}),
		by("weir_icmp_errors_total", "ICMP errors: told, repeated at another interface, malformed, dropped (read too slowly), socket (dropped by the kernel).", func() map[string]uint64 {
			return map[string]uint64{
				"told": i.Errors, "repeated": i.Repeated, "malformed": i.Malformed, "dropped": i.Dropped, "socket": i.Socket.Dropped,
			}
		}),
		{Name: "weir_dns_names", Help: "Pairs of client and outside address that have a name now.", Kind: obs.Gauge, Read: obs.Value(func() float64 {
			if p.dns == nil {
				return 0
			}
			return float64(p.dns.Stats().Names)
		})},
	}
}
