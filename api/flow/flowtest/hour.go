package flowtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// HourStart is where the generated hour begins.
var HourStart = time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)

// shape is one kind of connection of the generated cluster.
type shape struct {
	srcNS, src, dstNS, dst, name, service string
	port                                  uint16
	weight                                int
	bytes, reply                          uint64
	rtt                                   uint32 // us
	bad                                   flow.Outcome
	badly                                 float64 // share of bad
	action                                flow.RuleAction
}

var shapes = []shape{
	{"shop", "Deployment/frontend", "shop", "Deployment/cart", "", "shop/cart:http", 8080, 30, 2_000, 18_000, 450, flow.OutcomeReset, 0.005, flow.RuleActionAllow},
	{"shop", "Deployment/frontend", "shop", "Deployment/catalog", "", "shop/catalog:http", 8080, 40, 1_500, 60_000, 600, flow.OutcomeUnanswered, 0, 0},
	{"shop", "Deployment/cart", "bank", "Deployment/payments", "", "bank/payments:https", 8443, 12, 4_000, 3_000, 900, flow.OutcomeRefused, 0.3, flow.RuleActionAllow},
	{"shop", "Deployment/cart", "shop", "StatefulSet/redis", "", "", 6379, 25, 900, 2_500, 210, flow.OutcomeTimedOut, 0.01, flow.RuleActionAllow},
	{"shop", "Deployment/catalog", "data", "StatefulSet/postgres", "", "data/postgres:sql", 5432, 18, 5_000, 90_000, 700, flow.OutcomeOK, 0, flow.RuleActionAllow},
	{"bank", "Deployment/payments", "", "", "api.cards.example", "", 443, 9, 6_000, 8_000, 24_000, flow.OutcomeUnanswered, 0.04, 0},
	{"bank", "CronJob/settle", "", "", "sftp.clearing.example", "", 22, 3, 900_000, 20_000, 31_000, flow.OutcomeOK, 0, 0},
	{"guest", "Deployment/kiosk", "bank", "Deployment/payments", "", "", 8443, 6, 120, 0, 0, flow.OutcomeDenied, 1, flow.RuleActionDrop},
	{"guest", "Deployment/kiosk", "shop", "Deployment/frontend", "", "shop/frontend:http", 8080, 14, 1_800, 40_000, 1_100, flow.OutcomeOK, 0, 0},
	{"monitoring", "StatefulSet/prometheus", "shop", "Deployment/cart", "", "", 9090, 16, 700, 30_000, 500, flow.OutcomePathLoss, 0.02, 0},
	{"monitoring", "StatefulSet/prometheus", "kube-system", "DaemonSet/node-exporter", "", "", 9100, 10, 500, 55_000, 380, flow.OutcomeOK, 0, 0},
	{"data", "StatefulSet/postgres", "", "", "backup.objects.example", "", 443, 2, 9_000_000, 12_000, 18_000, flow.OutcomeReset, 0.1, 0},
	{"kube-system", "Deployment/coredns", "", "", "resolver.example", "", 53, 20, 90, 180, 9_000, flow.OutcomeUnanswered, 0.02, 0},
	{"logging", "DaemonSet/shipper", "logging", "StatefulSet/loki", "", "logging/loki:http", 3100, 8, 250_000, 900, 800, flow.OutcomeOK, 0, 0},
	{"ci", "Job/build", "", "", "registry.example", "", 443, 4, 30_000, 6_000_000, 15_000, flow.OutcomeOK, 0, 0},
	{"web", "Deployment/edge", "shop", "Deployment/frontend", "", "shop/frontend:http", 8080, 22, 2_200, 33_000, 520, flow.OutcomeOK, 0, flow.RuleActionAllow},
	{"batch", "Job/report", "data", "StatefulSet/postgres", "", "data/postgres:sql", 5432, 2, 8_000, 700_000, 640, flow.OutcomeOK, 0, 0},
}

// Hour makes the records of n connections of a small cluster, within the hour from
// HourStart: what dashboards are tested on and drawn with. Each record lies within one
// minute, where a panel's and the language's ways to spread what moved are the same.
func Hour(rng *rand.Rand, n int) (recs []flow.Record) {
	total := 0
	for _, s := range shapes {
		total += s.weight
	}
	for i := range n {
		k := rng.IntN(total)
		s := &shapes[0]
		for j := range shapes {
			if s = &shapes[j]; k < s.weight {
				break
			}
			k -= s.weight
		}
		recs = append(recs, s.connection(rng, uint64(i+1))...)
	}
	return recs
}

func (s *shape) connection(rng *rand.Rand, id uint64) (recs []flow.Record) {
	start := HourStart.UnixMilli() + rng.Int64N(time.Hour.Milliseconds()-1000)
	var r flow.Record
	r.SetConnID(id)
	r.SetStart(start)
	r.SetProto(6)
	r.SetSrcIP(netip.AddrFrom4([4]byte{10, 0, byte(len(s.src)), byte(1 + rng.IntN(4))}))
	r.SetDstIP(netip.AddrFrom4([4]byte{10, 1, byte(len(s.dst)), byte(1 + rng.IntN(4))}))
	r.SetSrcPort(uint16(32768 + rng.IntN(20000)))
	r.SetDstPort(s.port)
	r.SetSrcNS(s.srcNS)
	r.SetSrcWorkload(s.src)
	r.SetSrcKind(flow.EndPod)
	srcNode, dstNode := fmt.Sprintf("node-%d", 1+rng.IntN(4)), fmt.Sprintf("node-%d", 1+rng.IntN(4))
	r.SetSrcNode(srcNode)
	r.SetClusterID(fmt.Sprintf("east-%d", 1+id%2))
	if s.name != "" {
		r.SetDstKind(flow.EndExternal)
		r.SetDstName(s.name)
		r.SetDstIP(netip.AddrFrom4([4]byte{203, 0, 113, byte(len(s.name))}))
		r.SetScope(flow.ScopeExternal)
	} else {
		r.SetDstKind(flow.EndPod)
		r.SetDstNS(s.dstNS)
		r.SetDstWorkload(s.dst)
		r.SetDstNode(dstNode)
		r.SetScope(flow.ScopeCrossNode)
		if srcNode == dstNode {
			r.SetScope(flow.ScopeSameNode)
		}
	}
	if s.service != "" {
		r.SetSvcPortName(s.service)
	}
	outcome := s.policy(rng, &r)
	r.SetCanary(rng.IntN(50) == 0)
	records := 1
	if outcome == flow.OutcomeOK {
		records += rng.IntN(3)
	}
	at := start
	for k := range records {
		x := r
		minute := at - at%60_000
		end := at + rng.Int64N(60_000-(at-minute))
		x.SetSince(at)
		x.SetEnd(end)
		x.SetFirst(k == 0)
		x.SetFinal(k == records-1)
		x.SetSeq(uint32(k + 1))
		s.counters(rng, &x, outcome == flow.OutcomeOK, srcNode != dstNode && s.name == "")
		recs = append(recs, x)
		if at = minute + 60_000; at >= HourStart.UnixMilli()+time.Hour.Milliseconds() {
			break
		}
	}
	return recs
}

// policy decides what became of a connection, and which rules had a say.
func (s *shape) policy(rng *rand.Rand, r *flow.Record) flow.Outcome {
	outcome := flow.OutcomeOK
	if rng.Float64() < s.badly {
		outcome = s.bad
	}
	r.SetOutcome(outcome)
	if s.action != 0 && outcome != flow.OutcomeDenied || s.action == flow.RuleActionDrop {
		r.SetIngressAction(s.action)
		r.SetIngressPolicyNS(s.dstNS)
		r.SetIngressPolicy("guard-" + s.dstNS)
		r.SetIngressRule(fmt.Sprintf("from-%s", s.srcNS))
	}
	if s.srcNS == "bank" {
		r.SetEgressAction(flow.RuleActionAllow)
		r.SetEgressPolicyNS("bank")
		r.SetEgressPolicy("outward")
		r.SetEgressRule("named-hosts")
	}
	return outcome
}

// counters fills what moved in one record.
func (s *shape) counters(rng *rand.Rand, r *flow.Record, ok, across bool) {
	some := func(n uint64) uint64 { return n/2 + rng.Uint64N(n+1) }
	sent := some(s.bytes)
	r.SetBytesDelta(sent)
	r.SetPacketsDelta(1 + sent/1400)
	if ok {
		r.SetRevBytesDelta(some(s.reply))
		r.SetRevPacketsDelta(1 + s.reply/1400)
		if rng.IntN(10) > 0 && s.rtt > 0 {
			r.SetRTT(uint32(some(uint64(s.rtt))))
			r.SetRetransSrc(uint32(max(0, rng.IntN(12)-9)))
		}
	}
	if across {
		r.SetPacketsDeltaSrc(1 + sent/1400)
		lost := int64(0)
		if r.DstNode == "node-3" {
			lost = rng.Int64N(2)
		}
		r.SetLossPackets(lost)
	}
}
