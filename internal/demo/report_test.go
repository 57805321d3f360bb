package demo

import (
	"bytes"
	"context"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// incidentTestMs is when the incident of the tests comes.
const incidentTestMs = 1_000_000

// record is what the aggregator writes for one connection of a shape.
func record(w *world, s *shape, port uint16, o flow.Outcome) flow.Record {
	var r flow.Record
	r.SetSrcIP(netip.MustParseAddr("10.77.11.10"))
	if s.family == 6 {
		r.SetSrcIP(netip.MustParseAddr("fd77:11::10"))
	}
	dst, err := w.target(s)
	if err != nil {
		panic(err)
	}
	r.SetDstIP(dst.Addr())
	r.SetSrcPort(port)
	r.SetStart(incidentTestMs - 1)
	if s.phase == after {
		r.SetStart(incidentTestMs)
	}
	if i := slices.Index(flow.PolicyEvalWords, s.evals); i > 0 {
		r.SetPolicyEval(flow.PolicyEval(i))
	}
	r.SetDstPort(s.server)
	r.SetProto(map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1}[s.kind.proto()])
	if o != flow.OutcomeUnknown {
		r.SetOutcome(o)
	}
	if i := slices.Index(flow.ResetByWords, s.by); i > 0 {
		r.SetResetBy(flow.ResetBy(i))
	}
	r.SetSeenBy(flow.SeenByBoth)
	switch name, via, _ := strings.Cut(s.named, " by "); {
	case s.kind == udpDNS:
		r.SetDNSQuery(strings.TrimSuffix(outsideName, "."))
		r.SetDNSRcode(0)
	case name != "":
		r.SetDstName(name)
		r.SetDstNameVia(flow.NameVia(slices.Index(flow.NameViaWords, via)))
	}
	return r
}

// TestReport feeds a tally what a good run writes, then spoils it a bit at a time.
func TestReport(t *testing.T) {
	w, err := readWorld(false)
	if err != nil {
		t.Fatal(err)
	}
	outcome := map[string]flow.Outcome{}
	for i, word := range flow.OutcomeWords {
		outcome[word] = flow.Outcome(i)
	}
	good := map[string]flow.Record{}
	made := map[string]int{}
	for i, s := range shapes() {
		made[s.name] = 1
		good[s.name] = record(w, &s, uint16(20000+i), outcome[s.want[0]])
	}
	for _, c := range []struct {
		name   string
		spoil  func(m map[string]flow.Record, made map[string]int)
		faults int
		says   string
	}{
		{"all well", func(map[string]flow.Record, map[string]int) {}, 0, "refused 1; by path 1"},
		{"one shape missing", func(m map[string]flow.Record, _ map[string]int) { delete(m, "udp-echo") }, 1, "none arrived"},
		{"wrong outcome", func(m map[string]flow.Record, _ map[string]int) {
			r := m["tcp-reset"]
			r.SetOutcome(flow.OutcomeOK)
			m["tcp-reset"] = r
		}, 1, "want outcome reset"},
		{"refused by another", func(m map[string]flow.Record, _ map[string]int) {
			r := m["tcp-rejected-rst"]
			r.SetResetBy(flow.ResetByDst)
			m["tcp-rejected-rst"] = r
		}, 1, "want it refused by path"},
		{"a name from the file where DNS knows one", func(m map[string]flow.Record, _ map[string]int) {
			r := m["udp-external"]
			r.SetDstName("payments.example")
			r.SetDstNameVia(flow.NameCIDR)
			m["udp-external"] = r
		}, 1, "none is api.example.com by dns"},
		{"a DNS flow without its answer", func(m map[string]flow.Record, _ map[string]int) {
			r := m["udp-service"]
			r.Has.Clear(flow.FDNSRcode)
			m["udp-service"] = r
		}, 1, "none is api.example.com noerror"},
		{"not refused after the rollout", func(m map[string]flow.Record, _ map[string]int) {
			r := m["checkout-refused"]
			r.SetOutcome(flow.OutcomeOK)
			m["checkout-refused"] = r
		}, 1, "want outcome refused"},
		{"the policy as it was", func(m map[string]flow.Record, _ map[string]int) {
			r := m["cart-denied"]
			r.SetPolicyEval(flow.PolicyEvalAllowed)
			m["cart-denied"] = r
		}, 1, "none is evaluated as denied"},
		{"not made", func(_ map[string]flow.Record, made map[string]int) { made["icmp-echo"] = 0 }, 1, "no such connection was made"},
	} {
		t.Run(c.name, func(t *testing.T) {
			recs, counts := maps.Clone(good), maps.Clone(made)
			c.spoil(recs, counts)
			var lines []byte
			for _, r := range recs {
				lines = append(flow.AppendJSON(lines, &r), '\n')
			}
			path := filepath.Join(t.TempDir(), "flows.jsonl")
			if err := os.WriteFile(path, lines, 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			tl := newTally()
			tl.incident.Store(incidentTestMs)
			tl.follow(ctx, path)
			stop()
			if err := tl.wait(); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if n := tl.printReport(&out, counts); n != c.faults || !strings.Contains(out.String(), c.says) {
				t.Errorf("%d faults, want %d with %q:\n%s", n, c.faults, c.says, out.String())
			}
		})
	}
}
