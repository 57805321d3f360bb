package exporter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
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
	const rate, batch = 20000, 50
	mk := newMaker(t, ns)
	begun, made := time.Now(), 0
	for time.Since(begun) < length {
		if due := int(time.Since(begun).Seconds() * rate); made >= due {
			time.Sleep(time.Millisecond)
			continue
		}
		mk.connections(made, batch)
		made += batch
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

// maker makes and ends connections in a namespace by ctnetlink, many with one system
// call, so that the making is not what is measured.
type maker struct {
	t *testing.T
	c *netlink.Conn
}

func newMaker(t *testing.T, ns int) *maker {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &maker{t, c}
}

// connections makes n of them, from number first on, and ends each at once. The kernel
// answers the last message, and whichever fails.
func (m *maker) connections(first, n int) {
	m.t.Helper()
	const create, remove = unix.NFNL_SUBSYS_CTNETLINK << 8, unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_NEW, _DELETE
	msgs := make([]netlink.Message, 0, 2*n)
	for i := range n {
		data := m.flow(first + i)
		msgs = append(msgs,
			netlink.Message{Header: netlink.Header{Type: create, Flags: netlink.Request | netlink.Create | netlink.Excl}, Data: data},
			netlink.Message{Header: netlink.Header{Type: remove, Flags: netlink.Request}, Data: data})
	}
	msgs[len(msgs)-1].Header.Flags |= netlink.Acknowledge
	if _, err := m.c.SendMessages(msgs); err != nil {
		m.t.Fatalf("connections from %d on: %v", first, err)
	}
	if _, err := m.c.Receive(); err != nil {
		m.t.Fatalf("connections from %d on: %v", first, err)
	}
}

// flow is a nfgenmsg with both tuples, the status and the timeout of connection i.
func (m *maker) flow(i int) []byte {
	src, dst := []byte{10, 1, byte(i >> 20), 1}, []byte{10, 2, byte(i >> 12), byte(i >> 16)}
	sport, dport := uint16(1024+i&0x3fff), uint16(1+i>>14&0x3ff)
	tuple := func(src, dst []byte, sport, dport uint16) func(*netlink.AttributeEncoder) error {
		return func(e *netlink.AttributeEncoder) error {
			e.Nested(1, func(e *netlink.AttributeEncoder) error { // CTA_TUPLE_IP
				e.Bytes(1, src)
				e.Bytes(2, dst)
				return nil
			})
			e.Nested(2, func(e *netlink.AttributeEncoder) error { // CTA_TUPLE_PROTO
				e.ByteOrder = binary.BigEndian
				e.Uint8(1, unix.IPPROTO_TCP)
				e.Uint16(2, sport)
				e.Uint16(3, dport)
				return nil
			})
			return nil
		}
	}
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(1, tuple(src, dst, sport, dport)) // CTA_TUPLE_ORIG
	e.Nested(2, tuple(dst, src, dport, sport)) // CTA_TUPLE_REPLY
	e.Uint32(3, uint32(timo.StatusConfirmed))  // CTA_STATUS
	e.Uint32(7, 60)                            // CTA_TIMEOUT
	b, err := e.Encode()
	if err != nil {
		m.t.Fatal(err)
	}
	return append([]byte{unix.AF_INET, 0, 0, 0}, b...)
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
