package exporter_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/netlink"
	timo "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/enrich"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
)

// told is what was told of one connection.
type told struct {
	first, final, records int
	delta, total          uint64
	counted               bool
}

// sums is a Sink that adds up.
type sums struct {
	mu   sync.Mutex
	byID map[uint64]*told
}

func (s *sums) Send(r *flow.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[r.ConnID]
	if x == nil {
		x = &told{}
		s.byID[r.ConnID] = x
	}
	x.records++
	if r.First {
		x.first++
	}
	if r.Final {
		x.final++
	}
	if r.Has.Has(flow.FBytesDelta) {
		x.counted = true
		x.delta += r.BytesDelta + r.RevBytesDelta
		x.total = r.Bytes + r.RevBytes
	}
}

func (s *sums) finals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, x := range s.byID {
		if x.final > 0 {
			n++
		}
	}
	return n
}

func loop(t *testing.T, src conntrack.Source, poll time.Duration) (*exporter.Exporter, *sums, *ledger.Book) {
	t.Helper()
	s, book := &sums{byID: map[uint64]*told{}}, ledger.NewBook()
	names := enrich.New(enrich.Config{Node: "node-a"}, cluster.NewModel(cluster.DefaultLimits()).Index())
	e, err := exporter.New(exporter.Config{
		Source: src, Poll: poll, Enrich: names.Fill, Sink: s, Book: book,
		Track: track.Config{ActiveMs: 5000, IdleMs: 15000, MaxConns: 1 << 20, Timeouts: track.DefaultTimeouts()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, s, book
}

func balanced(t *testing.T, book *ledger.Book) {
	t.Helper()
	for _, l := range book.Snapshot() {
		if r, c, b := l.Diff(); r != 0 || c != 0 || b != 0 || l.LostTotal() != (ledger.Amount{}) || l.Held != (ledger.Amount{}) {
			t.Errorf("stage %s: difference %d records, %d connections, %d bytes: %+v", l.Stage, r, c, b, l)
		}
	}
}

// TestRecordedNode runs a recorded node through the whole loop on a simulated clock:
// each connection begins once and ends at most once, its deltas add up to its totals, and at the
// end nothing is held and nothing lost.
func TestRecordedNode(t *testing.T) {
	raw, err := os.ReadFile("../internal/demo/recorded/node-a.ct.gz")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		src, err := conntrack.NewReplay(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		e, s, book := loop(t, src, time.Second)
		if err := e.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.byID) < 500 {
			t.Errorf("%d connections: the recording has more", len(s.byID))
		}
		for id, x := range s.byID {
			if x.first != 1 || x.final > 1 || (x.counted && x.delta != x.total) {
				t.Errorf("connection %x: %+v", id, *x)
			}
		}
		if alive := len(s.byID) - s.finals(); alive > 10 { // the recording's end is not theirs
			t.Errorf("%d of %d connections were not told to their end", alive, len(s.byID))
		}
		balanced(t, book)
	})
}

// TestShortConnections makes connections that live for a moment, at 20,000 a second or
// as many as the machine can, and wants each one exported. WEIR_LONG=1 goes on for a
// minute.
func TestShortConnections(t *testing.T) {
	testenv.NeedRoot(t)
	length := 3 * time.Second
	if os.Getenv("WEIR_LONG") == "1" {
		length = time.Minute
	}
	ns := newNetNS(t)
	src, err := conntrack.NewKernel(conntrack.KernelOptions{Options: conntrack.Options{NetNS: fmt.Sprintf("/proc/self/fd/%d", ns)}, Events: true})
	if err != nil {
		t.Fatal(err)
	}
	e, s, book := loop(t, src, time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for !e.State().Ready {
		time.Sleep(10 * time.Millisecond)
	}
	c, err := timo.Dial(&netlink.Config{NetNS: ns})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	const rate = 20000
	begun, made := time.Now(), 0
	for time.Since(begun) < length {
		if due := int(time.Since(begun).Seconds() * rate); made >= due {
			time.Sleep(time.Millisecond)
			continue
		}
		f := timo.NewFlow(unix.IPPROTO_TCP, timo.StatusConfirmed, netip.AddrFrom4([4]byte{10, 1, byte(made >> 20), 1}), netip.AddrFrom4([4]byte{10, 2, byte(made >> 12), byte(made >> 16)}),
			uint16(1024+made&0x3fff), uint16(1+made>>14&0x3ff), 60, 0)
		if err := c.Create(f); err != nil {
			t.Fatalf("connection %d: %v", made, err)
		}
		if err := c.Delete(f); err != nil {
			t.Fatalf("connection %d: %v", made, err)
		}
		made++
	}
	took := time.Since(begun)
	for i := 0; i < 1000 && s.finals() < made; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections in %s (%.0f/s), overruns %d", made, took.Round(time.Millisecond), float64(made)/took.Seconds(), e.State().Vitals.Listen.Overruns)
	if got := s.finals(); got != made {
		t.Errorf("%d connections made, %d exported to their end", made, got)
	}
	balanced(t, book)
}

// newNetNS makes a network namespace and gives a descriptor of it.
func newNetNS(t *testing.T) int {
	t.Helper()
	fd := make(chan int)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, as its namespace is another
		n := -1
		if err := unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				n = -1
			}
		}
		fd <- n
	}()
	n := <-fd
	if n < 0 {
		t.Fatal("no network namespace of our own: needs CAP_SYS_ADMIN")
	}
	t.Cleanup(func() { _ = unix.Close(n) })
	return n
}
