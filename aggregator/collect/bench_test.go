package collect_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/collect"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

// BenchmarkSessions spreads the same number of records over more and more TCP
// sessions, each with templates and names of its own. The CPU is that of the whole
// process, so it holds the sender's system calls as well as the collector's. B/session
// is what a session at rest keeps of the heap.
func BenchmarkSessions(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 5000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) { benchSessions(b, n) })
	}
}

func benchSessions(b *testing.B, n int) {
	b.Helper()
	const records = 50_000
	cfg, h := config(), &counter{}
	c, err := collect.New(cfg, collect.Deps{Log: slog.New(slog.DiscardHandler), Book: ledger.NewBook(), Handler: h})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(b.Context(), time.Second) }()
	templates, data := messagesOf(records / n)
	before := heapNow()
	conns := make([]net.Conn, n)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", c.Addrs()[0].String()); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
	}
	want := int64(0)
	send := func(stream []byte, each int) {
		for _, conn := range conns {
			if _, err := conn.Write(stream); err != nil {
				b.Fatal(err)
			}
			want += int64(each)
		}
		for begin := time.Now(); h.records.Load() < want; time.Sleep(100 * time.Microsecond) {
			if time.Since(begin) > time.Minute {
				b.Fatalf("%d of %d records came", h.records.Load(), want)
			}
		}
	}
	send(append(templates, data...), records/n) // warm
	rest := float64(heapNow()-before) / float64(n)
	began := cpuNow(b)
	for b.Loop() {
		send(data, records/n)
	}
	used := cpuNow(b) - began
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/float64(records/n*n), "cpu-ns/record")
	b.ReportMetric(rest, "B/session")
	if lost := c.Stats.Malformed.Load(); lost != 0 || c.Sessions() != n {
		b.Fatalf("%d messages are malformed, %d sessions live", lost, c.Sessions())
	}
}

// messagesOf gives templates and n records as two streams, each to be sent as often
// as wanted: the messages' sequence numbers do not move on, which the collector
// counts and goes on.
func messagesOf(n int) (templates, data []byte) {
	set := ipfix.WeirLink()
	enc := ipfix.NewEncoder(1, ipfix.EncoderOptions{MaxMessage: 4000})
	for _, tm := range set.Templates() {
		enc.AddTemplate(tm)
	}
	templates = bytes.Clone(enc.Take(1))
	for i := range n {
		var r flow.Record
		r.SetSrcIP(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		r.SetDstIP(netip.AddrFrom4([4]byte{10, 1, 0, 2}))
		r.SetSrcPort(uint16(i))
		r.SetSrcPod(fmt.Sprintf("checkout-7d9c5b6f48-%05x", i%1000))
		for !enc.Append(set.V4, &r) {
			data = append(data, enc.Take(1)...)
		}
	}
	return templates, append(data, enc.Take(1)...)
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func cpuNow(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
