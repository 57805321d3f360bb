package flowtest

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"github.com/weirnet/weir/api/flow"
)

// History makes the records of a cluster for measuring stores: 5,000 a second of 40
// fields, 2,000 pods in 50 namespaces on 60 nodes, 300 Services, 8,000 pairs of which
// few talk much. Of five records three are the only one of a short connection; the other
// two belong to connections that live on and tell every minute. Equal text lies at one
// place in memory, as a decoder gives it.
type History struct {
	pods, workloads, nodes, namespaces, services, policies []string
	ips                                                    []netip.Addr
}

// HistoryStart is the time of record 0, in ms; HistoryRate the records a second.
const (
	HistoryStart = 1_772_600_000_000
	HistoryRate  = 5000
	historyPairs = 8000
	longLived    = HistoryRate * 2 / 5 * 60
)

// NewHistory makes the names.
func NewHistory() *History {
	h := &History{}
	for i := range 2000 {
		h.pods = append(h.pods, fmt.Sprintf("app-%03d-%08x-%05x", i/7, uint32(mix(uint64(i/7))), uint32(mix(uint64(i)))&0xfffff))
		h.workloads = append(h.workloads, fmt.Sprintf("Deployment/app-%03d", i/7))
		h.ips = append(h.ips, netip.AddrFrom4([4]byte{10, 244, byte(i / 250), byte(1 + i%250)}))
	}
	for i := range 60 {
		h.nodes = append(h.nodes, fmt.Sprintf("worker-%02d.eu-1.example.internal", i))
	}
	for i := range 50 {
		h.namespaces = append(h.namespaces, fmt.Sprintf("team-%02d", i))
	}
	for i := range 300 {
		h.services = append(h.services, fmt.Sprintf("team-%02d/app-%03d:http", i%50, i))
	}
	for i := range 200 {
		h.policies = append(h.policies, fmt.Sprintf("allow-to-app-%03d", i))
	}
	return h
}

// mix is a bijection that looks random (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// Record writes record i into r.
func (h *History) Record(i uint64, r *flow.Record) {
	*r = flow.Record{}
	conn, seq := i+1<<32, uint32(0)
	long := i%5 < 2
	if long {
		k := i/5*2 + i%5
		conn, seq = k%longLived, uint32(k/longLived)
	}
	m, n := mix(conn), mix(i)
	end := HistoryStart + int64(i)*1000/HistoryRate
	r.SetEnd(end)
	life := int64(n%4000) + 5
	switch {
	case !long:
		r.SetStart(end - life)
		r.SetSince(r.Start)
	case seq == 0:
		r.SetStart(end - int64(m%3_600_000))
		r.SetSince(end - 60_000)
	default:
		r.SetStart(end - int64(seq)*60_000 - int64(m%3_600_000))
		r.SetSince(end - 60_000)
	}
	// Few pairs talk much: the share of the k-th falls as 1/k.
	pair := uint64(math.Exp(float64(m>>11)/(1<<53)*math.Log(historyPairs))) - 1
	a, b := mix(pair)%2000, mix(pair+1<<20)%2000
	size := uint64(1) << (6 + bits.LeadingZeros32(uint32(n>>32)))
	bytes := size + n%size
	h.counters(r, bytes, seq)
	h.names(r, int(a), int(b))
	r.SetEndReason(flow.EndReasonEnd)
	r.SetTCPState("TIME_WAIT")
	if long {
		r.SetEndReason(flow.EndReasonActive)
		r.SetTCPState("ESTABLISHED")
	}
	r.SetSrcPort(uint16(32768 + m%28000))
	r.SetDstPort(uint16(8000 + pair%40))
	r.SetProto(6)
	r.SetSvcPort(80)
	r.SetOutcome(flow.OutcomeOK)
	if m%100 < 3 {
		r.SetOutcome(flow.OutcomeRefused)
	}
	r.SetSeenBy(flow.SeenByBoth)
	r.SetRTT(uint32(200 + n%2000))
	r.SetConnID(m)
	r.SetSeq(seq)
	r.SetFirst(!long)
	r.SetFinal(!long)
}

func (h *History) counters(r *flow.Record, bytes uint64, seq uint32) {
	packets := bytes/600 + 3
	r.SetPacketsDelta(packets)
	r.SetBytesDelta(bytes)
	r.SetRevPacketsDelta(packets + 1)
	r.SetRevBytesDelta(bytes * 3)
	t := uint64(seq) + 1
	r.SetPackets(packets * t)
	r.SetBytes(bytes * t)
	r.SetRevPackets((packets + 1) * t)
	r.SetRevBytes(bytes * 3 * t)
}

func (h *History) names(r *flow.Record, a, b int) {
	r.SetSrcIP(h.ips[a])
	r.SetDstIP(h.ips[b])
	r.SetSrcPod(h.pods[a])
	r.SetDstPod(h.pods[b])
	r.SetSrcNS(h.namespaces[a/7%50])
	r.SetDstNS(h.namespaces[b/7%50])
	r.SetSrcNode(h.nodes[a%60])
	r.SetDstNode(h.nodes[b%60])
	r.SetSrcWorkload(h.workloads[a])
	r.SetDstWorkload(h.workloads[b])
	r.SetSvcPortName(h.services[b%300])
	r.SetIngressPolicy(h.policies[b%200])
	r.SetIngressPolicyNS(r.DstNS)
	r.SetClusterIP(netip.AddrFrom4([4]byte{10, 96, byte(b % 300 >> 8), byte(b % 300)}))
	r.SetFlowType(flow.FlowTypeInterNode)
	r.SetScope(flow.ScopeCrossNode)
	if a%60 == b%60 {
		r.SetScope(flow.ScopeSameNode)
	}
}
