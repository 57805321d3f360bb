package conntrack

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	timo "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/testenv"
)

// ownNetNS puts the test's thread into a new network namespace in which conntrack
// is at work, with counters and timestamps. The thread ends with the test.
func ownNetNS(t testing.TB) {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "nft")
	testenv.NeedTool(t, "ip")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	sysctl(t, "nf_conntrack_acct", "1")
	sysctl(t, "nf_conntrack_timestamp", "1")
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state invalid counter")
}

func sysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := os.WriteFile(sysctlDir+name, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func anchor(t testing.TB) *timo.Conn {
	t.Helper()
	c, err := timo.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const alive = timo.StatusSeenReply | timo.StatusAssured | timo.StatusConfirmed

// made gives the i-th entry that ti-mo is to make.
func made(i int, zone uint16) timo.Flow {
	src, dst := netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)}), netip.AddrFrom4([4]byte{10, 30, byte(i >> 16), 1})
	f := timo.NewFlow(6, alive, src, dst, uint16(1024+i%60000), 80, 3600, uint32(i%16))
	f.ProtoInfo.TCP = &timo.ProtoInfoTCP{State: 3}
	f.Zone = zone
	return f
}

func fill(t testing.TB, c *timo.Conn, n int) {
	t.Helper()
	for i := range n {
		if err := c.Create(made(i, uint16(100+i%16))); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}

// theirs is what ti-mo says of an entry, in our form.
func theirs(f *timo.Flow) track.Conn {
	tuple := func(t timo.Tuple) flow.Tuple {
		x := flow.Tuple{Src: flow.Addr16(t.IP.SourceAddress), Dst: flow.Addr16(t.IP.DestinationAddress), Proto: t.Proto.Protocol}
		if t.Proto.Protocol == 1 || t.Proto.Protocol == 58 {
			x.SrcPort, x.DstPort = t.Proto.ICMPID, uint16(t.Proto.ICMPType)<<8|uint16(t.Proto.ICMPCode)
		} else {
			x.SrcPort, x.DstPort = t.Proto.SourcePort, t.Proto.DestinationPort
		}
		return x
	}
	c := track.Conn{
		Orig: tuple(f.TupleOrig), Reply: tuple(f.TupleReply), Zone: f.Zone, ID: f.ID, Status: uint32(f.Status), Mark: f.Mark,
		Timeout: f.Timeout, HasTimeout: true,
		Counters: track.Counters{
			OrigPackets: f.CountersOrig.Packets, OrigBytes: f.CountersOrig.Bytes,
			ReplyPackets: f.CountersReply.Packets, ReplyBytes: f.CountersReply.Bytes,
		},
		HasCounters: true,
	}
	copy(c.Labels[:], f.Labels)
	if !f.Timestamp.Start.IsZero() {
		c.Start = f.Timestamp.Start.UnixNano()
	}
	if f.ProtoInfo.TCP != nil {
		c.HasTCP, c.TCPState = true, f.ProtoInfo.TCP.State
	}
	return c
}

func dump(t testing.TB, f Filter) (map[uint32]track.Conn, DumpStats) {
	t.Helper()
	r, err := NewReader(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	got := map[uint32]track.Conn{}
	st, err := r.Dump(context.Background(), f, func(c *track.Conn) { got[c.ID] = *c })
	if err != nil {
		t.Fatal(err)
	}
	return got, st
}

// traffic makes real connections of several kinds over loopback, in the present
// network namespace.
func traffic(t testing.TB) {
	t.Helper()
	for _, ip := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", ip+":7001")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
			}
		}()
		for range 5 {
			c, err := net.Dial("tcp", ip+":7001")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "hello")
			_, _ = io.ReadFull(c, make([]byte, 5))
			_ = c.Close()
		}
		_ = l.Close()
		if _, err := net.Dial("tcp", ip+":7009"); err == nil {
			t.Fatal("port 7009 should be closed")
		}
		u, err := net.Dial("udp", ip+":7002")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = u.Write([]byte("anybody"))
		_ = u.Close()
		run(t, "ping", "-c1", "-W1", strings.Trim(ip, "[]"))
	}
}

func TestDumpIsWhatTimoReads(t *testing.T) {
	ownNetNS(t)
	c := anchor(t)
	fill(t, c, 500)
	for i, f := range []timo.Flow{
		timo.NewFlow(17, timo.StatusConfirmed, netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), 53, 5353, 60, 7),
		timo.NewFlow(6, alive, netip.MustParseAddr("fd00::3"), netip.MustParseAddr("fd00::4"), 1, 65535, 60, 0),
	} {
		f.Zone = uint16(i)
		f.Labels, f.LabelsMask = make([]byte, 16), make([]byte, 16)
		for k := range f.Labels {
			f.Labels[k], f.LabelsMask[k] = byte(k+1), 0xff
		}
		if err := c.Create(f); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "nft", `add chain inet t n { type nat hook output priority -100; }
		add rule inet t n ip daddr 10.96.0.1 tcp dport 80 dnat to 127.0.0.1:7001
		add chain inet t l { type filter hook output priority -10; }
		add rule inet t l ct label set 5
		add rule inet t l ct mark set 0x55`)
	run(t, "ip", "addr", "add", "10.96.0.9/24", "dev", "lo")
	traffic(t)
	l, err := net.Listen("tcp", "127.0.0.1:7001")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := net.Dial("tcp", "10.96.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()

	flows, err := c.Dump(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint32]track.Conn{}
	for i := range flows {
		want[flows[i].ID] = theirs(&flows[i])
	}
	got, st := dump(t, Filter{})
	if len(flows) < 510 || !st.Complete() || st.Entries != len(flows) {
		t.Errorf("ti-mo read %d entries, we %+v", len(flows), st)
	}
	for id, w := range want {
		g := got[id]
		if d := int64(w.Timeout) - int64(g.Timeout); d >= 0 && d <= 1 { // a second may have passed
			g.Timeout = w.Timeout
		}
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("entry %d (- ti-mo, + ours):\n%s", id, diff)
		}
	}
	nat := false
	for _, g := range got {
		nat = nat || g.Orig.DstAddr().String() == "10.96.0.1" && g.Reply.SrcAddr().String() == "127.0.0.1" && g.Reply.SrcPort == 7001 && g.Labels[0] == 1<<5
	}
	if !nat {
		t.Error("no translated connection with its label")
	}
}

func TestFilters(t *testing.T) {
	ownNetNS(t)
	fill(t, anchor(t), 320)
	for _, x := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, 320},
		{Filter{Zones: []uint16{103}}, 20},
		{Filter{Zones: []uint16{103, 103, 104}}, 40},
		{Filter{Zones: []uint16{1}}, 0},
		{Filter{Zones: []uint16{100, 101, 102, 103, 104, 105, 106, 107, 108, 109}}, 200},
		{Filter{Mark: 1, MarkMask: 3}, 80},
		{Filter{Zones: []uint16{101}, Mark: 1, MarkMask: 0xffffffff}, 20},
	} {
		got, st := dump(t, x.f)
		if len(got) != x.want || st.Entries != x.want {
			t.Errorf("%+v: %d entries, want %d", x.f, len(got), x.want)
		}
		if kernel := len(x.f.Zones) <= maxZoneDumps; kernel && st.Outside != 0 {
			t.Errorf("%+v: the kernel sent %d entries too many", x.f, st.Outside)
		}
	}
}

func TestAbsentCounters(t *testing.T) {
	ownNetNS(t)
	sysctl(t, "nf_conntrack_acct", "0")
	sysctl(t, "nf_conntrack_timestamp", "0")
	traffic(t)
	got, _ := dump(t, Filter{})
	if len(got) == 0 {
		t.Fatal("no entries")
	}
	for _, c := range got {
		if c.HasCounters || c.Start != 0 {
			t.Errorf("what the kernel did not keep is not absent: %+v", c)
		}
	}
}

func TestNamedNetNS(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "ip")
	testenv.NeedTool(t, "conntrack")
	run(t, "ip", "netns", "add", "weirct")
	t.Cleanup(func() { run(t, "ip", "netns", "del", "weirct") })
	run(t, "ip", "netns", "exec", "weirct", "conntrack", "-I", "-p", "udp", "-s", "10.0.0.1", "-d", "10.0.0.2", "--sport", "1", "--dport", "2", "-t", "60")
	r, err := NewReader(Options{NetNS: "/run/netns/weirct"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	st, err := r.Dump(context.Background(), Filter{}, func(*track.Conn) {})
	if err != nil || st.Entries != 1 {
		t.Errorf("%+v %v", st, err)
	}
	if _, err := NewReader(Options{NetNS: "/run/netns/weir-is-not-there"}); err == nil {
		t.Error("no error for a namespace that is not there")
	}
}

const tableSize = 250_000

func cpu() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func perEntry(b *testing.B, n int, f func()) {
	b.Helper()
	b.ReportAllocs()
	c0 := cpu()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64((cpu()-c0).Nanoseconds())/1e3/float64(b.N)/float64(n), "cpu-us/entry")
}

// BenchmarkDump reads a table of 250,000 entries with counters and timestamps.
func BenchmarkDump(b *testing.B) {
	ownNetNS(b)
	c := anchor(b)
	fill(b, c, tableSize)
	r := mustReader(b) // here: a sub-benchmark has a thread of its own, outside the namespace
	b.Run("weir", func(b *testing.B) {
		perEntry(b, tableSize, func() { mustDump(b, r, Filter{}, tableSize) })
	})
	b.Run("ti-mo", func(b *testing.B) {
		perEntry(b, tableSize, func() {
			if f, err := c.Dump(nil); err != nil || len(f) != tableSize {
				b.Fatalf("%d %v", len(f), err)
			}
		})
	})
}

// BenchmarkDumpZoneFilter asks for a zone that has no entry: the cost of what is outside.
func BenchmarkDumpZoneFilter(b *testing.B) {
	ownNetNS(b)
	fill(b, anchor(b), tableSize)
	r := mustReader(b)
	perEntry(b, tableSize, func() { mustDump(b, r, Filter{Zones: []uint16{7}}, 0) })
}

func mustReader(b testing.TB) *Reader {
	b.Helper()
	r, err := NewReader(Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = r.Close() })
	return r
}

func mustDump(b testing.TB, r *Reader, f Filter, want int) {
	b.Helper()
	st, err := r.Dump(context.Background(), f, func(*track.Conn) {})
	if err != nil || st.Entries != want {
		b.Fatalf("%+v %v", st, err)
	}
}
