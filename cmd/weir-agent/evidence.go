package main

import (
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/icmp"
	"github.com/weirnet/weir/exporter/nflog"
	"github.com/weirnet/weir/exporter/outcome"
)

// joinEvidence gives what packets prove to the loop.
func joinEvidence(p *packets, observed func([]outcome.Observation)) {
	p.denied = func(list []nflog.Denial) { observed(denials(list)) }
	p.quoted = func(list []icmp.Error) {
		if out := refusals(list); len(out) > 0 {
			observed(out)
		}
	}
}

func denials(list []nflog.Denial) []outcome.Observation {
	out := make([]outcome.Observation, len(list))
	for i := range list {
		d := &list[i]
		out[i] = outcome.Observation{Kind: outcome.Denial, TimeMs: d.TimeMs, Tuple: d.Tuple, Action: d.Action, Policy: d.Policy, Rule: d.Rule}
	}
	return out
}

// refusals are the errors that say what became of a connection. That a packet was too
// big or took too long to put together ends none; a fragment does not say which.
func refusals(list []icmp.Error) []outcome.Observation {
	var out []outcome.Observation
	for i := range list {
		e := &list[i]
		o := outcome.Observation{Kind: outcome.Error, TimeMs: e.TimeMs, Tuple: e.Quoted, From: flow.Addr16(e.From)}
		switch e.Reason {
		case icmp.PortUnreachable, icmp.ProtocolUnreachable, icmp.Prohibited:
			o.Means = flow.OutcomeRefused
		case icmp.NetUnreachable, icmp.HostUnreachable, icmp.TimeExceeded:
			o.Means = flow.OutcomePathLoss
		case icmp.Other, icmp.FragmentationNeeded, icmp.ReassemblyTimeout:
			continue
		}
		if !e.Fragment {
			out = append(out, o)
		}
	}
	return out
}
