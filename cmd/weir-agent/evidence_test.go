package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/icmp"
	"github.com/weirnet/weir/exporter/nflog"
	"github.com/weirnet/weir/exporter/outcome"
	"github.com/weirnet/weir/exporter/reset"
	"github.com/weirnet/weir/exporter/sockets"
)

func tuple(src, dst string, proto uint8) flow.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return flow.Tuple{Src: flow.Addr16(s.Addr()), Dst: flow.Addr16(d.Addr()), SrcPort: s.Port(), DstPort: d.Port(), Proto: proto}
}

// TestAttemptsAreToldOnceAWalk has a table that is looked at more often than it changes.
func TestAttemptsAreToldOnceAWalk(t *testing.T) {
	v4, v6 := tuple("10.0.0.1:4000", "10.96.0.1:80", 6), tuple("[fd00::1]:4000", "[fd96::1]:80", 6)
	var table []sockets.Attempt
	var got []outcome.Observation
	a := &attempts{
		list:     func(l []sockets.Attempt) []sockets.Attempt { return append(l, table...) },
		observed: func(l []outcome.Observation) { got = append(got, l...) },
	}
	look := func(what string, want ...outcome.Observation) {
		t.Helper()
		got = nil
		a.look()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	look("no sockets")
	table = []sockets.Attempt{{Tuple: v4, FirstMs: 1000, LastMs: 1000}}
	look("the first SYN is out")
	table = []sockets.Attempt{{Tuple: v4, FirstMs: 1000, LastMs: 6000, Retransmits: 2}, {Tuple: v6, FirstMs: 5000, LastMs: 6500, Retransmits: 1}}
	four := outcome.Observation{Kind: outcome.Attempt, TimeMs: 6000, SinceMs: 1000, Tuple: v4, Retransmits: 2}
	six := outcome.Observation{Kind: outcome.Attempt, TimeMs: 6500, SinceMs: 5000, Tuple: v6, Retransmits: 1}
	look("both try again", four, six)
	look("no new walk")
	table[0].LastMs, table[0].Retransmits, table[1].Over = 11_000, 3, true
	four.TimeMs, four.Retransmits = 11_000, 3
	look("one goes on, one is over", four)
	table = table[1:]
	look("it is forgotten")
	if len(a.told) != 1 {
		t.Errorf("%d are remembered, and the table has 1", len(a.told))
	}
}

func TestRefusals(t *testing.T) {
	quoted, from := tuple("10.0.0.1:4000", "10.0.1.2:53", 17), netip.MustParseAddr("10.0.1.2")
	for reason, means := range map[icmp.Reason]flow.Outcome{
		icmp.PortUnreachable: flow.OutcomeRefused, icmp.ProtocolUnreachable: flow.OutcomeRefused, icmp.Prohibited: flow.OutcomeRefused,
		icmp.NetUnreachable: flow.OutcomePathLoss, icmp.HostUnreachable: flow.OutcomePathLoss, icmp.TimeExceeded: flow.OutcomePathLoss,
		icmp.Other: 0, icmp.FragmentationNeeded: 0, icmp.ReassemblyTimeout: 0,
	} {
		var want []outcome.Observation
		if means != 0 {
			want = []outcome.Observation{{Kind: outcome.Error, TimeMs: 7, Tuple: quoted, Means: means, From: flow.Addr16(from)}}
		}
		e := icmp.Error{TimeMs: 7, From: from, Reason: reason, Quoted: quoted}
		own := e
		own.Own, own.Opening = true, true
		if means == flow.OutcomeRefused {
			mine := want[0]
			mine.Kind = outcome.Reject
			want = append(want, mine)
		} else {
			want = append(want, want...)
		}
		part := e
		part.Fragment = true // it does not say of which connection
		if d := cmp.Diff(want, refusals([]icmp.Error{e, own, part})); d != "" {
			t.Errorf("%s (-want +got):\n%s", reason, d)
		}
	}
}

func TestDenials(t *testing.T) {
	d := nflog.Denial{TimeMs: 7, Tuple: tuple("10.0.0.1:4000", "10.0.1.2:80", 6), Action: flow.RuleActionReject, Policy: "shop/web", Rule: "in-3"}
	want := []outcome.Observation{{Kind: outcome.Denial, TimeMs: 7, Tuple: d.Tuple, Action: d.Action, Policy: "shop/web", Rule: "in-3"}}
	if d := cmp.Diff(want, denials([]nflog.Denial{d})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestResets(t *testing.T) {
	server := tuple("10.0.1.2:80", "10.0.0.1:4000", 6)
	got := resets([]reset.Reset{
		{TimeMs: 0, Tuple: server, From: reset.End, Refusal: true}, {TimeMs: 1, Tuple: server, From: reset.End}, {TimeMs: 2, Tuple: server, From: reset.Node}, {TimeMs: 3, Tuple: server, From: reset.Node, Refusal: true},
	})
	want := []outcome.Observation{
		{Kind: outcome.Reset, TimeMs: 1, Tuple: server}, {Kind: outcome.Reset, TimeMs: 2, Tuple: server, Forged: true}, {Kind: outcome.Reject, TimeMs: 3, Tuple: server.Reverse()},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
