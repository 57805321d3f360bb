package canary

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

const opened = 1_800_000_000_000

var (
	src = netip.MustParseAddrPort("10.0.0.1:40000")
	dst = netip.MustParseAddrPort("10.0.0.1:61980")
	num = Numbers{6, 1100, 5, 1050}
)

// run is a run of one TCP canary and one unanswered, at which every hop is right.
type run struct {
	sent       []Sent
	agent, agg Asked
}

func good() *run {
	unanswered := Numbers{1, 805, 0, 0}
	r := &run{
		sent: []Sent{
			{Kind: TCP, Family: "v4", Key: Key(6, src, dst), OpenedMs: opened, Payload: 777, Kernel: &num, Ended: true},
			{Kind: Unanswered, Family: "v4", Key: Key(17, src, dst), OpenedMs: opened, Payload: 777, Kernel: &unanswered, Ended: true},
		},
		agent: Asked{AtMs: opened + 3000, View: View{NowMs: opened + 3010, Connected: true}},
		agg:   Asked{AtMs: opened + 3000, View: View{NowMs: opened + 2990, Sinks: []SinkView{{Name: "file"}}}},
	}
	for i, s := range r.sent {
		mark := func(stage string) Mark {
			return Mark{Stage: stage, StartMs: opened + 5, Records: 1, Counted: true, Total: *s.Kernel, Deltas: *s.Kernel, Outcome: flow.OutcomeWords[s.Kind.Wanted()], Src: "shop/a", Dst: "node-1"}
		}
		r.agent.View.Traces = append(r.agent.View.Traces, Trace{Key: s.Key, Marks: []Mark{mark(StageConntrack), mark(StageTrack), mark(StageSend)}})
		r.agent.View.Traces[i].Marks[0].Outcome = ""
		r.agg.View.Traces = append(r.agg.View.Traces, Trace{Key: s.Key, Marks: []Mark{mark(StageCollect), mark(StageCorrelate), mark(StageLive), mark("sink/file")}})
	}
	return r
}

// mark finds a mark of the first canary.
func (r *run) mark(a *Asked, stage string) *Mark { return a.View.Trace(r.sent[0].Key).Mark(stage) }

// cut takes a mark and all behind it away.
func (r *run) cut(a *Asked, stage string) {
	t := a.View.Trace(r.sent[0].Key)
	for i := range t.Marks {
		if t.Marks[i].Stage == stage {
			t.Marks = t.Marks[:i]
			return
		}
	}
}

func (r *run) node(name string) {
	for i := range r.sent {
		r.sent[i].Path = Self(name)
	}
}

// names names the ends at every hop.
func (r *run) names(src, srcNode, dst, dstNode string) {
	for _, a := range []*Asked{&r.agent, &r.agg} {
		for _, t := range a.View.Traces {
			for i := range t.Marks {
				m := &t.Marks[i]
				m.Src, m.SrcNode, m.Dst, m.DstNode = src, srcNode, dst, dstNode
			}
		}
	}
}

// cross lets the canaries go from a pod of node-1 to one of node-2.
func (r *run) cross() {
	r.names("shop/a", "node-1", "shop/b", "node-2")
	for i := range r.sent {
		r.sent[i].Path = Path{Class: "cross-node", Src: "shop/a", SrcNode: "node-1", Dst: "shop/b", DstNode: "node-2"}
		t := r.agg.View.Trace(r.sent[i].Key)
		peer := *t.Mark(StageCollect)
		peer.Stage = StagePeer
		t.Marks = append(t.Marks, peer)
		for k := range t.Marks {
			t.Marks[k].SeenBy = seenByBoth
		}
	}
}

// service dials the Service shop/web, and has it booked by a name at every hop.
func (r *run) service(booked string) {
	for i := range r.sent {
		r.sent[i].Service = "shop/web"
	}
	for _, a := range []*Asked{&r.agent, &r.agg} {
		for _, t := range a.View.Traces {
			for i := range t.Marks {
				t.Marks[i].Service = booked
			}
		}
	}
}

func (r *run) cutOne(a *Asked, stage string) {
	t := a.View.Trace(r.sent[0].Key)
	t.Marks = slices.DeleteFunc(t.Marks, func(m Mark) bool { return m.Stage == stage })
}

func (r *run) drop(a *Asked) { a.View.Traces = nil }

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*run)
		broken string
		why    string
	}{
		{"all is well", func(*run) {}, "", ""},
		{"no entry", func(r *run) { r.sent[0].Kernel, r.sent[0].KernelWhy = nil, "not tracked" }, HopKernel, "tcp v4: no conntrack entry: not tracked"},
		{"no counters", func(r *run) { r.sent[0].Kernel = &Numbers{} }, HopKernel, "counts no bytes"},
		{"more bytes than sent", func(r *run) { r.sent[0].Kernel = &Numbers{6, 2222, 5, 1050} }, HopKernel, "777 bytes were sent"},
		{"an answer to the unanswered", func(r *run) { r.sent[1].Kernel = &Numbers{1, 805, 1, 805} }, HopKernel, "unanswered v4"},
		{"nobody may look", func(r *run) { r.sent[0].Kernel, r.sent[0].Denied, r.sent[0].KernelWhy = nil, true, "EPERM" }, "", ""},
		{"nobody may look, and the agent is wrong", func(r *run) {
			r.sent[0].Kernel, r.sent[0].Denied = nil, true
			r.mark(&r.agent, StageTrack).Total.Bytes++
		}, StageTrack, "are booked"},
		{"a refused one has no entry", func(r *run) { r.sent[0].Kind, r.sent[0].Kernel = Refused, nil; r.outcome("refused") }, "", ""},
		{"agent stalled", func(r *run) { r.agent.Err = "no answer" }, HopAgent, "does not answer: no answer"},
		{"agent not asked", func(r *run) { r.agent = Asked{Skip: true} }, "", ""},
		{"agent's clock behind", func(r *run) { r.agent.View.NowMs -= 60_000 }, HopAgentClock, "-60.0 s"},
		{"agent's clock nearly right", func(r *run) { r.agent.View.NowMs -= 4000 }, "", ""},
		{"not seen", func(r *run) { r.drop(&r.agent); r.drop(&r.agg) }, StageConntrack, "did not see it"},
		{"seen too little", func(r *run) { r.mark(&r.agent, StageConntrack).Total.RevBytes-- }, StageConntrack, "1050 back were sent and"},
		{"seen without counters", func(r *run) { r.mark(&r.agent, StageConntrack).Counted = false }, StageConntrack, "no counters"},
		{"seen at another time", func(r *run) { r.mark(&r.agent, StageConntrack).StartMs += 9000 }, StageConntrack, "+9.0 s"},
		{"not exported", func(r *run) { r.cut(&r.agent, StageTrack); r.drop(&r.agg) }, StageTrack, "did not export it"},
		{"exported twice", func(r *run) { r.mark(&r.agent, StageTrack).Deltas.Bytes *= 2 }, StageTrack, "add up to"},
		{"wrong outcome", func(r *run) { r.mark(&r.agent, StageTrack).Outcome = "reset" }, StageTrack, "its outcome is reset, and was ok"},
		{"outcome not proven", func(r *run) { r.mark(&r.agent, StageTrack).Outcome = "" }, StageTrack, "not proven"},
		{"unanswered cannot be proven", func(r *run) { r.sent[1].Ended = false; r.outcomeOf(1, "") }, "", ""},
		{"not given to the sender", func(r *run) { r.cut(&r.agent, StageSend); r.drop(&r.agg) }, StageSend, "not given to the sender"},
		{"aggregator down", func(r *run) { r.agg, r.agent.View.Connected = Asked{Err: "refused"}, false }, HopAgg, "does not answer: refused"},
		{"aggregator's clock", func(r *run) { r.agg.View.NowMs += 7000 }, HopAggClock, "+7.0 s"},
		{"no session", func(r *run) { r.drop(&r.agg); r.agent.View.Connected, r.agent.View.Held = false, 12 }, HopWire, "12 records wait"},
		{"a session that broke later", func(r *run) { r.agent.View.Connected = false }, "", ""},
		{"lost on the wire", func(r *run) { r.drop(&r.agg) }, StageCollect, "did not decode it"},
		{"not told", func(r *run) { r.cut(&r.agg, StageCorrelate) }, StageCorrelate, "did not tell it"},
		{"other names", func(r *run) { r.mark(&r.agg, StageCorrelate).Dst = "shop/b" }, StageCorrelate, `named its ends "shop/a" and "node-1", and here they are "shop/a" and "shop/b"`},
		{"named as the node", func(r *run) { r.node("node-1"); r.names("node-1", "node-1", "corp", "") }, "", ""},
		{"named otherwise", func(r *run) { r.node("node-1"); r.names("node-1", "node-1", "shop/b", "node-1") }, StageTrack, "its server is node-1, and is called shop/b"},
		{"named as another node", func(r *run) { r.node("node-1"); r.names("node-2", "node-2", "", "") }, StageTrack, "is called node-2"},
		{"crosses", func(r *run) { r.cross() }, "", ""},
		{"crosses, and the other node did not tell", func(r *run) { r.cross(); r.cutOne(&r.agg, StagePeer) }, StagePeer, "the agent of node-2, where it arrived, did not tell of it"},
		{"crosses, and is not joined", func(r *run) { r.cross(); r.mark(&r.agg, StageCorrelate).SeenBy = "src" }, StageCorrelate, "only node-1 told of it, and not node-2"},
		{"a pod without a name", func(r *run) { r.cross(); r.mark(&r.agent, StageTrack).Dst = "" }, StageTrack, "its server is shop/b, and has no name"},
		{"a pod on another node", func(r *run) { r.cross(); r.mark(&r.agent, StageTrack).DstNode = "node-3" }, StageTrack, "shop/b is on node-2, and is said to be on node-3"},
		{"through a Service", func(r *run) { r.cross(); r.service("shop/web:canary") }, "", ""},
		{"through another Service", func(r *run) { r.cross(); r.service("shop/other") }, StageTrack, "dialled by the Service shop/web, and is booked as dialled by shop/other"},
		{"through no Service", func(r *run) { r.cross(); r.service("") }, StageTrack, "dialled directly"},
		{"what a server outside says", func(r *run) { r.sent[0].Class, r.sent[0].Payload = External, 0 }, "", ""},
		{"first sights beside", func(r *run) { r.mark(&r.agg, StageLive).Deltas = Numbers{} }, "", ""},
		{"not live", func(r *run) { r.cut(&r.agg, StageLive) }, StageLive, "live streams"},
		{"sink full", func(r *run) {
			r.cut(&r.agg, "sink/file")
			r.agg.View.Sinks[0] = SinkView{Name: "file", Error: "disk full", Held: 9}
		}, "sink/file", "disk full; 9 wait"},
		{"sink slow", func(r *run) { r.cut(&r.agg, "sink/file"); r.agg.View.Sinks[0].Held = 4 }, "sink/file", "has not confirmed it; 4 records wait"},
		{"sink with a filter", func(r *run) { r.cut(&r.agg, "sink/file"); r.agg.View.Sinks[0].Filtered = true }, "", ""},
		{"second sink", func(r *run) { r.agg.View.Sinks = append(r.agg.View.Sinks, SinkView{Name: "kafka"}) }, "sink/kafka", "not confirmed"},
		{"the first of several", func(r *run) { r.mark(&r.agg, StageCorrelate).Total.Bytes++; r.agent.View.NowMs = 1 }, HopAgentClock, ""},
	} {
		r := good()
		c.change(r)
		v := Judge(r.sent, &r.agent, &r.agg)
		if v.Broken != c.broken || !strings.Contains(v.Why, c.why) {
			t.Errorf("%s: broken at %q (%s), want %q (%s)", c.name, v.Broken, v.Why, c.broken, c.why)
		}
		if v.Broken != "" && v.Remedy == "" {
			t.Errorf("%s: no remedy", c.name)
		}
		for _, h := range v.Hops {
			if len(h.States) != len(r.sent) {
				t.Errorf("%s: %s has %d states", c.name, h.Name, len(h.States))
			}
			if v.Broken == "" && h.bad() {
				t.Errorf("%s: %s is bad and not named", c.name, h.Name)
			}
		}
	}
}

func (r *run) outcome(w string) { r.outcomeOf(0, w) }

func (r *run) outcomeOf(i int, w string) {
	for _, a := range []*Asked{&r.agent, &r.agg} {
		for k := range a.View.Traces[i].Marks {
			if m := &a.View.Traces[i].Marks[k]; m.Stage != StageConntrack {
				m.Outcome = w
			}
		}
	}
}

func TestPorts(t *testing.T) {
	seen := map[uint16]Kind{}
	for k := range NumKinds {
		for i := 0; ; i++ {
			p, ok := k.Port(i)
			if !ok {
				break
			}
			if other, twice := seen[p]; twice || !Is(6, p) || !Is(17, p) || Is(1, p) {
				t.Errorf("port %d of %s: %v %v", p, k, other, twice)
			}
			seen[p] = k
		}
	}
	if len(seen) != LastPort-FirstPort+1 || Is(6, FirstPort-1) || Is(6, LastPort+1) {
		t.Errorf("%d ports", len(seen))
	}
}

// TestTrail: marks add up deltas and keep totals; absent fields of a record that is
// decoded in place say nothing; the oldest canary goes first.
func TestTrail(t *testing.T) {
	y := NewTrail(3)
	c := track.Conn{HasCounters: true, Start: opened * 1e6, Counters: track.Counters{OrigPackets: 2, OrigBytes: 100, ReplyPackets: 1, ReplyBytes: 40}}
	c.Orig = flow.Tuple{Src: flow.Addr16(src.Addr()), Dst: flow.Addr16(netip.MustParseAddr("10.96.0.1")), SrcPort: src.Port(), DstPort: dst.Port(), Proto: 6}
	c.Reply = flow.Tuple{Src: flow.Addr16(dst.Addr()), SrcPort: dst.Port()}
	if !MayBe(&c) {
		t.Fatal("no canary")
	}
	y.Conn(7, &c)
	var r flow.Record
	r.SetSrcIP(src.Addr())
	r.SetDstIP(dst.Addr())
	r.SetProto(6)
	r.SetSrcPort(src.Port())
	r.DstPort = dst.Port()
	if IsRecord(&r) {
		t.Error("a port that is absent makes a canary")
	}
	r.SetDstPort(dst.Port())
	r.SetBytes(60)
	r.SetBytesDelta(60)
	r.SrcPod = "of another record"
	y.Records(8, StageTrack, []flow.Record{r, {}})
	r.SetBytes(100)
	r.SetBytesDelta(40)
	r.SetOutcome(flow.OutcomeOK)
	r.SetDstPod("web")
	r.SetDstNS("shop")
	y.Records(9, StageTrack, []flow.Record{r})
	want := []Trace{{Key: Key(6, src, dst), Marks: []Mark{
		{Stage: StageConntrack, AtMs: 7, StartMs: opened, Records: 1, Counted: true, Total: Numbers{2, 100, 1, 40}, Deltas: Numbers{2, 100, 1, 40}},
		{Stage: StageTrack, AtMs: 9, Records: 2, Counted: true, Total: Numbers{Bytes: 100}, Deltas: Numbers{Bytes: 100}, Outcome: "ok", Dst: "shop/web"},
	}}}
	if diff := cmp.Diff(want, y.List(), cmpopts.IgnoreUnexported(Trace{})); diff != "" {
		t.Error(diff)
	}
	r.SetStart(opened + anotherMs + 1) // another connection of the same tuple
	y.Records(10, StageTrack, []flow.Record{r})
	r.SetStart(opened) // and a late word of the one before
	y.Records(11, StageTrack, []flow.Record{r})
	again := y.Get([]string{Key(6, src, dst)})
	if len(again) != 1 || len(again[0].Marks) != 1 || again[0].Marks[0].Records != 1 || again[0].Marks[0].AtMs != 10 {
		t.Errorf("a tuple that is used again: %+v", again)
	}
	for i := range 5 {
		r.SetSrcPort(uint16(50000 + i))
		y.Records(10, StageTrack, []flow.Record{r})
	}
	var kept []string
	for _, x := range y.List() {
		kept = append(kept, x.Key)
	}
	if diff := cmp.Diff([]string{"tcp 10.0.0.1:50002>10.0.0.1:61980", "tcp 10.0.0.1:50003>10.0.0.1:61980", "tcp 10.0.0.1:50004>10.0.0.1:61980"}, kept); diff != "" || y.Seen() != 7 {
		t.Errorf("%d seen: %s", y.Seen(), diff)
	}
}

// BenchmarkNoCanary is what every record pays at every stage.
func BenchmarkNoCanary(b *testing.B) {
	y := NewTrail(10)
	recs := make([]flow.Record, 256)
	for i := range recs {
		recs[i].SetProto(6)
		recs[i].SetDstPort(uint16(i))
	}
	b.ReportAllocs()
	for b.Loop() {
		y.Records(1, StageTrack, recs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(recs)), "ns/record")
}

func ExampleKey() {
	fmt.Println(Key(6, src, dst))
	// Output: tcp 10.0.0.1:40000>10.0.0.1:61980
}
