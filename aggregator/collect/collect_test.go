package collect_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/collect"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

type counter struct{ records atomic.Int64 }

func (c *counter) HandleBatch(_ *collect.Source, b *flow.Batch) {
	c.records.Add(int64(len(b.Recs)))
	b.Release()
}

func start(t *testing.T, cfg collect.Config) (*collect.Collector, *counter, *ledger.Book) {
	t.Helper()
	h, book := &counter{}, ledger.NewBook()
	c, err := collect.New(cfg, collect.Deps{Log: slog.New(slog.DiscardHandler), Book: book, Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, 2*time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c, h, book
}

func config() collect.Config {
	cfg := collect.DefaultConfig()
	cfg.TCP = "127.0.0.1:0"
	return cfg
}

func dial(t *testing.T, c *collect.Collector) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// messages gives a stream of n records, some a message.
func messages(n int) []byte {
	set := ipfix.WeirLink()
	enc := ipfix.NewEncoder(1, ipfix.EncoderOptions{MaxMessage: 4000})
	var out []byte
	for _, tm := range set.Templates() {
		for !enc.AddTemplate(tm) {
			out = append(out, enc.Take(1)...)
		}
	}
	for i := range n {
		var r flow.Record
		r.SetSrcIP(netip.MustParseAddr("10.0.0.1"))
		r.SetDstIP(netip.MustParseAddr("10.0.0.2"))
		r.SetSrcPort(uint16(i))
		for !enc.Append(set.V4, &r) {
			out = append(out, enc.Take(1)...)
		}
	}
	return append(out, enc.Take(1)...)
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

// TestHostileSessionsDelayNobody opens sessions that lie about lengths, stall in the
// middle of a message or speak another protocol, beside a good one.
func TestHostileSessionsDelayNobody(t *testing.T) {
	c, h, book := start(t, config())
	header := func(version, length uint16) []byte {
		b := binary.BigEndian.AppendUint16(nil, version)
		return binary.BigEndian.AppendUint16(b, length)
	}
	hostile := [][]byte{
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		header(10, 3),                     // shorter than its own header
		header(10, 65535),                 // promises and never delivers
		append(header(9, 20), 1, 2, 3, 4), // NetFlow v9
		append(header(10, 20), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 255),                            // set longer than the message
		append(header(10, 20), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 44, 0, 0),                             // set of no length: must not loop
		append(header(10, 28), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 12, 1, 0, 255, 255, 0, 1, 0, 4), // 65,535 elements
	}
	for _, b := range hostile {
		if _, err := dial(t, c).Write(b); err != nil {
			t.Fatal(err)
		}
	}
	good := dial(t, c)
	if _, err := good.Write(messages(500)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the good session's records", func() bool { return h.records.Load() == 500 })
	eventually(t, "all that is malformed is counted", func() bool { return c.Stats.Malformed.Load() >= 6 })
	if l := book.Snapshot()[0]; l.In.Records != 500 || l.Out.Records != 500 {
		t.Errorf("books: %+v", l)
	}
}

func TestThousandsOfSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("2,000 sockets: not part of -short")
	}
	c, h, _ := start(t, config())
	const sessions, each = 2000, 20
	stream := messages(each)
	var wg sync.WaitGroup
	conns := make([]net.Conn, sessions)
	for i := range conns {
		conns[i] = dial(t, c)
	}
	eventually(t, "all sessions at once", func() bool { return c.Sessions() == sessions })
	for _, conn := range conns {
		wg.Go(func() {
			if _, err := conn.Write(stream); err != nil {
				t.Error(err)
			}
			conn.Close()
		})
	}
	wg.Wait()
	eventually(t, "all records", func() bool { return h.records.Load() == sessions*each })
	eventually(t, "all sessions end", func() bool { return c.Sessions() == 0 })
}

func TestSessionCap(t *testing.T) {
	cfg := config()
	cfg.MaxSessions = 2
	c, _, _ := start(t, cfg)
	dial(t, c)
	dial(t, c)
	eventually(t, "two sessions", func() bool { return c.Sessions() == 2 })
	dial(t, c)
	eventually(t, "the third refused and counted", func() bool { return c.Stats.Refused.Load() == 1 })
}

// TestGapsAreBooked drops a message: its records are booked as lost by their number.
func TestGapsAreBooked(t *testing.T) {
	c, h, book := start(t, config())
	stream := messages(300)
	var out []byte
	for n, rest := 0, stream; len(rest) > 0; n++ {
		msg, r, err := ipfix.NextMessage(rest)
		if err != nil || msg == nil {
			t.Fatal(err)
		}
		if n != 2 {
			out = append(out, msg...)
		}
		rest = r
	}
	if _, err := dial(t, c).Write(out); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every record arrives or is booked", func() bool {
		l := book.Snapshot()[0]
		return l.In.Records == 300 && l.Out.Records == uint64(h.records.Load()) && l.Lost["sequence_gap"].Records == 300-l.Out.Records && l.Lost["sequence_gap"].Records > 0
	})
}

func BenchmarkStream(b *testing.B) {
	cfg := config()
	h, book := &counter{}, ledger.NewBook()
	c, err := collect.New(cfg, collect.Deps{Log: slog.New(slog.DiscardHandler), Book: book, Handler: h})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, time.Second) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	conn, err := net.Dial("tcp", c.Addrs()[0].String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	stream := messages(1000)
	b.ReportAllocs()
	var sent int64
	for b.Loop() {
		if _, err := conn.Write(stream); err != nil {
			b.Fatal(err)
		}
		sent += 1000
		for sent-h.records.Load() > 100_000 {
			time.Sleep(time.Millisecond)
		}
	}
	for h.records.Load() < sent {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent), "ns/record")
}
