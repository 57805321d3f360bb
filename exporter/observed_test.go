package exporter_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/enrich"
	"github.com/weirnet/weir/exporter/outcome"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/ledger"
)

// entries is a source whose dumps show what is in it.
type entries struct {
	mu   sync.Mutex
	list []track.Conn
}

func (s *entries) Dump(_ context.Context, f func(*track.Conn)) (conntrack.DumpStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.list {
		f(&s.list[i])
	}
	return conntrack.DumpStats{}, nil
}
func (s *entries) Events() <-chan *conntrack.Batch { return nil }
func (s *entries) Recycle(*conntrack.Batch)        {}
func (s *entries) Stop()                           {}
func (s *entries) Close() error                    { return nil }
func (s *entries) Vitals() conntrack.Vitals        { return conntrack.Vitals{} }

// records is a Sink that keeps all.
type records struct {
	mu   sync.Mutex
	list []flow.Record
}

func (s *records) Send(r *flow.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, *r)
}

func addr(src, dst string) flow.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return flow.Tuple{Src: flow.Addr16(s.Addr()), Dst: flow.Addr16(d.Addr()), SrcPort: s.Port(), DstPort: d.Port(), Proto: 6}
}

// TestObserved has two sockets that try again: conntrack knows the connection of one,
// whose record takes it; the other gets a record of its own, without counters.
func TestObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, alone := addr("10.0.0.1:4001", "10.0.1.2:80"), addr("10.0.0.1:4002", "10.0.1.2:80")
		src := &entries{list: []track.Conn{{Orig: known, Reply: known.Reverse(), Start: time.Now().UnixNano(), HasCounters: true, HasTCP: true, TCPState: 1, Counters: track.Counters{OrigPackets: 2, OrigBytes: 120}}}}
		names := enrich.New(enrich.Config{Node: "node-a"}, cluster.NewModel(cluster.DefaultLimits()).Index())
		sink, book := &records{}, ledger.NewBook()
		e, err := exporter.New(exporter.Config{
			Source: src, Poll: 20 * time.Second, Enrich: names.Fill, Sink: sink, Book: book,
			Track: track.Config{ActiveMs: 30_000, IdleMs: 60_000, Timeouts: track.DefaultTimeouts()},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		time.Sleep(2 * time.Second)
		now := time.Now().UnixMilli()
		e.Observed([]outcome.Observation{
			{Kind: outcome.Attempt, TimeMs: now, SinceMs: now - 1000, Tuple: known, Retransmits: 1},
			{Kind: outcome.Attempt, TimeMs: now, SinceMs: now - 1000, Tuple: alone, Retransmits: 1},
		})
		time.Sleep(65 * time.Second) // both timeouts are longer than the Joiner's own
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		balanced(t, book)
		type said struct {
			SrcPort     uint16
			Outcome     flow.Outcome
			Evidence    flow.Evidence
			Retransmits uint32
			Counted     bool
			Status      bool
			Began       int64
			Observer    string
		}
		var got []said
		for i := range sink.list {
			r := &sink.list[i]
			got = append(got, said{r.SrcPort, r.Outcome, r.Evidence, r.RetransSrc, r.Has.Has(flow.FBytes), r.Has.Has(flow.FCTStatus), r.Start - now, r.Observer})
		}
		want := []said{
			{4001, flow.OutcomeUnknown, 0, 1, true, true, -2000, "node-a"},
			{4002, flow.OutcomeAttempt, flow.EvidenceSocket, 1, false, false, -1000, "node-a"},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// TestObservedTooMuch has nobody read: what finds no room is booked.
func TestObservedTooMuch(t *testing.T) {
	e, _, book := loop(t, &entries{}, time.Second)
	for range 300 {
		e.Observed(make([]outcome.Observation, 2))
	}
	for _, l := range book.Snapshot() {
		if l.Stage == "outcome" && l.Lost["loop_busy"].Records != 2*(300-256) {
			t.Errorf("%+v", l)
		}
	}
}
