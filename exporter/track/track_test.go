package track_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

const t0 = int64(1_700_000_000_000)

func conn(port uint16, proto uint8) track.Conn {
	t := flow.Tuple{
		Src: flow.Addr16(netip.MustParseAddr("10.0.0.1")), Dst: flow.Addr16(netip.MustParseAddr("10.0.0.2")),
		SrcPort: port, DstPort: 80, Proto: proto,
	}
	return track.Conn{Orig: t, Reply: t.Reverse(), ID: uint32(port) + 1, Start: t0 * 1e6}
}

func count(c *track.Conn, op, ob, rp, rb uint64) {
	c.HasCounters, c.Counters = true, track.Counters{OrigPackets: op, OrigBytes: ob, ReplyPackets: rp, ReplyBytes: rb}
}

type rig struct {
	*track.Tracker
	got []track.Export
}

func start(cfg track.Config) *rig {
	r := &rig{}
	r.Tracker = track.New(cfg, t0, func(x *track.Export) {
		y := *x
		c := *x.Conn
		y.Conn = &c
		r.got = append(r.got, y)
	})
	return r
}

func (r *rig) balance(t *testing.T) {
	t.Helper()
	s := r.Stats()
	if s.InConnections != s.OutConnections+s.HeldConnections || s.InBytes != s.OutBytes+s.HeldBytes {
		t.Errorf("the books do not balance: %+v", s)
	}
}

func words(x track.Export) string {
	return fmt.Sprintf("seq=%d first=%v final=%v %s %s d=%d/%d end=+%d", x.Seq, x.First, x.Final,
		flow.EndReasonWords[x.Reason], flow.OutcomeWords[x.Outcome], x.Delta.OrigBytes, x.Delta.ReplyBytes, x.EndMs-t0)
}

func (r *rig) want(t *testing.T, lines ...string) {
	t.Helper()
	for i, x := range r.got {
		if i >= len(lines) || words(x) != lines[i] {
			t.Errorf("export %d: %s", i, words(x))
		}
	}
	if len(r.got) != len(lines) {
		t.Errorf("%d exports, want %d: %q", len(r.got), len(lines), lines)
	}
	r.got = nil
	r.balance(t)
}

func TestLife(t *testing.T) {
	r := start(track.Config{Events: true})
	c := conn(1000, 6)
	c.HasTCP, c.TCPState, c.Status = true, track.TCPEstablished, track.StatusSeenReply|track.StatusAssured
	c.HasTimeout, c.Timeout = true, 432000-1
	count(&c, 3, 300, 2, 200)
	r.Observe(t0+2000, &c)
	r.Expire(t0 + 7100)
	r.want(t, "seq=0 first=true final=false active ok d=300/200 end=+1000")
	r.Observe(t0+7200, &c) // nothing new
	r.Expire(t0 + 30000)
	r.want(t)
	count(&c, 4, 400, 2, 200)
	r.Observe(t0+30000, &c)
	r.Expire(t0 + 35100)
	r.want(t, "seq=1 first=false final=false active ok d=100/0 end=+29000")
	c.TCPState, c.Timeout = track.TCPTimeWait, 119
	count(&c, 6, 600, 3, 300)
	r.Observe(t0+40000, &c)
	r.Expire(t0 + 41100)
	r.want(t, "seq=2 first=false final=true end ok d=200/100 end=+39000")
	d := c
	d.Destroyed, d.HasTimeout, d.Stop = true, false, (t0+159000)*1e6
	r.Observe(t0+160000, &d)
	r.Expire(t0 + 170000)
	r.want(t) // nothing new: told already
	if s := r.Stats(); s.Tracked != 0 {
		t.Errorf("%d entries are left", s.Tracked)
	}
	r.Observe(t0+160001, &d) // again, as in reliable mode
	if s := r.Stats(); s.Duplicates != 1 {
		t.Errorf("%d duplicates", s.Duplicates)
	}
	r.want(t)
}

func TestOutcomes(t *testing.T) {
	type step func(r *rig, c *track.Conn)
	destroy := func(atMs int64) step {
		return func(r *rig, c *track.Conn) {
			c.Destroyed, c.HasTimeout, c.Stop = true, false, (t0+atMs)*1e6
			r.Observe(t0+atMs+50, c)
		}
	}
	seen := func(atMs int64, timeout uint32) step {
		return func(r *rig, c *track.Conn) {
			c.HasTimeout, c.Timeout = true, timeout
			r.BeginDump(t0 + atMs)
			r.Observe(t0+atMs, c)
		}
	}
	for name, x := range map[string]struct {
		proto, state   uint8
		status         uint32
		op, rp         uint64
		steps          []step
		want, evidence string
	}{
		"refused":                 {6, track.TCPClose, 0, 1, 1, []step{destroy(1)}, "refused", ""},
		"refused, SYN_SENT":       {6, track.TCPSynSent, 0, 2, 1, []step{destroy(1)}, "refused", ""},
		"unanswered":              {6, track.TCPSynSent, 0, 3, 0, []step{seen(100, 119), destroy(120000)}, "unanswered", ""},
		"udp unanswered":          {17, 0, 0, 3, 0, []step{destroy(30000)}, "unanswered", ""},
		"udp ok":                  {17, 0, track.StatusSeenReply, 3, 1, []step{destroy(30000)}, "ok", ""},
		"reset":                   {6, track.TCPClose, track.StatusSeenReply | track.StatusAssured, 5, 5, []step{destroy(11000)}, "reset", ""},
		"timed out":               {6, track.TCPEstablished, track.StatusSeenReply | track.StatusAssured, 5, 5, []step{seen(1000, 299), destroy(300900)}, "timed_out", ""},
		"deleted":                 {6, track.TCPEstablished, track.StatusSeenReply | track.StatusAssured, 5, 5, []step{seen(1000, 299), destroy(200900)}, "ok", ""},
		"half open scan":          {6, track.TCPClose, track.StatusSeenReply, 2, 1, []step{destroy(11000)}, "unknown", ""},
		"vanished early":          {6, track.TCPSynSent, 0, 1, 0, []step{seen(100, 119), func(r *rig, _ *track.Conn) { r.BeginDump(t0 + 5000); r.Sweep(t0 + 5000); r.Expire(t0 + 7000) }}, "unknown", ""},
		"vanished, time had come": {6, track.TCPSynSent, 0, 1, 0, []step{seen(100, 3), func(r *rig, _ *track.Conn) { r.BeginDump(t0 + 5000); r.Sweep(t0 + 5000); r.Expire(t0 + 7000) }}, "unanswered", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(track.Config{Events: true})
			c := conn(7, x.proto)
			c.HasTCP, c.TCPState, c.Status = x.proto == 6, x.state, x.status
			count(&c, x.op, x.op*60, x.rp, x.rp*40)
			for _, s := range x.steps {
				s(r, &c)
			}
			last := r.got[len(r.got)-1]
			if got := flow.OutcomeWords[last.Outcome]; got != x.want || !last.Final {
				t.Errorf("%s, want %s: %s", got, x.want, words(last))
			}
			if (last.Outcome == 0) != (last.Evidence == 0) {
				t.Errorf("an outcome and its evidence belong together: %s", words(last))
			}
			r.balance(t)
		})
	}
}

func TestReuse(t *testing.T) {
	for _, by := range []string{"id", "start", "counters"} {
		r := start(track.Config{Events: true})
		a := conn(5, 6)
		switch by {
		case "id":
			a.Start = 0
		case "counters":
			a.ID, a.Start = 0, 0
		}
		count(&a, 5, 500, 5, 500)
		r.Observe(t0, &a)
		b := a
		switch by {
		case "id":
			b.ID = 99
		case "start":
			b.Start += 5e9
		}
		count(&b, 1, 60, 0, 0)
		r.Observe(t0+5000, &b)
		// The last word about the first comes late, and is about the first.
		if by != "counters" {
			count(&a, 6, 600, 5, 500)
			a.Destroyed = true
			r.Observe(t0+5100, &a)
		}
		r.Expire(t0 + 20000)
		ids := map[uint64]uint64{}
		for _, x := range r.got {
			ids[x.ConnID] += x.Delta.OrigBytes
		}
		if len(ids) != 2 {
			t.Errorf("%s: %d connections", by, len(ids))
		}
		if s := r.Stats(); s.Reused != 1 {
			t.Errorf("%s: %+v", by, s)
		}
		r.balance(t)
	}
}

func TestCountersBack(t *testing.T) {
	r := start(track.Config{})
	c := conn(5, 17)
	count(&c, 5, 500, 5, 500)
	r.Observe(t0, &c)
	r.Expire(t0 + 6000)
	count(&c, 1, 100, 0, 0) // conntrack -Z
	r.Observe(t0+6000, &c)
	r.Expire(t0 + 12000)
	r.want(t, "seq=0 first=true final=false active ok d=500/500 end=+0", "seq=1 first=false final=false active ok d=100/0 end=+6000")
	count(&c, 3, 300, 0, 0)
	r.Observe(t0+12000, &c)
	r.Expire(t0 + 20000)
	if got := r.got[0].Conn.Counters.OrigBytes; got != 800 || r.got[0].Delta.OrigBytes != 200 {
		t.Errorf("total %d: %s", got, words(r.got[0]))
	}
	r.balance(t)
}

func TestAbsentCounters(t *testing.T) {
	r := start(track.Config{})
	c := conn(5, 17)
	c.HasTimeout, c.Timeout = true, 30
	r.Observe(t0+1000, &c)
	r.Expire(t0 + 7000)
	c.Timeout = 24 // no packet since
	r.Observe(t0+7000, &c)
	r.Expire(t0 + 13000)
	if len(r.got) != 1 || r.got[0].Conn.HasCounters {
		t.Errorf("%d exports", len(r.got))
	}
	c.Timeout = 29
	r.Observe(t0+14000, &c)
	r.Expire(t0 + 20000)
	if len(r.got) != 2 || r.got[1].EndMs != t0+13000 {
		t.Errorf("a packet came at 13 s: %d exports", len(r.got))
	}
}

func TestSweepAndRevive(t *testing.T) {
	r := start(track.Config{Events: true})
	c := conn(5, 17)
	count(&c, 5, 500, 5, 500)
	r.BeginDump(t0)
	r.Observe(t0, &c)
	r.Sweep(t0)
	r.BeginDump(t0 + 5000)
	r.Sweep(t0 + 5000)
	r.Expire(t0 + 8000)
	if len(r.got) == 0 || !r.got[len(r.got)-1].Final {
		t.Fatal("no final export of what vanished")
	}
	n := len(r.got)
	count(&c, 6, 600, 5, 500)
	c.Destroyed = true
	r.Observe(t0+9000, &c) // late: only the difference is told
	if x := r.got[n]; x.Delta.OrigBytes != 100 || x.First {
		t.Error(words(x))
	}
	r.balance(t)
	if s := r.Stats(); s.Tracked != 0 || s.Swept != 1 {
		t.Errorf("%+v", s)
	}
}

func TestCapAndSpread(t *testing.T) {
	const n = 20000
	r := start(track.Config{MaxConns: 5000})
	for i := range n {
		c := conn(uint16(i), 17)
		c.ID = uint32(i) + 1
		count(&c, 1, 100, 1, 100)
		r.Observe(t0, &c)
	}
	s := r.Stats()
	if s.Tracked != 5000 || s.Evicted != n-5000 || len(r.got) != n-5000 {
		t.Errorf("%+v", s)
	}
	r.balance(t)
	r.got = nil
	worst, before := 0, 0
	for ms := t0; ms <= t0+5100; ms += 100 {
		r.Expire(ms)
		worst = max(worst, len(r.got)-before)
		before = len(r.got)
	}
	if len(r.got) != 5000 || worst > 3*5000/50 {
		t.Errorf("%d exports, %d at once", len(r.got), worst)
	}
	// Seen again: what was told is not told twice.
	for i := range n {
		c := conn(uint16(i), 17)
		c.ID = uint32(i) + 1
		count(&c, 1, 100, 1, 100)
		r.Observe(t0+6000, &c)
	}
	r.Expire(t0 + 20000)
	r.balance(t)
	if s := r.Stats(); s.InBytes > (n+s.EvictedUnremembered)*200 {
		t.Errorf("told twice: %+v", s)
	}
}

// TestRandom lets many connections live in random ways and compares the sums of
// the deltas with what was made.
func TestRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := start(track.Config{Events: true})
	type made struct {
		c    track.Conn
		dead bool
	}
	var all []*made
	now := t0
	for range 300 {
		now += int64(rnd.IntN(1000))
		for range rnd.IntN(5) {
			m := &made{c: conn(uint16(rnd.IntN(50)), 17)}
			for _, o := range all { // the kernel has one entry for a tuple
				if !o.dead && o.c.Orig == m.c.Orig {
					m = nil
					break
				}
			}
			if m != nil {
				m.c.ID, m.c.Start = rnd.Uint32()|1, now*1e6
				count(&m.c, 1, 100, 0, 0)
				all = append(all, m)
			}
		}
		var late []track.Conn
		for _, m := range all {
			if m.dead {
				continue
			}
			if rnd.IntN(3) == 0 {
				m.c.Counters.OrigBytes += uint64(rnd.IntN(1000))
			}
			if rnd.IntN(20) == 0 {
				m.dead = true
				d := m.c
				d.Destroyed, d.Stop = true, now*1e6
				late = append(late, d)
			}
		}
		full := rnd.IntN(3) == 0
		if full {
			r.BeginDump(now)
			for _, m := range all {
				if !m.dead {
					r.Observe(now, &m.c)
				}
			}
			r.Sweep(now)
		}
		for i := range late {
			r.Observe(now+int64(rnd.IntN(500)), &late[i])
		}
		r.Expire(now)
		r.balance(t)
	}
	r.Flush(now)
	r.Expire(now + 60000)
	r.balance(t)
	sum, firsts := map[uint32]uint64{}, map[uint32]int{}
	for _, x := range r.got {
		sum[x.Conn.ID] += x.Delta.OrigBytes
		if x.First {
			firsts[x.Conn.ID]++
		}
	}
	for _, m := range all {
		if m.dead && (sum[m.c.ID] != m.c.Counters.OrigBytes || firsts[m.c.ID] != 1) {
			t.Errorf("connection %d: told %d of %d, first %d times", m.c.ID, sum[m.c.ID], m.c.Counters.OrigBytes, firsts[m.c.ID])
		}
	}
}

func cpu() int64 {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return r.Utime.Nano() + r.Stime.Nano()
}

// BenchmarkTrackUpdate updates 250,000 connections in the order of a dump, one
// in ten of which moved, and makes the exports that are due.
func BenchmarkTrackUpdate(b *testing.B) {
	const n = 250_000
	exports := 0
	tr := track.New(track.Config{}, t0, func(*track.Export) { exports++ })
	conns := make([]track.Conn, n)
	for i := range conns {
		conns[i] = conn(uint16(i), 6)
		conns[i].Orig.Src[12], conns[i].Orig.Src[13] = byte(i>>16), 7
		conns[i].ID = uint32(i) + 1
		conns[i].HasTCP, conns[i].TCPState, conns[i].HasTimeout, conns[i].Timeout = true, track.TCPEstablished, true, 430000
		count(&conns[i], 1, 100, 1, 100)
	}
	now := t0
	round := func() {
		tr.BeginDump(now)
		for i := range conns {
			if i%10 == int(now/5000%10) {
				conns[i].Counters.OrigBytes += 100
			}
			tr.Observe(now, &conns[i])
		}
		tr.Sweep(now)
		for range 50 {
			now += 100
			tr.Expire(now)
		}
	}
	round()
	round()
	b.ReportAllocs()
	c0 := cpu()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(cpu()-c0)/1e3/float64(b.N)/n, "cpu-us/entry")
	b.ReportMetric(float64(exports)/float64(b.N+2)/n, "exports/entry")
}
