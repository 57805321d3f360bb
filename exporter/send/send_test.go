package send_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/collect"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/send"
	"github.com/weirnet/weir/internal/ledger"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// sinkhole is a collector that remembers which connections came.
type sinkhole struct {
	c    *collect.Collector
	book *ledger.Book
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	ports  map[uint16]int
	handed []flow.Record // what another was told before
	recs   int
}

func (s *sinkhole) HandleBatch(_ *collect.Source, b *flow.Batch) {
	defer b.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Recs {
		if b.Recs[i].HandedOver {
			s.handed = append(s.handed, b.Recs[i])
			continue
		}
		s.ports[b.Recs[i].SrcPort]++
		s.recs++
	}
}

func (s *sinkhole) count() int { s.mu.Lock(); defer s.mu.Unlock(); return s.recs }

func listen(t *testing.T, network, addr string) (*sinkhole, string) {
	t.Helper()
	s := &sinkhole{book: ledger.NewBook(), ports: map[uint16]int{}, done: make(chan struct{})}
	cfg := collect.DefaultConfig()
	if network == "udp" {
		cfg.UDP = addr
	} else {
		cfg.TCP = addr
	}
	c, err := collect.New(cfg, collect.Deps{Log: quiet(), Book: s.book, Handler: s})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.c, s.stop = c, cancel
	go func() {
		defer close(s.done)
		if err := c.Run(ctx, 5*time.Second); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-s.done })
	return s, c.Addrs()[0].String()
}

func record(n int) (flow.Record, flow.Tuple) {
	var r flow.Record
	r.SetSrcIP(netip.AddrFrom4([4]byte{10, 0, byte(n >> 16), 1}))
	r.SetDstIP(netip.MustParseAddr("10.0.9.9"))
	r.SetSrcPort(uint16(n))
	r.SetDstPort(80)
	r.SetProto(6)
	r.SetBytesDelta(100)
	r.SetRevBytesDelta(11)
	r.SetFirst(true)
	return r, flow.Tuple{Src: flow.Addr16(r.SrcIP), Dst: flow.Addr16(r.DstIP), SrcPort: r.SrcPort, DstPort: 80, Proto: 6}
}

func sender(t *testing.T, network string, addrs ...string) (*send.Sender, *ledger.Book, context.CancelFunc, chan struct{}) {
	t.Helper()
	cfg := send.DefaultConfig()
	cfg.Aggregators, cfg.Transport, cfg.Observer, cfg.Instance = addrs, network, "node-1", "boot-1"
	cfg.FlushInterval, cfg.LedgerInterval = 10*time.Millisecond, 50*time.Millisecond
	book := ledger.NewBook()
	s, err := send.New(cfg, send.Deps{Log: quiet(), Book: book})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s, book, cancel, done
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestAllArriveAndTheBooksSaySo(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			agg, addr := listen(t, network, "127.0.0.1:0")
			s, book, stop, done := sender(t, network, addr)
			const n = 2000
			for i := range n {
				r, route := record(i)
				s.Send(&r, route)
			}
			eventually(t, "all records", func() bool { return agg.count() == n })
			stop()
			<-done
			for _, l := range book.Snapshot() {
				if r, c, b := l.Diff(); r != 0 || c != 0 || b != 0 || l.Out.Records != n || l.Out.Bytes != n*111 {
					t.Errorf("stage %s does not balance: %+v", l.Stage, l)
				}
			}
			eventually(t, "the exporter's books", func() bool {
				for _, b := range agg.c.Books(time.Now()) {
					if b.Observer != "node-1" {
						return false
					}
					for _, l := range b.Lines {
						if l.Stage == "wire" && l.In.Records == n && l.Out.Records == n && l.Held.Records == 0 {
							return true
						}
					}
				}
				return false
			})
		})
	}
}

func TestBothEndsMeet(t *testing.T) {
	a, addrA := listen(t, "tcp", "127.0.0.1:0")
	b, addrB := listen(t, "tcp", "127.0.0.1:0")
	s1, _, _, _ := sender(t, "tcp", addrA, addrB)
	s2, _, _, _ := sender(t, "tcp", addrB, addrA) // the order of the list must not matter
	eventually(t, "both senders connect", func() bool { return a.c.Sessions() == 2 && b.c.Sessions() == 2 })
	const n = 1000
	for i := range n {
		r, route := record(i)
		s1.Send(&r, route)
		s2.Send(&r, route)
	}
	eventually(t, "all records", func() bool { return a.count()+b.count() == 2*n })
	if a.count() < n/2 || b.count() < n/2 {
		t.Errorf("shares %d and %d: want about half each", a.count(), b.count())
	}
	for _, h := range []*sinkhole{a, b} {
		for port, times := range h.ports {
			if times != 2 {
				t.Fatalf("connection from port %d: %d of its 2 ends came here", port, times)
			}
		}
	}
}

func TestGracefulDepartureLosesNothing(t *testing.T) {
	a, addrA := listen(t, "tcp", "127.0.0.1:0")
	b, addrB := listen(t, "tcp", "127.0.0.1:0")
	s, book, stop, done := sender(t, "tcp", addrA, addrB)
	eventually(t, "connect", func() bool { return a.c.Sessions() == 1 && b.c.Sessions() == 1 })
	const n = 20000
	for i := range n {
		if i == n/2 {
			a.stop()
		}
		r, route := record(i)
		s.Send(&r, route)
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	<-a.done
	eventually(t, "all records at one of the two", func() bool { return a.count()+b.count() == n })
	stop()
	<-done
	for _, l := range book.Snapshot() {
		if l.LostTotal().Records != 0 {
			t.Errorf("lost: %+v", l)
		}
	}
}

func TestQueueIsBoundedAndCounted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	cfg := send.DefaultConfig()
	cfg.Aggregators, cfg.Transport, cfg.Queue, cfg.StopTimeout = []string{addr}, "tcp", 100, 100*time.Millisecond
	book := ledger.NewBook()
	s, err := send.New(cfg, send.Deps{Log: quiet(), Book: book})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 250 {
		r, route := record(i)
		s.Send(&r, route)
	}
	line := func() string {
		l := book.Snapshot()[0]
		return fmt.Sprint(l.In.Records, l.Out.Records, l.Held.Records, l.Lost["queue_full"].Records, l.Lost["shutdown"].Records)
	}
	if got := line(); got != "250 0 100 150 0" {
		t.Fatalf("in out held full shutdown = %s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := line(); got != "250 0 0 150 100" {
		t.Fatalf("in out held full shutdown = %s", got)
	}
}

func TestReconnectsAndSendsTemplatesAgain(t *testing.T) {
	a, addr := listen(t, "tcp", "127.0.0.1:0")
	s, _, _, _ := sender(t, "tcp", addr)
	r, route := record(1)
	s.Send(&r, route)
	eventually(t, "first", func() bool { return a.count() == 1 })
	a.stop()
	<-a.done
	for i := range 10 {
		r, route := record(i)
		s.Send(&r, route)
	}
	b, _ := listen(t, "tcp", addr)
	eventually(t, "the rest after the restart", func() bool { return b.count() == 10 })
}
