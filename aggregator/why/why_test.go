package why

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

var update = flag.Bool("update", false, "write the golden files")

const t0 = int64(1_790_000_000_000) // 2026-09-21T13:33:20Z

// conn makes a connection of the story: shop/cart on node-a to shop/pay on node-b.
func conn(o flow.Outcome, change ...func(*flow.Record)) flow.Record {
	var r flow.Record
	r.SetSrcPod("cart-1")
	r.SetSrcNS("shop")
	r.SetSrcNode("node-a")
	r.SetDstPod("pay-1")
	r.SetDstNS("shop")
	r.SetDstNode("node-b")
	r.SetProto(6)
	r.SetDstPort(8443)
	r.SetEnd(t0)
	r.SetSeenBy(flow.SeenByBoth)
	if o != flow.OutcomeUnknown {
		r.SetOutcome(o)
		r.SetEvidence(flow.EvidenceConntrack)
	}
	for _, f := range change {
		f(&r)
	}
	if r.SeenBy == flow.SeenByBoth && r.Outcome != flow.OutcomeUnknown {
		r.SetEvidence(r.Evidence | flow.EvidenceBothEnds)
	}
	return r
}

func times(n int, r flow.Record) (out []flow.Record) {
	for range n {
		out = append(out, r)
	}
	return out
}

func counted(src, dst, srcBytes, dstBytes uint64) func(*flow.Record) {
	return func(r *flow.Record) {
		r.SetPacketsSrc(src)
		r.SetPacketsDst(dst)
		r.SetBytesSrc(srcBytes)
		r.SetBytesDst(dstBytes)
		r.SetLossPackets(int64(src) - int64(dst))
	}
}

func listen(addr string, port uint16) Listener {
	return Listener{Pod: "shop/pay-1", Addr: netip.MustParseAddr(addr), Proto: 6, Port: port, Limit: 128}
}

func dns(code flow.Rcode) flow.Record {
	var r flow.Record
	r.SetDNSQuery("pay.shop.svc.cluster.local")
	r.SetDNSRcode(code)
	return r
}

var service = &Service{Name: "shop/pay", Ready: 2, Ports: []cluster.Port{{Name: "https", Proto: 6, Number: 443, Target: 8443}}, EndpointPorts: []uint16{8443}}

// stories are facts with the causes that they have to give, in order.
var stories = []struct {
	name  string
	facts Facts
	want  []Cause
}{
	{"all well", Facts{Conns: times(40, conn(flow.OutcomeOK, func(r *flow.Record) { r.SetRTT(400); r.SetRetransSrc(0) }))}, []Cause{CauseAllWell}},
	{"no outcome yet", Facts{Conns: times(2, conn(flow.OutcomeUnknown))}, []Cause{CauseAllWell}},
	{"wrong port at the endpoint", Facts{
		Port: 443, Service: service, Conns: times(31, conn(flow.OutcomeRefused)), Listeners: Listeners{true, []Listener{listen("::", 8080)}},
		Changes: []cluster.Change{{TimeMs: t0 - 60_000, Kind: cluster.ChangeRollout, Namespace: "shop", Object: "Deployment/pay", What: "rolled out pay-2: image pay:2, port 8080, was image pay:1, port 8443"}},
	}, []Cause{CauseWrongPort, CauseRecentlyChanged}},
	{"the endpoint's port, asked for beside its Service", Facts{
		Port: 8443, Service: service, Conns: times(3, conn(flow.OutcomeOK, func(r *flow.Record) { r.SetSvcPort(443) })),
	}, []Cause{CauseAllWell}},
	{"wrong port of the Service", Facts{Port: 8443, Service: service}, []Cause{CauseWrongPort, CauseNotSeen}},
	{"nothing listens", Facts{Conns: times(3, conn(flow.OutcomeRefused)), Listeners: Listeners{Known: true}}, []Cause{CauseNothingListens}},
	{"nothing listens, sockets were not looked at", Facts{Conns: times(3, conn(flow.OutcomeRefused))}, []Cause{CauseNothingListens}},
	{"refused, seen at the client only, sockets not looked at", Facts{
		Conns: times(3, conn(flow.OutcomeRefused, func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) })), Blind: []string{"node-b: its agent has no right to read sockets"},
	}, []Cause{CauseUnexplained}},
	{"loopback only", Facts{Conns: times(3, conn(flow.OutcomeRefused)), Listeners: Listeners{true, []Listener{listen("127.0.0.1", 8443)}}}, []Cause{CauseLoopbackOnly}},
	{"backlog full", Facts{
		Conns:     append(times(5, conn(flow.OutcomeUnanswered)), times(9, conn(flow.OutcomeOK))...),
		Listeners: Listeners{true, []Listener{{Pod: "shop/pay-1", Addr: netip.MustParseAddr("0.0.0.0"), Proto: 6, Port: 8443, Queue: 129, Limit: 128, Drops: 17}}},
	}, []Cause{CauseBacklogFull}},
	{"no ready endpoint", Facts{
		Port: 443, Service: &Service{Name: "shop/pay", Unready: 2, Ports: service.Ports}, Conns: times(4, conn(flow.OutcomeUnanswered, func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) })),
		Changes: []cluster.Change{{TimeMs: t0 - 5000, Kind: cluster.ChangeEndpoints, Namespace: "shop", Object: "Service/pay", What: "has no ready endpoint (had 2)", Bad: true}},
	}, []Cause{CauseNoEndpoint, CauseRecentlyChanged}},
	{"policy denies", Facts{Conns: times(4, conn(flow.OutcomeUnanswered, func(r *flow.Record) {
		r.SetSeenBy(flow.SeenBySource)
		r.SetPolicyEval(flow.PolicyEvalDenied)
		r.SetPolicyEvalWhy("ingress denied by shop/pay-in, nearest allow shop/pay-in[0]: ports are TCP 8080")
	}))}, []Cause{CausePolicyDenies}},
	{"policy denies, nothing seen", Facts{Policy: &Policy{Decision: eval.Decision{
		Verdict: flow.PolicyEvalDenied, Egress: eval.Finding{Direction: eval.Egress, Verdict: flow.PolicyEvalDenied, By: []eval.Ref{{Namespace: "shop", Policy: "deny-all", Rule: -1}}},
		Ingress: eval.Finding{Direction: eval.Ingress, Verdict: flow.PolicyEvalUnprotected},
	}}}, []Cause{CausePolicyDenies, CauseNotSeen}},
	{"policy denies and is not enforced", Facts{Conns: times(4, conn(flow.OutcomeOK, func(r *flow.Record) {
		r.SetPolicyEval(flow.PolicyEvalDenied)
		r.SetPolicyEvalWhy("ingress denied by shop/pay-in, no rule allows anything")
	}))}, []Cause{CauseNotEnforced, CauseAllWell}},
	{"NFLOG denial", Facts{Conns: times(4, conn(flow.OutcomeDenied, func(r *flow.Record) {
		r.SetEvidence(flow.EvidenceNFLOG)
		r.SetEgressRule("no-metadata")
		r.SetEgressAction(flow.RuleActionDrop)
	}))}, []Cause{CauseDenied}},
	{"rejected on the path", Facts{Conns: times(4, conn(flow.OutcomeRefused, func(r *flow.Record) {
		r.SetSeenBy(flow.SeenBySource)
		r.SetResetBy(flow.ResetByPath)
		r.SetEvidence(r.Evidence | flow.EvidenceBothEnds)
	})), Listeners: Listeners{true, []Listener{listen("::", 8443)}}}, []Cause{CauseRejectedOnPath}},
	{"rejected by a rule of the client's node", Facts{Conns: times(4, conn(flow.OutcomeRefused, func(r *flow.Record) {
		r.SetSeenBy(flow.SeenBySource)
		r.SetEvidence(flow.EvidencePacket)
		r.SetResetBy(flow.ResetByPath)
	}))}, []Cause{CauseRejectedOnPath}},
	{"a Service without endpoints, which the client's node rejects", Facts{
		Port: 443, Service: &Service{Name: "shop/pay", Ports: service.Ports}, Conns: times(2, conn(flow.OutcomeRefused, func(r *flow.Record) {
			r.SetSeenBy(flow.SeenBySource)
			r.SetEvidence(flow.EvidencePacket)
			r.SetResetBy(flow.ResetByPath)
		})),
	}, []Cause{CauseNoEndpoint}},
	{"reset by the server", Facts{Conns: append(times(4, conn(flow.OutcomeReset, func(r *flow.Record) { r.SetResetBy(flow.ResetByDst) })), conn(flow.OutcomeOK))}, []Cause{CauseReset}},
	{"path loss", Facts{Conns: times(10, conn(flow.OutcomeOK, counted(1000, 970, 600_000, 582_000), func(r *flow.Record) { r.SetRetransSrc(29) }))}, []Cause{CausePathLoss, CauseAllWell}},
	{"the opening is lost on the path", Facts{Conns: times(4, conn(flow.OutcomePathLoss, func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) }))}, []Cause{CausePathLoss}},
	{"a packet in flight is no loss", Facts{Conns: times(1, conn(flow.OutcomeOK, counted(1000, 999, 600_000, 599_400)))}, []Cause{CauseAllWell}},
	{"MTU black hole", Facts{Conns: times(3, conn(flow.OutcomeTimedOut, counted(40, 30, 30*60+10*1500, 30*60), func(r *flow.Record) { r.SetPathMTU(1500) }))}, []Cause{CauseMTU}},
	{"node silent", Facts{
		Conns: times(3, conn(flow.OutcomeUnanswered, func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) })),
		Nodes: []Node{{Name: "node-a", HeardMs: t0, Table: &Table{FillPct: 3}}, {Name: "node-b", HeardMs: t0 - 240_000, Silent: true}},
	}, []Cause{CauseNodeSilent, CauseUnexplained}},
	{"conntrack full", Facts{
		Conns: times(3, conn(flow.OutcomeUnanswered, func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) })),
		Nodes: []Node{{Name: "node-b", HeardMs: t0, Table: &Table{FillPct: 100, Drops: 411, Window: time.Minute}}},
	}, []Cause{CauseConntrackFull}},
	{"conntrack made room", Facts{
		Conns: times(3, conn(flow.OutcomeTimedOut)),
		Nodes: []Node{{Name: "node-a", HeardMs: t0, Table: &Table{FillPct: 97, EarlyDrops: 12, Window: time.Minute}}, {Name: "node-b", HeardMs: t0}},
	}, []Cause{CauseConntrackFull}},
	{"conntrack was full then", Facts{
		Conns: times(3, conn(flow.OutcomeUnanswered, func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) })),
		Nodes: []Node{{Name: "node-b", HeardMs: t0}}, Changes: []cluster.Change{
			{TimeMs: t0 - 90_000, Kind: cluster.ChangeConntrack, Object: "Node/node-b", What: "conntrack is filled to 85 % (850 of 1000 entries)"},
			{TimeMs: t0 - 60_000, Kind: cluster.ChangeConntrack, Object: "Node/node-b", What: "conntrack was full: 7 packets of new connections were dropped within 1m0s", Bad: true},
		},
	}, []Cause{CauseConntrackFull, CauseRecentlyChanged}},
	{"conntrack was full, and not when connections failed", Facts{
		Conns: times(3, conn(flow.OutcomeUnanswered, func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) })),
		Nodes: []Node{{Name: "node-b", HeardMs: t0}}, Changes: []cluster.Change{
			{TimeMs: t0 - 600_000, Kind: cluster.ChangeConntrack, Object: "Node/node-b", What: "conntrack was full: 7 packets of new connections were dropped within 1m0s", Bad: true},
		},
	}, []Cause{CauseUnexplained, CauseRecentlyChanged}},
	{"conntrack is nearly full, and all is well", Facts{
		Conns: times(3, conn(flow.OutcomeOK)), Nodes: []Node{{Name: "node-b", HeardMs: t0, Table: &Table{FillPct: 91, Window: time.Minute}}},
	}, []Cause{CauseConntrackNear, CauseAllWell}},
	{"a policy dropped the opening at the server's node", Facts{Conns: times(4, conn(flow.OutcomePathLoss, func(r *flow.Record) {
		r.SetSeenBy(flow.SeenBySource)
		r.SetPolicyEval(flow.PolicyEvalDenied)
		r.SetPolicyEvalWhy("ingress denied by shop/pay-in, no rule allows anything")
	}))}, []Cause{CausePolicyDenies}},
	{"the server does not answer", Facts{Conns: times(3, conn(flow.OutcomeUnanswered))}, []Cause{CauseUnanswered}},
	{"DNS name missing", Facts{Name: "pay.shop.svc.cluster.local", DNS: []flow.Record{dns(3), dns(3)}}, []Cause{CauseNameMissing}},
	{"DNS said no before it said yes", Facts{Name: "pay.shop.svc.cluster.local", DNS: []flow.Record{dns(0), dns(3)}, Conns: times(2, conn(flow.OutcomeOK))}, []Cause{CauseAllWell}},
	{"nothing seen, and it could have been", Facts{Covered: true}, []Cause{CauseNotSeen}},
	{"nothing seen, and nobody knows whether it could have been", Facts{}, []Cause{CauseNotSeen}},
	{"nothing seen, and it could not have been", Facts{Blind: []string{"node-a, same node: no conntrack rule in the bridge's path"}}, []Cause{CauseNotSeen}},
}

func TestWhy(t *testing.T) {
	var text strings.Builder
	for _, s := range stories {
		f := s.facts
		f.Src, f.Dst, f.FromMs, f.ToMs = "shop/cart", "shop/pay", t0-3_600_000, t0
		f.SrcQuery, f.DstQuery = "src.ns = shop src.workload = cart", "dst.ns = shop dst.workload = pay"
		var got []Cause
		fmt.Fprintf(&text, "== %s\n", s.name)
		for _, x := range Why(&f) {
			got = append(got, x.Cause)
			if x.Claim == "" || len(x.Evidence) == 0 || x.Next == "" {
				t.Errorf("%s: a finding without claim, evidence or next: %+v", s.name, x)
			}
			fmt.Fprintf(&text, "%s\n  - %s\n  next: %s\n", x.Claim, strings.Join(x.Evidence, "\n  - "), x.Next)
		}
		if d := cmp.Diff(s.want, got); d != "" {
			t.Errorf("%s: %s", s.name, d)
		}
	}
	golden := filepath.Join("testdata", "why.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text.String()); d != "" {
		t.Errorf("testdata/why.golden (-want +got; rewrite with -update): %s", d)
	}
}

// TestWhyIsTotal: whatever the facts, there is an answer, and it is the same twice.
func TestWhyIsTotal(t *testing.T) {
	for o := range flow.OutcomeWords {
		for by := range flow.SeenByWords {
			for _, l := range []Listeners{{}, {Known: true}, {true, []Listener{listen("::", 8443)}}, {true, []Listener{listen("::1", 8443), listen("10.0.0.1", 22)}}} {
				for _, node := range [][]Node{nil, {{Name: "node-b", Silent: true}}} {
					f := Facts{Src: "a", Dst: "b", Conns: []flow.Record{conn(flow.Outcome(o), func(r *flow.Record) { r.SetSeenBy(flow.SeenBy(by)) })}, Listeners: l, Nodes: node}
					a, b := Why(&f), Why(&f)
					if len(a) == 0 || !cmp.Equal(a, b) {
						t.Errorf("%s seen by %s: %+v, then %+v", flow.OutcomeWords[o], flow.SeenByWords[by], a, b)
					}
				}
			}
		}
	}
}
