package aggregator

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// rec makes the half of connection n that one end (0 client, 1 server) tells.
func rec(n, end int, start time.Time, total uint64) flow.Record {
	var r flow.Record
	r.SetStart(start.UnixMilli())
	r.SetEnd(start.UnixMilli() + 10)
	r.SetSrcIP(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
	r.SetDstIP(netip.AddrFrom4([4]byte{10, 1, 0, 1}))
	r.SetSrcPort(uint16(n))
	r.SetDstPort(80)
	r.SetProto(6)
	r.SetBytes(total)
	r.SetBytesDelta(total)
	r.SetFlowType(flow.FlowTypeInterNode)
	r.SetSeenBy(flow.SeenBySource + flow.SeenBy(end))
	r.SetConnID(uint64(n))
	r.SetFirst(true)
	return r
}

type rig struct {
	*Aggregator
	book *ledger.Book
	mu   sync.Mutex
	out  []flow.Record
	live []flow.Record
	done chan error
	stop context.CancelFunc
}

func (g *rig) take(recs []flow.Record) {
	g.mu.Lock()
	g.out = append(g.out, recs...)
	g.mu.Unlock()
}

func (g *rig) watch(recs []flow.Record) {
	g.mu.Lock()
	g.live = append(g.live, recs...)
	g.mu.Unlock()
}

func (g *rig) seen() (out, live []flow.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]flow.Record(nil), g.out...), append([]flow.Record(nil), g.live...)
}

func start(t *testing.T, edit func(*Config, *Deps)) *rig {
	t.Helper()
	g := &rig{book: ledger.NewBook(), done: make(chan error, 1)}
	cfg, deps := DefaultConfig(), Deps{Stage: g.book.Stage("correlate"), Out: g.take, Live: g.watch}
	cfg.Shards = 4
	if edit != nil {
		edit(&cfg, &deps)
	}
	a, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	g.Aggregator = a
	ctx, cancel := context.WithCancel(t.Context())
	g.stop = cancel
	go func() { g.done <- a.Run(ctx) }()
	synctest.Wait()
	return g
}

func (g *rig) end(t *testing.T) {
	t.Helper()
	if err := <-g.done; err != nil {
		t.Error(err)
	}
}

func (g *rig) balanced(t *testing.T) ledger.Line {
	t.Helper()
	l := g.book.Snapshot()[0]
	if r, c, b := l.Diff(); r != 0 || c != 0 || b != 0 {
		t.Fatalf("the books differ by %d records, %d connections, %d bytes: %+v", r, c, b, l)
	}
	return l
}

func (g *rig) outcome(t *testing.T) (records, connections int, bytes uint64) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.out {
		records += int(g.out[i].Records)
		bytes += g.out[i].BytesDelta
		if g.out[i].First {
			connections++
		}
	}
	return records, connections, bytes
}

func TestJoinsOverShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, nil)
		if !g.Ready() {
			t.Error("runs and is not ready")
		}
		now := time.Now()
		for end := range 2 {
			var recs []flow.Record
			for n := range 1000 {
				recs = append(recs, rec(n, end, now, 100))
			}
			g.Take(recs)
			synctest.Wait()
			g.balanced(t)
		}
		if r, c, b := g.outcome(t); r != 2000 || c != 1000 || b != 100_000 {
			t.Errorf("out: %d records, %d connections, %d bytes", r, c, b)
		}
		used := 0
		time.Sleep(time.Second)
		synctest.Wait()
		for _, s := range g.shards {
			if s.shown.Load().InConnections > 0 {
				used++
			}
		}
		if used != 4 {
			t.Errorf("%d of 4 shards had work", used)
		}
		if tot := g.Total(); tot.Live != 1000 || tot.Joined != 1000 {
			t.Errorf("shown: %+v", tot)
		}
		g.stop()
		if err := <-g.done; err != nil {
			t.Error(err)
		}
	})
}

func TestDeadlinesByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, nil)
		g.Take([]flow.Record{rec(1, 0, time.Now(), 100)})
		time.Sleep(9 * time.Second)
		synctest.Wait()
		out, live := g.seen()
		if len(out) != 0 {
			t.Fatal("a half was told before its deadline")
		}
		if l := g.balanced(t); l.Held != (ledger.Amount{Records: 1, Connections: 1, Bytes: 100}) {
			t.Errorf("held %+v", l.Held)
		}
		// The live view did not wait, and tells no deltas.
		if len(live) != 1 || live[0].Bytes != 100 || live[0].Has.Has(flow.FBytesDelta) {
			t.Errorf("live: %+v", live)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if out, _ := g.seen(); len(out) != 1 || !out[0].Half || out[0].ConnID != live[0].ConnID {
			t.Fatalf("out: %+v", out)
		}
		g.balanced(t)
		g.stop()
		g.end(t)
	})
}

func TestDrainTellsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, nil)
		var recs []flow.Record
		for n := range 500 {
			recs = append(recs, rec(n, 0, time.Now(), 100))
		}
		g.Take(recs)
		g.stop()
		g.end(t)
		if r, c, b := g.outcome(t); r != 500 || c != 500 || b != 50_000 {
			t.Errorf("out: %d records, %d connections, %d bytes", r, c, b)
		}
		if l := g.balanced(t); l.Held != (ledger.Amount{}) {
			t.Errorf("held after the drain: %+v", l.Held)
		}
		g.Take(recs[:3]) // too late: booked, not forgotten
		if l := g.balanced(t); l.Lost["stopped"].Records != 3 {
			t.Errorf("lost: %+v", l.Lost)
		}
	})
}

func TestAFullQueueMakesTakeWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var g *rig
		g = start(t, func(c *Config, d *Deps) {
			c.Shards, c.Queue, c.Batch = 1, 2, 2
			d.Out = func(recs []flow.Record) { <-gate; g.take(recs) }
		})
		fed := make(chan struct{})
		go func() {
			for n := range 20 {
				g.Take([]flow.Record{rec(n, 0, time.Now(), 100), rec(n, 1, time.Now(), 100)})
			}
			close(fed)
		}()
		synctest.Wait()
		select {
		case <-fed:
			t.Fatal("Take did not wait")
		default:
		}
		if h := g.Held(); h.Records < 6 || h.Records > 10 {
			t.Errorf("held %+v: a bounded queue holds what waits", h)
		}
		close(gate)
		<-fed
		g.stop()
		g.end(t)
		g.balanced(t)
		if r, c, _ := g.outcome(t); r != 40 || c != 20 {
			t.Errorf("out: %d records of %d connections", r, c)
		}
	})
}

func TestSubscribersLoseAndNeverDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, func(c *Config, d *Deps) { c.Shards = 1; d.Live = nil })
		slow := g.Subscribe(nil, 1)
		odd := g.Subscribe(func(r *flow.Record) bool { return r.SrcPort%2 == 1 }, 100)
		for n := range 10 {
			g.Take([]flow.Record{rec(n, 0, time.Now(), 100), rec(n, 1, time.Now(), 100)})
			synctest.Wait()
		}
		if out, _ := g.seen(); len(out) != 10 {
			t.Errorf("%d told", len(out))
		}
		// Of each connection: the joined record, then the first half's sight.
		if slow.Lost() == 0 || len(slow.C) != 1 {
			t.Errorf("slow reader: %d lost, %d waiting", slow.Lost(), len(slow.C))
		}
		odd.Close()
		n := 0
		for b := range odd.C {
			for i := range b {
				n++
				if b[i].SrcPort%2 != 1 {
					t.Errorf("got port %d", b[i].SrcPort)
				}
			}
		}
		if n < 5 || odd.Lost() != 0 {
			t.Errorf("got %d records, lost %d", n, odd.Lost())
		}
		g.stop()
		g.end(t)
		for range slow.C { // closed at the end
		}
		late := g.Subscribe(nil, 1)
		if _, ok := <-late.C; ok {
			t.Error("a subscription after the end is open")
		}
	})
}

func TestValidate(t *testing.T) {
	for _, f := range []func(*Config){
		func(c *Config) { c.Shards = -1 }, func(c *Config) { c.Queue = 0 }, func(c *Config) { c.Batch = 0 },
		func(c *Config) { c.Tick = 0 }, func(c *Config) { c.Correlate.ActiveMs = 0 },
	} {
		c := DefaultConfig()
		f(&c)
		if _, err := New(c, Deps{Stage: ledger.NewBook().Stage("x"), Out: func([]flow.Record) {}}); err == nil {
			t.Errorf("accepted %+v", c)
		}
	}
	if _, err := New(DefaultConfig(), Deps{}); err == nil {
		t.Error("accepted no output")
	}
}

func TestMetricsHaveNamesAndHelp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, nil)
		seen := map[string]bool{}
		for _, m := range g.Metrics() {
			if seen[m.Name] || m.Help == "" {
				t.Errorf("metric %q is twice there or says nothing", m.Name)
			}
			seen[m.Name] = true
			m.Read(func(float64, ...string) {})
		}
		g.stop()
		g.end(t)
	})
}

// BenchmarkTake measures spreading and correlating, to a null sink.
func BenchmarkTake(b *testing.B) {
	book := ledger.NewBook()
	cfg := DefaultConfig()
	a, err := New(cfg, Deps{Stage: book.Stage("correlate"), Out: func([]flow.Record) {}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	recs := make([]flow.Record, 0, 64)
	now := time.Now()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		recs = recs[:0]
		for range 32 {
			n++
			recs = append(recs, rec(n%20000, 0, now, uint64(n)), rec(n%20000, 1, now, uint64(n)))
		}
		a.Take(recs)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/record")
}
