package main

import (
	"sync"

	"github.com/weirnet/weir/exporter/dnswatch"
	"github.com/weirnet/weir/exporter/icmp"
	"github.com/weirnet/weir/exporter/nflog"
	"github.com/weirnet/weir/exporter/reset"
	"github.com/weirnet/weir/internal/obs"
)

// metrics are there, at zero, whether a source is on or off (weir_evidence_on tells).
func (p *packets) metrics() []obs.Metric {
	var d dnswatch.Stats
	var n nflog.Stats
	var i icmp.Stats
	var rst reset.Stats
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
		if p.resets != nil {
			rst = p.resets.Stats()
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
		by("weir_resets_total", "TCP segments with RST: told, repeated at another interface, malformed, unsure (seen to leave only, while frames were dropped), dropped (read too slowly), socket (dropped by the kernel).", func() map[string]uint64 {
			return map[string]uint64{
				"told": rst.Resets, "repeated": rst.Repeated, "malformed": rst.Malformed, "unsure": rst.Unsure, "dropped": rst.Dropped, "socket": rst.Socket.Dropped,
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
