package correlate

import (
	"math"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
)

const t0 = int64(1_700_000_000_000)

// half makes a record of one end of a connection between two nodes.
type half struct {
	end          int // sideSrc or sideDst
	port         uint16
	start, last  int64 // ms after t0
	total, delta uint64
	seq          uint32
	final        bool
	handed       bool // told before, to a replica that left
	antrea       bool // names only: no seen_by, seq, conn_id
}

func (h half) rec() *flow.Record {
	r := &flow.Record{}
	r.SetStart(t0 + h.start)
	r.SetEnd(t0 + h.last)
	r.SetSrcIP(netip.MustParseAddr("10.0.0.1"))
	r.SetDstIP(netip.MustParseAddr("10.0.1.2"))
	r.SetSrcPort(h.port)
	r.SetDstPort(80)
	r.SetProto(6)
	r.SetFlowType(flow.FlowTypeInterNode)
	r.SetBytes(h.total)
	r.SetPackets(h.total / 100)
	r.SetBytesDelta(h.delta)
	r.SetPacketsDelta(h.delta / 100)
	r.SetRevBytes(h.total * 2)
	r.SetRevPackets(h.total / 50)
	r.SetRevBytesDelta(h.delta * 2)
	r.SetRevPacketsDelta(h.delta / 50)
	r.SetTCPState("ESTABLISHED")
	r.SetEndReason(flow.EndReasonActive)
	if h.handed {
		r.SetHandedOver(true)
	}
	if h.final {
		r.SetEndReason(flow.EndReasonEnd)
		r.SetTCPState("TIME_WAIT")
	}
	if h.end == sideSrc {
		r.SetSrcPod("client")
		r.SetSrcNS("web")
		r.SetSrcNode("n1")
		r.SetSvcPortName("web/api:http")
		r.SetSvcPort(8080)
	} else {
		r.SetDstPod("server")
		r.SetDstNS("web")
		r.SetDstNode("n2")
		r.SetIngressPolicy("allow-web")
		r.SetIngressAction(flow.RuleActionAllow)
	}
	if h.antrea {
		r.SetSrcPod(r.SrcPod) // present and empty where unknown, as on Antrea's wire
		r.SetDstPod(r.DstPod)
		return r
	}
	r.SetSeenBy(flow.SeenBySource)
	r.SetObserver("n1")
	if h.end == sideDst {
		r.SetSeenBy(flow.SeenByDestination)
		r.SetObserver("n2")
	}
	r.SetSeq(h.seq)
	r.SetFirst(h.seq == 0)
	r.SetFinal(h.final)
	r.SetConnID(uint64(h.port)<<1 | uint64(h.end))
	return r
}

// bench holds a correlator and what it emitted.
type rig struct {
	t   testing.TB
	c   *Correlator
	now int64
	out []flow.Record
}

func newRig(tb testing.TB, edit ...func(*Config)) *rig {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.Instance = 7
	for _, f := range edit {
		f(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	return &rig{t: tb, c: New(cfg), now: t0}
}

func (g *rig) emit(r *flow.Record) { g.out = append(g.out, *r) }

func (g *rig) see(h half) Sight { return g.seeRec(h.rec()) }

func (g *rig) seeRec(r *flow.Record) Sight {
	g.t.Helper()
	s := g.c.Observe(g.now, r, g.emit)
	g.balance()
	return s
}

// pass lets time go by in steps of a loop's tick.
func (g *rig) pass(ms int64) {
	g.t.Helper()
	for end := g.now + ms; g.now < end; {
		g.now = min(g.now+100, end)
		g.c.Expire(g.now, g.emit)
		g.balance()
	}
}

func (g *rig) drain() {
	g.t.Helper()
	g.c.Drain(g.now, g.emit)
	g.balance()
	r, n, b := g.c.Held()
	if r != 0 || n != 0 || b != 0 || g.c.Len() != 0 || g.c.Identities() != 0 || len(g.c.alias) != 0 {
		g.t.Fatalf("after drain: held %d records %d connections %d bytes, %d live, %d identities, %d aliases",
			r, n, b, g.c.Len(), g.c.Identities(), len(g.c.alias))
	}
}

// balance checks the books: in = out + held in the three measures.
func (g *rig) balance() {
	g.t.Helper()
	s := g.c.Stats()
	r, n, b := g.c.Held()
	if s.InRecords != s.OutRecords+r || s.InConnections != s.OutConnections+n || s.InBytes != s.OutBytes+b {
		g.t.Fatalf("books: in %d/%d/%d, out %d/%d/%d, held %d/%d/%d", s.InRecords, s.InConnections, s.InBytes,
			s.OutRecords, s.OutConnections, s.OutBytes, r, n, b)
	}
	var recs, bytes uint64
	for i := range g.out {
		recs += uint64(g.out[i].Records)
		bytes += g.out[i].BytesDelta + g.out[i].RevBytesDelta
	}
	if recs+s.Silent != s.OutRecords || bytes != s.OutBytes {
		g.t.Fatalf("emitted %d records %d bytes, booked %d and %d", recs, bytes, s.OutRecords, s.OutBytes)
	}
}

func (g *rig) want(n int) {
	g.t.Helper()
	if len(g.out) != n {
		g.t.Fatalf("emitted %d records, want %d", len(g.out), n)
	}
}

func eq[T comparable](tb testing.TB, what string, got, want T) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestJoinEitherOrder(t *testing.T) {
	for _, order := range [][2]int{{sideSrc, sideDst}, {sideDst, sideSrc}} {
		for _, antrea := range []bool{false, true} {
			g := newRig(t)
			for _, e := range order {
				g.want(0)
				g.see(half{end: e, port: 1, start: int64(e * 3), last: 1000, total: 1000 - uint64(e)*100, delta: 1000 - uint64(e)*100, antrea: antrea})
			}
			g.want(1) // at once, with both ends
			r := g.out[0]
			eq(t, "src.pod", r.SrcPod, "client")
			eq(t, "dst.pod", r.DstPod, "server")
			eq(t, "service", r.SvcPortName, "web/api:http")
			eq(t, "ingress.policy", r.IngressPolicy, "allow-web")
			eq(t, "seen_by", r.SeenBy, flow.SeenByBoth)
			eq(t, "scope", r.Scope, flow.ScopeCrossNode)
			eq(t, "half", r.Half, false)
			eq(t, "first", r.First, true)
			eq(t, "records", r.Records, 2)
			eq(t, "observer", r.Observer, "")
			eq(t, "bytes is the larger", r.Bytes, 1000)
			eq(t, "src.bytes", r.BytesSrc, 1000)
			eq(t, "dst.bytes", r.BytesDst, 900)
			eq(t, "bytes_delta", r.BytesDelta, 1000)
			eq(t, "throughput", r.Throughput, 8000)
			eq(t, "dst.end", r.EndDst, t0+1000)
			eq(t, "loss while packets may be in flight", r.Has.Has(flow.FLossPackets), false)
			g.drain()
			g.want(1)
		}
	}
}

func TestActiveAndInactive(t *testing.T) {
	g := newRig(t)
	g.see(half{end: sideSrc, port: 1, last: 0, total: 100, delta: 100})
	g.see(half{end: sideDst, port: 1, last: 0, total: 100, delta: 100})
	g.want(1)
	for k := uint64(1); k <= 11; k++ {
		g.pass(5000)
		g.see(half{end: sideSrc, port: 1, last: int64(k) * 5000, total: 100 + 100*k, delta: 100, seq: uint32(k)})
		g.see(half{end: sideDst, port: 1, last: int64(k) * 5000, total: 100 + 100*k, delta: 100, seq: uint32(k)})
	}
	g.want(1)
	g.pass(5200)
	g.want(2)
	eq(t, "bytes_delta", g.out[1].BytesDelta, 1100)
	eq(t, "bytes", g.out[1].Bytes, 1200)
	eq(t, "records", g.out[1].Records, 22)
	eq(t, "throughput", g.out[1].Throughput, 160) // 1100 B in 55 s
	eq(t, "src.throughput", g.out[1].ThroughputSrc, 160)
	eq(t, "seq", g.out[1].Seq, 1)
	eq(t, "first", g.out[1].First, false)
	eq(t, "same conn_id", g.out[1].ConnID, g.out[0].ConnID)
	if g.out[1].ID == g.out[0].ID {
		t.Error("two emissions share an id")
	}
	g.pass(80_000)
	eq(t, "live before the inactive timeout", g.c.Len(), 1)
	g.pass(15_000)
	eq(t, "live after it", g.c.Len(), 0)
	g.want(2)
}

func TestFinal(t *testing.T) {
	g := newRig(t)
	g.see(half{end: sideSrc, port: 1, last: 10, total: 1000, delta: 1000, final: true})
	g.want(0)
	g.see(half{end: sideDst, port: 1, last: 10, total: 900, delta: 900, final: true})
	g.want(1)
	r := g.out[0]
	eq(t, "final", r.Final, true)
	eq(t, "end_reason", r.EndReason, flow.EndReasonEnd)
	eq(t, "loss.packets", r.LossPackets, 1)
	eq(t, "loss.reverse.packets", r.LossRevPackets, -2)
	g.pass(12_000)
	eq(t, "live after the linger", g.c.Len(), 0)

	// One end's word is enough after the grace; end reason 3 is sticky.
	g = newRig(t)
	g.see(half{end: sideSrc, port: 2, last: 10, total: 100, delta: 100})
	g.see(half{end: sideDst, port: 2, last: 10, total: 100, delta: 100})
	g.pass(1000)
	g.see(half{end: sideSrc, port: 2, last: 500, total: 300, delta: 200, seq: 1, final: true})
	g.see(half{end: sideDst, port: 2, last: 600, total: 200, delta: 100, seq: 1})
	g.want(1)
	g.pass(10_200)
	g.want(2)
	eq(t, "final", g.out[1].Final, true)
	eq(t, "end_reason", g.out[1].EndReason, flow.EndReasonEnd)
	eq(t, "loss with one end unsettled", g.out[1].Has.Has(flow.FLossPackets), false)
	// A late last word is told at once.
	g.see(half{end: sideDst, port: 2, last: 600, total: 290, delta: 90, seq: 2, final: true})
	g.want(3)
	eq(t, "final again", g.out[2].Final, true)
	eq(t, "dst.bytes_delta", g.out[2].BytesDeltaDst, 90)
	eq(t, "nothing common is new", g.out[2].BytesDelta, 0)
	g.drain()
}

func TestDeniedNeedsNoOther(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(r *flow.Record)
		now  bool
	}{
		{"egress drop", func(r *flow.Record) { r.SetEgressAction(flow.RuleActionDrop) }, true},
		{"egress reject", func(r *flow.Record) { r.SetEgressAction(flow.RuleActionReject) }, true},
		{"ingress reject", func(r *flow.Record) { r.SetIngressAction(flow.RuleActionReject) }, true},
		{"ingress drop", func(r *flow.Record) { r.SetIngressAction(flow.RuleActionDrop) }, false},
		{"to external", func(r *flow.Record) { r.SetFlowType(flow.FlowTypeToExternal) }, true},
		{"intra node", func(r *flow.Record) { r.SetFlowType(flow.FlowTypeIntraNode) }, true},
		{"from external, not translated", func(r *flow.Record) { r.SetFlowType(flow.FlowTypeFromExternal) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t)
			r := half{end: sideSrc, port: 1, last: 10, total: 100, delta: 100, antrea: true}.rec()
			tc.set(r)
			g.seeRec(r)
			eq(t, "told at once", len(g.out) == 1, tc.now)
			g.drain()
			eq(t, "half", g.out[0].Half, !tc.now)
		})
	}
}

func TestFromExternalMeetsByProxySNAT(t *testing.T) {
	for _, swap := range []bool{false, true} {
		g := newRig(t)
		entry := half{end: sideSrc, port: 1, last: 10, total: 100, delta: 100, antrea: true}.rec()
		entry.SetSrcPod("")
		entry.SetSrcIP(netip.MustParseAddr("203.0.113.9"))
		entry.SetSrcPort(40000)
		entry.SetProxySNATIP(netip.MustParseAddr("10.0.0.254"))
		entry.SetProxySNATPort(61000)
		entry.SetFlowType(flow.FlowTypeFromExternal)
		inner := half{end: sideDst, port: 61000, last: 10, total: 100, delta: 100, antrea: true}.rec()
		inner.SetSrcIP(netip.MustParseAddr("10.0.0.254"))
		recs := []*flow.Record{entry, inner}
		if swap {
			recs[0], recs[1] = recs[1], recs[0]
		}
		eq(t, "shard", Shard(entry), Shard(inner))
		for _, r := range recs {
			g.want(0)
			g.seeRec(r)
		}
		g.want(1)
		o := g.out[0]
		eq(t, "src.ip", o.SrcIP, netip.MustParseAddr("203.0.113.9"))
		eq(t, "src.port", o.SrcPort, 40000)
		eq(t, "proxy_snat.ip", o.ProxySNATIP, netip.MustParseAddr("10.0.0.254"))
		eq(t, "proxy_snat.port", o.ProxySNATPort, 61000)
		eq(t, "flow_type", o.FlowType, flow.FlowTypeFromExternal)
		eq(t, "dst.pod", o.DstPod, "server")
		eq(t, "src.net", o.SrcNet, "internet")
		eq(t, "dst.net", o.Has.Has(flow.FDstNet), false)
		g.drain()
	}
}

func TestNetworksOfExternalEnds(t *testing.T) {
	g := newRig(t)
	r := half{end: sideSrc, port: 1, last: 10, total: 100, delta: 100}.rec()
	r.SetDstIP(netip.MustParseAddr("10.7.0.9"))
	r.SetDstKind(flow.EndExternal)
	r.SetScope(flow.ScopeExternal)
	g.seeRec(r)
	g.drain()
	foreign := &flow.Record{}
	foreign.SetSrcIP(netip.MustParseAddr("fd12:3456:789a::7"))
	foreign.SetDstIP(netip.MustParseAddr("192.0.2.2"))
	foreign.SetFlowType(flow.FlowTypeFromExternal)
	foreign.SetEnd(t0)
	g.seeRec(foreign)
	g.want(2)
	eq(t, "dst.net", g.out[0].DstNet, "10.7.0.0/16")
	eq(t, "src.net of a pod", g.out[0].Has.Has(flow.FSrcNet), false)
	eq(t, "src.net of who knows no kinds", g.out[1].SrcNet, "fd12:3456:789a::/48")
	eq(t, "dst.net of what is no external end", g.out[1].Has.Has(flow.FDstNet), false)
}

func TestForeignPassesThrough(t *testing.T) {
	g := newRig(t)
	r := &flow.Record{}
	r.SetSrcIP(netip.MustParseAddr("192.0.2.1"))
	r.SetDstIP(netip.MustParseAddr("192.0.2.2"))
	r.SetEnd(t0)
	r.SetBytesDelta(50)
	for range 2 { // two of one second stay two
		cp := *r
		g.seeRec(&cp)
	}
	g.want(2)
	eq(t, "bytes_delta", g.out[0].BytesDelta, 50)
	eq(t, "records", g.out[0].Records, 1)
	if g.out[0].ID == g.out[1].ID {
		t.Error("two records share an id")
	}
	eq(t, "live", g.c.Len(), 0)
	// What a correlator made goes through a second one as it is.
	g.see(half{end: sideSrc, port: 1, total: 100, delta: 100})
	g.see(half{end: sideDst, port: 1, total: 100, delta: 100})
	again := newRig(t)
	joined := g.out[2]
	again.seeRec(&joined)
	again.want(1)
	eq(t, "id", again.out[0].ID, g.out[2].ID)
	eq(t, "records", again.out[0].Records, 2)
}

func TestAbsentStaysAbsent(t *testing.T) {
	g := newRig(t)
	for e := range 2 {
		r := half{end: e, port: 1, last: 10}.rec()
		for _, f := range append(append([]flow.FieldID{}, commonTotal[:]...), commonDelta[:]...) {
			r.Has.Clear(f)
		}
		g.seeRec(r)
	}
	g.want(1)
	for _, f := range []flow.FieldID{flow.FBytes, flow.FBytesDelta, flow.FBytesSrc, flow.FBytesDeltaDst, flow.FThroughput, flow.FLossPackets} {
		eq(t, flow.Fields[f].Name, g.out[0].Has.Has(f), false)
	}
	g.drain()
}

func TestOutcomeOfBothEnds(t *testing.T) {
	for _, tc := range []struct {
		name     string
		src, dst flow.Outcome
		want     flow.Outcome
		evidence flow.Evidence
	}{
		{"agree", flow.OutcomeOK, flow.OutcomeOK, flow.OutcomeOK, flow.EvidenceConntrack | flow.EvidenceNFLOG | flow.EvidenceBothEnds},
		{"disagree", flow.OutcomeReset, flow.OutcomeOK, flow.OutcomeReset, flow.EvidenceConntrack},
		{"denied at the far end", flow.OutcomeUnanswered, flow.OutcomeDenied, flow.OutcomeDenied, flow.EvidenceNFLOG},
		{"only dst knows", flow.OutcomeUnknown, flow.OutcomeOK, flow.OutcomeOK, flow.EvidenceNFLOG},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t)
			s, d := half{end: sideSrc, port: 1}.rec(), half{end: sideDst, port: 1}.rec()
			if tc.src != flow.OutcomeUnknown {
				s.SetOutcome(tc.src)
				s.SetEvidence(flow.EvidenceConntrack)
			}
			d.SetOutcome(tc.dst)
			d.SetEvidence(flow.EvidenceNFLOG)
			g.seeRec(s)
			g.seeRec(d)
			eq(t, "outcome", g.out[0].Outcome, tc.want)
			eq(t, "evidence", g.out[0].Evidence, tc.evidence)
		})
	}
}

func TestCapsEvictWithAnEmission(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxConnections = 10 })
	for p := range 1000 {
		g.see(half{end: sideSrc, port: uint16(p), start: int64(p), last: int64(p), total: 100, delta: 100})
		g.pass(100)
		if g.c.Len() > 10 {
			t.Fatalf("%d live connections beyond the cap", g.c.Len())
		}
	}
	g.drain()
	g.want(1000)
	if g.c.Stats().Evicted == 0 {
		t.Error("nothing was evicted")
	}
	for i := range g.out {
		eq(t, "half", g.out[i].Half, true)
	}
}

func TestSight(t *testing.T) {
	g := newRig(t)
	s := g.see(half{end: sideSrc, port: 1, last: 10, total: 100, delta: 100})
	eq(t, "a new end is news", s.News, true)
	s = g.see(half{end: sideSrc, port: 1, last: 20, total: 200, delta: 100, seq: 1})
	eq(t, "more bytes are not", s.News, false)
	s = g.see(half{end: sideSrc, port: 1, last: 20, total: 200, seq: 2, final: true})
	eq(t, "an end is", s.News, true)
	g.drain()
	eq(t, "conn_id", s.ConnID, g.out[0].ConnID)
}

func TestValidate(t *testing.T) {
	for _, f := range []func(*Config){
		func(c *Config) { c.ActiveMs = 0 }, func(c *Config) { c.HalfMs = math.MaxInt64 },
		func(c *Config) { c.ClockToleranceMs = -1 }, func(c *Config) { c.MaxConnections = 0 }, func(c *Config) { c.MaxIdentities = 1 },
	} {
		c := DefaultConfig()
		f(&c)
		if c.Validate() == nil {
			t.Errorf("accepted %+v", c)
		}
	}
}

// The counters' bits are read from the presence mask in one go.
func TestCounterFields(t *testing.T) {
	for _, f := range []flow.FieldID{flow.FSvcIP, flow.FProxySNATIP} {
		if f>>6 != flow.FClusterIP>>6 {
			t.Error("normalize looks at one word of the mask, and the addresses lie in two")
		}
	}
	for k := range 4 {
		var r flow.Record
		r.Has.Set(commonTotal[k])
		if _, has := countersOf(&r); has != 1<<k {
			t.Errorf("%s: bits %08b", flow.Fields[commonTotal[k]].Name, has)
		}
		r = flow.Record{}
		r.Has.Set(commonDelta[k])
		if _, has := countersOf(&r); has != 16<<k {
			t.Errorf("%s: bits %08b", flow.Fields[commonDelta[k]].Name, has)
		}
	}
}

// Every field of the schema is either kept by the entry or part of the identity.
func TestEveryFieldHasAPlace(t *testing.T) {
	for id := range flow.FieldID(flow.NumFields) {
		if dynamic.Has(id) == static.Has(id) {
			t.Errorf("%s has no place, or two", flow.Fields[id].Name)
		}
	}
	if s := unsafe.Sizeof(entry{}); s > 360 {
		t.Errorf("an entry has %d bytes", s)
	}
	t.Logf("an entry has %d B", unsafe.Sizeof(entry{}))
}

// The intervals of a connection's records follow each other without a gap: a
// history that spreads deltas over them counts every byte at its time.
func TestSinceFollowsEnd(t *testing.T) {
	g := newRig(t)
	g.see(half{end: sideSrc, port: 7, last: 1000, total: 1000})
	for i := range int64(4) {
		g.pass(60_000)
		g.see(half{end: sideDst, port: 7, last: 61_000 + i*60_000, total: uint64(2000 + 1000*i), seq: uint32(i)})
	}
	g.pass(61_000)
	if len(g.out) < 3 {
		t.Fatalf("only %d records", len(g.out))
	}
	want := g.out[0].Start
	for i := range g.out {
		r := &g.out[i]
		if !r.Has.Has(flow.FSince) || r.Since != want {
			t.Errorf("record %d counts from %d to %d, want from %d", i, r.Since, r.End, want)
		}
		want = r.End
	}
}
