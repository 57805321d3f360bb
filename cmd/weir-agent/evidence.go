package main

import (
	"context"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/icmp"
	"github.com/weirnet/weir/exporter/nflog"
	"github.com/weirnet/weir/exporter/outcome"
	"github.com/weirnet/weir/exporter/reset"
	"github.com/weirnet/weir/exporter/sockets"
)

// joinEvidence gives what packets prove to the loop.
func joinEvidence(p *packets, observed func([]outcome.Observation)) {
	p.denied = func(list []nflog.Denial) { observed(denials(list)) }
	p.quoted = func(list []icmp.Error) {
		if out := refusals(list); len(out) > 0 {
			observed(out)
		}
	}
	p.reset = func(list []reset.Reset) {
		if out := resets(list); len(out) > 0 {
			observed(out)
		}
	}
}

// resets are RSTs. The one by which this node answers a SYN in the server's name tells
// of a connection that a rule of this node rejected. From anybody else such an answer
// proves nothing that conntrack does not know, so it is left out.
func resets(list []reset.Reset) []outcome.Observation {
	var out []outcome.Observation
	for i := range list {
		r := &list[i]
		o := outcome.Observation{Kind: outcome.Reset, TimeMs: r.TimeMs, Tuple: r.Tuple, Forged: r.From == reset.Node}
		switch {
		case r.Refusal && r.From != reset.Node:
			continue
		case r.Refusal:
			o = outcome.Observation{Kind: outcome.Reject, TimeMs: r.TimeMs, Tuple: r.Tuple.Reverse()}
		}
		out = append(out, o)
	}
	return out
}

func denials(list []nflog.Denial) []outcome.Observation {
	out := make([]outcome.Observation, len(list))
	for i := range list {
		d := &list[i]
		out[i] = outcome.Observation{Kind: outcome.Denial, TimeMs: d.TimeMs, Tuple: d.Tuple, Action: d.Action, Policy: d.Policy, Rule: d.Rule}
	}
	return out
}

// refusals are the errors that say what became of a connection. The one by which this
// node answers an opening tells of a connection that a rule of its own rejected, as
// kube-proxy's does where a Service has no endpoint. That a packet was too
// big or took too long to put together ends none; a fragment does not say which.
func refusals(list []icmp.Error) []outcome.Observation {
	var out []outcome.Observation
	for i := range list {
		e := &list[i]
		o := outcome.Observation{Kind: outcome.Error, TimeMs: e.TimeMs, Tuple: e.Quoted, From: flow.Addr16(e.From)}
		switch e.Reason {
		case icmp.PortUnreachable, icmp.ProtocolUnreachable, icmp.Prohibited:
			o.Means = flow.OutcomeRefused
			if e.Own && e.Opening { // a rule of this node: there is no entry that knows of it
				o.Kind = outcome.Reject
			}
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

// attempts tells what sockets show of connections that nobody answers.
type attempts struct {
	list     func([]sockets.Attempt) []sockets.Attempt // appends what is known
	observed func([]outcome.Observation)
	told     map[flow.Tuple]int64 // LastMs
	buf      []sockets.Attempt
}

const lookForAttempts = time.Second

func newAttempts(t *sockets.Table, observed func([]outcome.Observation)) *attempts {
	return &attempts{list: t.Attempts, observed: observed, told: map[flow.Tuple]int64{}}
}

func (a *attempts) String() string { return "attempts" }

// Ready is true from the start: without sockets there is nothing to tell.
func (a *attempts) Ready() bool { return true }

// Run looks until ctx is done.
func (a *attempts) Run(ctx context.Context) error {
	tick := time.NewTicker(lookForAttempts)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.look()
		}
	}
}

// look tells each attempt once for every walk that saw it, from its first repeated SYN
// on: until then it is what every connection is for one round trip. What is remembered
// is bounded by the table's own bound.
func (a *attempts) look() {
	a.buf = a.list(a.buf[:0])
	told := make(map[flow.Tuple]int64, len(a.buf))
	var out []outcome.Observation
	for i := range a.buf {
		t := &a.buf[i]
		told[t.Tuple] = t.LastMs
		if t.Retransmits == 0 || a.told[t.Tuple] == t.LastMs {
			continue
		}
		out = append(out, outcome.Observation{
			Kind: outcome.Attempt, TimeMs: t.LastMs, SinceMs: t.FirstMs, Tuple: t.Tuple, Retransmits: t.Retransmits,
		})
	}
	a.told = told
	if len(out) > 0 {
		a.observed(out)
	}
}
