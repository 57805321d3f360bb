package sockets

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/testenv"
)

func TestLimitedBy(t *testing.T) {
	busy := func(b, r, s uint64, app bool) Info {
		return Info{HasBusy: true, Busy: b, Rwnd: r, Sndbuf: s, AppLimited: app}
	}
	for _, c := range []struct {
		name string
		is   Info
		want flow.LimitedBy
	}{
		{"idle", busy(1000, 0, 0, false), flow.LimitedByApplication},
		{"busy for 49 % of the time", busy(491_000, 400_000, 0, false), flow.LimitedByApplication},
		{"receiver", busy(901_000, 500_000, 0, true), flow.LimitedByReceiver},
		{"send buffer", busy(901_000, 0, 500_000, false), flow.LimitedBySendBuffer},
		{"small pieces on a long path", busy(901_000, 0, 0, true), flow.LimitedByApplication},
		{"path", busy(901_000, 100_000, 100_000, false), flow.LimitedByCongestion},
		{"an old kernel", Info{}, flow.LimitedByUnknown},
		{"stopwatches that were set back", busy(10, 0, 0, false), flow.LimitedByUnknown},
	} {
		was := busy(1000, 0, 0, false)
		if got := limitedBy(&was, &c.is, 1000); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func seen(cookie uint64, retrans uint32) *Socket {
	return &Socket{Tuple: tuple(local4, remote4, protoTCP), State: Established, Cookie: cookie, HasInfo: true, Info: Info{Retrans: retrans, RTT: 5}}
}

// TestSameTupleAgain: a later connection's record does not get the socket of an
// earlier one, nor an earlier one's last record that of a later one.
func TestSameTupleAgain(t *testing.T) {
	cfg := DefaultConfig()
	w := New(cfg, slog.New(slog.DiscardHandler))
	w.table.put(10_000, seen(1, 7))
	c := &track.Conn{Orig: tuple(local4, remote4, protoTCP), Reply: tuple(remote4, local4, protoTCP)}
	for _, x := range []struct {
		name string
		x    track.Export
		want bool
	}{
		{"its own", track.Export{Conn: c, StartMs: 9_000, EndMs: 10_500, Final: true}, true},
		{"start not known", track.Export{Conn: c}, true},
		{"a later one", track.Export{Conn: c, StartMs: 12_000}, false},
		{"the end of an earlier one", track.Export{Conn: c, StartMs: 1_000, EndMs: 5_000, Final: true}, false},
	} {
		var r flow.Record
		w.Fill(&x.x, &r)
		if r.Has.Has(flow.FRetransSrc) != x.want || r.Has.Has(flow.FRetransDst) {
			t.Errorf("%s: joined %v, want %v", x.name, r.Has.Has(flow.FRetransSrc), x.want)
		}
	}
	w.table.put(20_000, seen(2, 0)) // another socket: its numbers begin anew
	s, ok := w.table.Find(&c.Orig)
	if !ok || s.FirstMs != 20_000 || s.Info.Retrans != 0 || s.LimitedBy != flow.LimitedByUnknown {
		t.Errorf("after the reuse: %+v", s)
	}
}

func TestTableIsBounded(t *testing.T) {
	tb := NewTable(1, 1000)
	tb.put(1, seen(1, 0))
	other := seen(2, 0)
	other.Tuple.SrcPort++
	tb.put(1, other)
	if held, _, _, full := tb.Counts(); held != 1 || full != 1 {
		t.Errorf("%d held, %d without room", held, full)
	}
	tb.expire(2000)
	tb.put(2000, other)
	if _, ok := tb.Find(&other.Tuple); !ok {
		t.Error("the room of a forgotten socket is not used again")
	}
}

func TestConfigRefuses(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c = Config{Netns: []string{"run/netns/*", "/run/[", "/run/netns/*"}}
	err := c.Validate()
	for _, want := range []string{"interval: 0s", "maxPerSecond: 0", "maxSockets: 0", `netns[0]: "run/netns/*"`, `netns[1]: "/run/["`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// TestRate: a walk over more sockets than a second may have takes its time.
func TestRate(t *testing.T) {
	w := New(Config{MaxPerSecond: 100}, slog.New(slog.DiscardHandler))
	began := time.Now()
	for range 4 {
		if err := w.pause(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.spent += 10
	}
	if d := time.Since(began); d < 200*time.Millisecond || w.waited.Load() == 0 {
		t.Errorf("30 sockets at 100 a second took %v", d)
	}
}

const benchSockets = 10_000 // each end is one

// BenchmarkWalk reads 10,000 established sockets and puts them into the table.
func BenchmarkWalk(b *testing.B) {
	s := testenv.NewSpace(b)
	s.Sh("ip addr add 10.9.9.1/24 dev lo")
	err := s.Do(func() error {
		var ln net.Listener
		for i := range benchSockets / 2 {
			if i%2000 == 0 { // for enough ports and a short queue
				var err error
				if ln, err = net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("10.9.9.1"), uint16(8000+i/2000)).String()); err != nil {
					return err
				}
				b.Cleanup(func() { _ = ln.Close() })
			}
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return err
			}
			a, err := ln.Accept()
			if err != nil {
				return err
			}
			b.Cleanup(func() { _ = c.Close(); _ = a.Close() })
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Netns, cfg.MaxPerSecond = []string{s.Path}, 1e9
	w := New(cfg, slog.New(slog.DiscardHandler))
	ctx := context.Background()
	w.Walk(ctx)
	if held, _, _, _ := w.table.Counts(); held != benchSockets {
		b.Fatalf("%d sockets are held, want %d: %+v", held, benchSockets, w.Status())
	}
	b.ReportAllocs()
	n, before := 0, cpu(b)
	for b.Loop() {
		w.Walk(ctx)
		n++
	}
	b.ReportMetric(float64(cpu(b)-before)/1000/float64(n*benchSockets), "cpu-us/socket")
}

// cpu gives the processor time of this process so far, ns.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkWalkSpaces walks many namespaces with few sockets: what each costs by itself.
// The kernel has one table of connections for all of them, and a dump passes all of it.
func BenchmarkWalkSpaces(b *testing.B) {
	const spaces = 100
	cfg := DefaultConfig()
	cfg.Netns, cfg.MaxPerSecond = nil, 1e9
	for range spaces {
		s := testenv.NewSpace(b)
		cfg.Netns = append(cfg.Netns, s.Path)
		if err := s.Do(func() error {
			ln, err := net.Listen("tcp4", ":8080")
			if err == nil {
				b.Cleanup(func() { _ = ln.Close() })
			}
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	w := New(cfg, slog.New(slog.DiscardHandler))
	ctx := context.Background()
	w.Walk(ctx)
	if st := w.Status(); st.Namespaces != spaces || st.Err != "" {
		b.Fatalf("%+v", st)
	}
	b.ReportAllocs()
	n, before := 0, cpu(b)
	for b.Loop() {
		w.Walk(ctx)
		n++
	}
	b.ReportMetric(float64(cpu(b)-before)/1e3/float64(n*spaces), "cpu-us/namespace")
}
