package aggregator

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

const (
	benchConns  = 4096
	benchRounds = 8 // records of each end of a connection
)

// benchHalf is what one end of connection i tells in a round: Antrea's elements,
// as an agent of a cluster of 1,000 pods on 20 nodes fills them.
func benchHalf(i, end, round int) *flow.Record {
	a, b := i%1000, (i*7+13*(i/1000)+1)%1000
	name := func(n int) string { return fmt.Sprintf("checkout-7d9c5b6f48-%05x", n*7919) }
	node := func(n int) string { return fmt.Sprintf("worker-%d.example.internal", n%20) }
	r := &flow.Record{}
	r.SetStart(1_700_000_000_000)
	r.SetEnd(r.Start + int64(round+1)*5000)
	r.SetEndReason(flow.EndReasonActive)
	r.SetTCPState("ESTABLISHED")
	if round == benchRounds-1 {
		r.SetEndReason(flow.EndReasonEnd)
		r.SetTCPState("TIME_WAIT")
	}
	r.SetSrcIP(netip.AddrFrom4([4]byte{10, 10, byte(a >> 8), byte(a)}))
	r.SetDstIP(netip.AddrFrom4([4]byte{10, 20, byte(b >> 8), byte(b)}))
	r.SetSrcPort(uint16(i / 1000 * 8192))
	r.SetDstPort(8080)
	r.SetProto(6)
	t := uint64(round + 1)
	r.SetPackets(t * 10)
	r.SetBytes(t * 9000)
	r.SetPacketsDelta(10)
	r.SetBytesDelta(9000)
	r.SetRevPackets(t * 20)
	r.SetRevBytes(t * 90_000)
	r.SetRevPacketsDelta(20)
	r.SetRevBytesDelta(90_000)
	r.SetFlowType(flow.FlowTypeInterNode)
	if end == 0 {
		r.SetSrcPod(name(a))
		r.SetSrcNS(fmt.Sprintf("team-%d", a%40))
		r.SetSrcNode(node(a))
		r.SetSvcPort(80)
		r.SetSvcPortName(fmt.Sprintf("team-%d/service-%d:http", b%40, b%50))
		r.SetEgressPolicy(fmt.Sprintf("allow-to-backends-%d", a%30))
		r.SetEgressPolicyNS(r.SrcNS)
		r.SetEgressRule(fmt.Sprintf("rule-%d", a%7))
		return r
	}
	r.SetDstPod(name(b))
	r.SetDstNS(fmt.Sprintf("team-%d", b%40))
	r.SetDstNode(node(b))
	r.SetIngressPolicy(fmt.Sprintf("allow-from-frontends-%d", b%30))
	r.SetIngressPolicyNS(r.DstNS)
	r.SetIngressRule(fmt.Sprintf("rule-%d", b%7))
	return r
}

// benchBytes are IPFIX messages: the template (40 elements, 17 of them strings)
// and the rounds of all connections, each end's in turn.
// Each pass is of other connections: the client's port moves.
func benchBytes(tb testing.TB, maxMessage, pass int) (template []byte, data [][]byte, records int) {
	tb.Helper()
	t, err := ipfix.NewTemplate(256, ipfix.AntreaExporter().V4.Elems[:40])
	if err != nil {
		tb.Fatal(err)
	}
	enc := ipfix.NewEncoder(1, ipfix.EncoderOptions{OneSet: true, MaxMessage: maxMessage})
	enc.AddTemplate(t)
	template = bytes.Clone(enc.Take(1))
	for round := range benchRounds {
		for from := 0; from < benchConns; from += 256 {
			for end := range 2 {
				for i := from; i < from+256; i++ {
					r := benchHalf(i, end, round)
					r.SrcPort += uint16(pass)
					if !enc.Append(t, r) {
						data = append(data, bytes.Clone(enc.Take(1)))
						enc.Append(t, r)
					}
					records++
				}
			}
		}
	}
	return template, append(data, bytes.Clone(enc.Take(1))), records
}

// gather collects decoded records as the collector does, and makes each pass over
// the same bytes one of other connections by moving the client's port, or, steady,
// more of the same connections.
type gather struct {
	batches sync.Pool
	batch   *flow.Batch
	take    func(*flow.Batch)
	pass    int
	steady  bool
}

func newGather(take func(*flow.Batch), steady bool) *gather {
	g := &gather{take: take, steady: steady}
	g.batches.New = func() any { return flow.NewBatch(64, func(b *flow.Batch) { g.batches.Put(b) }) }
	return g
}

func (g *gather) Place(fields *flow.Mask) *flow.Record {
	if g.batch == nil {
		g.batch = g.batches.Get().(*flow.Batch)
	}
	return g.batch.Place(fields)
}

func (g *gather) Record(r *flow.Record) {
	if g.steady {
		g.again(r)
	} else {
		r.SrcPort += uint16(g.pass)
	}
	g.batch.Commit()
	if g.batch.Full() {
		g.flush()
	}
}

// again makes r what its end says a pass later: more, and no end yet.
func (g *gather) again(r *flow.Record) {
	n := uint64(g.pass * benchRounds)
	r.End += int64(n) * 5000
	r.EndReason = flow.EndReasonActive
	r.Packets += n * 10
	r.Bytes += n * 9000
	r.RevPackets += n * 20
	r.RevBytes += n * 90_000
}

func (g *gather) flush() {
	if g.batch != nil {
		g.take(g.batch)
		g.batch = nil
	}
}

func (g *gather) Ledger(*ipfix.LedgerRow) {}

// cpu is what this process has used so far, user and system.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCollectCorrelate decodes messages and correlates the records through
// the loop, to a null sink. records/s is per core: records by the CPU time of the
// whole process, garbage collection and queues included.
func BenchmarkCollectCorrelate(b *testing.B) {
	template, data, records := benchBytes(b, 1400, 0) // what fits into a UDP packet, which all peers read
	b.Run("goflow2", func(b *testing.B) { benchGoflow2(b, template, data, records) })
	// The peer reads what ours reads: other connections in each pass, or the same.
	with := func(data [][]byte) [][]byte { return append([][]byte{template}, data...) }
	same := func(int) [][]byte { return with(data) }
	other := func(pass int) [][]byte {
		_, data, _ := benchBytes(b, 1400, pass)
		return with(data)
	}
	b.Run("nfacctd", func(b *testing.B) { benchNfacctd(b, other, records, benchConns*nfacctdPasses) })
	b.Run("nfacctd-steady", func(b *testing.B) { benchNfacctd(b, same, records, benchConns) })
	b.Run("weir", func(b *testing.B) { benchWeir(b, template, data, records, false) })
	b.Run("weir-steady", func(b *testing.B) { benchWeir(b, template, data, records, true) })
}

// benchWeir measures passes over the messages. Each is of other connections, as
// many as there are in one: born, joined, told, ended and forgotten. Or, in a
// steady state, each is the next word of the same connections, that live on.
func benchWeir(b *testing.B, template []byte, data [][]byte, records int, steady bool) {
	b.Helper()
	cfg := DefaultConfig()
	cfg.Shards = 1
	cfg.Correlate.LingerMs = 1000
	book := ledger.NewBook()
	told := 0
	a, err := New(cfg, Deps{Stage: book.Stage("correlate"), Out: func(recs []flow.Record) { told += len(recs) }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	s := ipfix.NewSession(ipfix.SessionOptions{})
	g := newGather(a.TakeBatch, steady)
	decode := func(m []byte) {
		if err := s.Decode(0, m, g); err != nil {
			b.Fatal(err)
		}
	}
	decode(template)
	passOver := func() {
		g.pass++
		for _, m := range data {
			decode(m)
		}
		g.flush()
	}
	warm := 0 // until ended connections are forgotten as fast as new ones come
	for begin := time.Now(); time.Since(begin) < 2*time.Second; warm++ {
		passOver()
	}
	runtime.GC()
	before := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		passOver()
	}
	for a.queued.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	used := cpu(b) - before
	n := float64(b.N) * float64(records)
	b.ReportMetric(n/used.Seconds(), "records/s")
	b.ReportMetric(float64(used.Nanoseconds())/n, "cpu-ns/record")
	b.ReportMetric(float64(records), "records/op")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	l := book.Snapshot()[0]
	if r, c, by := l.Diff(); r != 0 || c != 0 || by != 0 || l.In.Records != uint64((b.N+warm)*records) || told == 0 {
		b.Fatalf("the books differ: %+v", l)
	}
	conns := uint64((b.N + warm) * benchConns)
	if steady {
		conns = benchConns
	}
	if t := a.Total(); t.Repeated != 0 || t.HalfTold != 0 || t.InConnections != conns || t.Joined != conns {
		b.Fatalf("not the mix that was meant: %+v", t)
	}
}
