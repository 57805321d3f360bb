package correlate

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// cluster makes realistic halves: 40 fields, 17 of them names, pods in
// deployments behind services. Sources and destinations repeat as they do in a
// cluster; strings are interned, as a decoder's are.
type cluster struct {
	pods, nodes, svcs []string
	ips               []netip.Addr
}

func newCluster(pods int) *cluster {
	c := &cluster{}
	for i := range pods {
		c.pods = append(c.pods, fmt.Sprintf("api-6d5f7c9b8-%05d", i))
		c.ips = append(c.ips, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	for i := range pods/30 + 1 {
		c.nodes = append(c.nodes, fmt.Sprintf("node-%04d.example.internal", i))
		c.svcs = append(c.svcs, fmt.Sprintf("shop/api-%04d:http", i))
	}
	return c
}

// peers gives the two pods of connection i: every pod talks to eight others.
func (c *cluster) peers(i int) (src, dst int) {
	n := len(c.pods)
	src = i % n
	return src, (src*7 + 13*((i/n)%8) + 1) % n
}

// fill writes the half of connection i that end e tells in round k.
func (c *cluster) fill(r *flow.Record, i, e, k int) {
	*r = flow.Record{}
	s, d := c.peers(i)
	r.SetStart(t0 + int64(i%1000))
	r.SetEnd(t0 + int64(k)*5000 + 900)
	r.SetEndReason(flow.EndReasonActive)
	r.SetSrcIP(c.ips[s])
	r.SetDstIP(c.ips[d])
	r.SetSrcPort(uint16(32768 + i/len(c.pods)))
	r.SetDstPort(8080)
	r.SetProto(6)
	total, delta := uint64(k+1)*1500, uint64(1500)
	r.SetPackets(total / 100)
	r.SetBytes(total)
	r.SetPacketsDelta(delta / 100)
	r.SetBytesDelta(delta)
	r.SetRevPackets(total / 50)
	r.SetRevBytes(total * 9)
	r.SetRevPacketsDelta(delta / 50)
	r.SetRevBytesDelta(delta * 9)
	r.SetTCPState("ESTABLISHED")
	r.SetFlowType(flow.FlowTypeInterNode)
	r.SetClusterIP(c.ips[d%len(c.svcs)])
	r.SetSvcIP(c.ips[d%len(c.svcs)])
	r.SetSvcPort(80)
	r.SetSvcPortName(c.svcs[d%len(c.svcs)])
	r.SetEgressName("")
	r.SetEgressIP("")
	r.SetEgressNode("")
	r.SetSeq(uint32(k))
	r.SetConnID(uint64(i))
	r.SetFirst(k == 0)
	r.SetFinal(false)
	r.SetOutcome(flow.OutcomeOK)
	r.SetEvidence(flow.EvidenceConntrack)
	r.SetSrcNode(c.nodes[s%len(c.nodes)])
	r.SetDstNode(c.nodes[d%len(c.nodes)])
	if e == sideSrc {
		r.SetSeenBy(flow.SeenBySource)
		r.SetSrcPod(c.pods[s])
		r.SetSrcNS("shop")
		r.SetObserver(r.SrcNode)
		r.SetEgressPolicy("default-egress")
		r.SetEgressPolicyNS("shop")
		r.SetEgressRule("allow-dns-and-api")
		r.SetEgressAction(flow.RuleActionAllow)
		return
	}
	r.SetSeenBy(flow.SeenByDestination)
	r.SetDstPod(c.pods[d])
	r.SetDstNS("shop")
	r.SetObserver(r.DstNode)
	r.SetIngressPolicy("allow-shop")
	r.SetIngressPolicyNS("shop")
	r.SetIngressRule("from-shop")
	r.SetIngressAction(flow.RuleActionAllow)
	r.SetIngressPolicyType(flow.PolicyTypeK8s)
}

// BenchmarkCorrelate measures a record in steady state: each connection's two
// ends report every 5 s, an emission every 60 s. Records are made outside the
// clock. B/conn is the heap of the correlator at that many live connections.
func BenchmarkCorrelate(b *testing.B) {
	for _, conns := range []int{10_000, 100_000, 1_000_000, 2_000_000} {
		b.Run(fmt.Sprintf("weir/conns=%d", conns), func(b *testing.B) { benchSteady(b, conns) })
	}
	b.Run("weir/short", benchShort)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func benchSteady(b *testing.B, conns int) {
	b.Helper()
	cl := newCluster(3000)
	var recs [512]flow.Record
	emitted := 0
	sink := func(*flow.Record) { emitted++ }
	before := heap()
	cfg := DefaultConfig()
	cfg.MaxConnections = max(cfg.MaxConnections, conns)
	c := New(cfg)
	now := t0
	next, round := 0, 0
	observe := func(recs []flow.Record) { // as a shard does
		var w [Window]*flow.Record
		for from := 0; from < len(recs); from += Window {
			n := min(Window, len(recs)-from)
			for k := range n {
				w[k] = &recs[from+k]
			}
			c.Look(w[:n])
			for k, r := range w[:n] {
				c.ObserveLooked(now, k, r, sink)
			}
		}
	}
	batch := func() int {
		n := 0
		for ; n < len(recs) && next < conns*2; n++ {
			// An agent sends its own ends together: first all sources, then all destinations of a stretch.
			i := next/2/256*256 + next%256
			if conns-next/2/256*256 < 256 {
				i = next / 2
			}
			cl.fill(&recs[n], min(i, conns-1), next/256%2, round)
			next++
		}
		if next >= conns*2 {
			next = 0
			round++
		}
		now = t0 + int64(round)*5000 + int64(next)*5000/int64(conns*2)
		return n
	}
	for round < 2 {
		n := batch()
		observe(recs[:n])
		c.Expire(now, sink)
	}
	perConn := float64(heap()-before) / float64(c.Len())
	live := c.Len()
	b.ReportAllocs()
	b.ResetTimer()
	done := 0
	for done < b.N {
		b.StopTimer()
		n := min(batch(), b.N-done)
		b.StartTimer()
		observe(recs[:n])
		c.Expire(now, sink)
		done += n
	}
	b.ReportMetric(perConn, "B/conn")
	b.ReportMetric(float64(live), "conns")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/record")
	runtime.KeepAlive(c)
}

// benchShort measures connections of one record per end: born, joined, told,
// forgotten.
func benchShort(b *testing.B) {
	cl := newCluster(3000)
	var recs [512]flow.Record
	sink := func(*flow.Record) {}
	c := New(DefaultConfig())
	b.ReportAllocs()
	b.ResetTimer()
	i := 0
	now := t0
	for done := 0; done < b.N; done += len(recs) {
		b.StopTimer()
		for k := range recs {
			cl.fill(&recs[k], (i+k%256)%3_000_000, k/256, 0)
			recs[k].SetFinal(true)
			recs[k].SetEndReason(flow.EndReasonEnd)
			recs[k].SetStart(now)
			recs[k].SetEnd(now)
		}
		i += 256
		now += 10 // 25,600 connections a second
		b.StartTimer()
		for k := range recs {
			c.Observe(now, &recs[k], sink)
		}
		c.Expire(now, sink)
	}
	b.ReportMetric(float64(c.Len()), "conns")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/record")
}

// BenchmarkSetHealth is what each shard does once a second with the health of so many
// nodes.
func BenchmarkSetHealth(b *testing.B) {
	for _, nodes := range []int{100, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			c := New(DefaultConfig())
			var list []Health
			for i := range nodes {
				list = append(list, Health{Node: fmt.Sprintf("node-%04d.example.internal", i), FromMs: t0, UpToMs: t0, V4: true, V6: true})
			}
			b.ReportAllocs()
			for b.Loop() {
				c.SetHealth(list)
			}
		})
	}
}
