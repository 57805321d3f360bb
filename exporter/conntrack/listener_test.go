package conntrack

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter/track"
)

// blaster makes and deletes entries through ctnetlink, many in one message.
type blaster struct {
	s   *socket
	n   uint32
	buf []byte
}

func newBlaster(t testing.TB) *blaster {
	t.Helper()
	s, err := dial(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	return &blaster{s: s}
}

// burst makes n connections and deletes them again.
func (b *blaster) burst(t testing.TB, n int) {
	t.Helper()
	for n > 0 {
		k := min(n, 64)
		b.buf = b.buf[:0]
		for range k {
			b.n++
			c := samples()[0]
			c.Zone, c.Orig.SrcPort = 0, uint16(b.n)
			c.Orig.Src[13], c.Orig.Src[14] = byte(b.n>>24), byte(b.n>>16)
			c.Reply = c.Orig.Reverse()
			b.buf = append(b.buf, message(msgNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, &c)...)
			b.buf = append(b.buf, message(msgDelete, 0, &c)...)
		}
		for {
			err := unix.Sendto(b.s.fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			if err == nil {
				break
			}
			t.Fatal(err)
		}
		n -= k
	}
}

func message(typ, flags uint16, c *track.Conn) []byte {
	one := *c
	one.Status, one.Start, one.Stop = 0x0e, 0, 0
	r := request(typ, flags, unix.AF_INET)
	if typ == msgDelete {
		r.b = append(r.b, tupleAttr(ctaTupleOrig, &one.Orig)...)
	} else {
		r.b = append(r.b, tupleAttr(ctaTupleOrig, &one.Orig)...)
		r.b = append(r.b, tupleAttr(ctaTupleReply, &one.Reply)...)
		r.u32(ctaTimeout, 100)
		r.u32(ctaStatus, one.Status)
		r.b = append(r.b, nest(ctaProtoInfo, func(b *builder) {
			b.b = append(b.b, nest(ctaProtoInfoTCP, func(b *builder) { b.attr(ctaProtoInfoTCPState, []byte{3}) })...)
		})...)
	}
	return r.finish(1)
}

// collect reads events until it has n, or none came for a while.
func collect(l *Listener, n int) (conns []track.Conn, gaps int) {
	for len(conns) < n {
		select {
		case b := <-l.Events():
			conns = append(conns, b.Conns...)
			if b.Gap {
				gaps++
			}
			l.Recycle(b)
		case <-time.After(3 * time.Second):
			return conns, gaps
		}
	}
	return conns, gaps
}

func listen(t testing.TB, o ListenOptions) *Listener {
	t.Helper()
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Stop()
		for range l.Events() { // until it is closed
		}
	})
	return l
}

func TestReliableThroughOverrun(t *testing.T) {
	ownNetNS(t)
	l := listen(t, ListenOptions{Options: Options{Receive: 16 << 10}, Queue: 4, watch: 20 * time.Millisecond})
	b := newBlaster(t)
	const n = 20000
	b.burst(t, n) // nobody reads meanwhile
	got, gaps := collect(l, n)
	seen := map[uint16]int{}
	for i := range got {
		seen[got[i].Orig.SrcPort]++
	}
	st := l.Stats()
	if len(seen) != n || gaps != 0 || st.Overruns == 0 {
		t.Errorf("%d of %d events, %d gaps, %+v", len(seen), n, gaps, st)
	}
	t.Logf("%d events, %+v", len(got), st)
}

func TestUnreliableHeals(t *testing.T) {
	ownNetNS(t)
	l := listen(t, ListenOptions{Options: Options{Receive: 16 << 10}, Queue: 4, Unreliable: true})
	b := newBlaster(t)
	b.burst(t, 20000)
	_, gaps := collect(l, 20000)
	if st := l.Stats(); gaps == 0 || st.Gaps == 0 || st.Receive <= 32<<10 {
		t.Errorf("%d gaps, %+v", gaps, st)
	}
	b.burst(t, 10)
	if got, _ := collect(l, 10); len(got) != 10 {
		t.Errorf("deaf after an overrun: %d events", len(got))
	}
}

func TestDyingIsBounded(t *testing.T) {
	ownNetNS(t)
	l := listen(t, ListenOptions{Options: Options{Receive: 16 << 10}, Queue: 1, MaxDying: 1000, watch: 20 * time.Millisecond})
	b := newBlaster(t)
	b.burst(t, 20000)
	for i := 0; l.Stats().GaveUp == 0; i++ {
		if i > 100 {
			t.Fatalf("reliable mode was not given up: %+v", l.Stats())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, gaps := collect(l, 20000); gaps == 0 {
		t.Error("no gap was booked")
	}
	for i := 0; !l.Stats().Reliable; i++ {
		if i > 200 {
			t.Fatalf("reliable mode did not come back: %+v", l.Stats())
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.burst(t, 10)
	if got, _ := collect(l, 10); len(got) != 10 {
		t.Errorf("%d events", len(got))
	}
}

// TestRefused: what is refused lives only in its DESTROY event.
func TestRefused(t *testing.T) {
	ownNetNS(t)
	l := listen(t, ListenOptions{})
	for _, ip := range []string{"127.0.0.1", "[::1]"} {
		if _, err := net.Dial("tcp", ip+":7009"); err == nil {
			t.Fatal("port 7009 should be closed")
		}
	}
	got, _ := collect(l, 2)
	if len(got) != 2 {
		t.Fatalf("%d events", len(got))
	}
	for _, c := range got {
		if c.Counters.OrigPackets != 1 || c.Counters.ReplyPackets != 1 || c.Status&track.StatusSeenReply != 0 || c.Stop == 0 || c.Start == 0 {
			t.Errorf("%+v", c)
		}
		var out string
		tr := track.New(track.Config{Loopback: true, Events: true}, time.Now().UnixMilli(), func(x *track.Export) { out = fmt.Sprint(x.Outcome, x.Evidence, x.First, x.Final) })
		tr.Observe(time.Now().UnixMilli(), &c)
		if out != "2 1 true true" {
			t.Errorf("%s", out)
		}
	}
}

// TestEstablishedThenReset and others look at the states that real connections leave.
func TestReset(t *testing.T) {
	ownNetNS(t)
	l, err := net.Listen("tcp", "127.0.0.1:7001")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = io.ReadFull(c, make([]byte, 5))
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}()
	c, err := net.Dial("tcp", "127.0.0.1:7001")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "hello")
	_, _ = c.Read(make([]byte, 1))
	_ = c.Close()
	got, _ := dump(t, Filter{})
	for _, c := range got {
		var out string
		now := time.Now().UnixMilli()
		tr := track.New(track.Config{Loopback: true}, now, func(x *track.Export) { out = fmt.Sprint(x.Outcome, x.Final, now-x.EndMs <= 2000) })
		tr.Observe(now, &c)
		tr.Expire(now + 2000)
		if out != "3 true true" {
			t.Errorf("%s: %+v", out, c)
		}
	}
	if len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
}

func TestAccounting(t *testing.T) {
	ownNetNS(t)
	sysctl(t, "nf_conntrack_acct", "0")
	a, err := EnableAccounting("")
	if err != nil || len(a.Changed) != 1 || a.Changed[0] != "net.netfilter.nf_conntrack_acct" {
		t.Fatalf("%+v %v", a, err)
	}
	if s, err := ReadSysctls(""); err != nil || !s.Accounting || !s.Timestamp || s.Timeouts.TCP[track.TCPTimeWait] != 120 {
		t.Errorf("%+v %v", s, err)
	}
	if err := a.Restore(); err != nil {
		t.Fatal(err)
	}
	if s, _ := ReadSysctls(""); s.Accounting || !s.Timestamp {
		t.Errorf("%+v", s)
	}
}

func TestVitals(t *testing.T) {
	ownNetNS(t)
	k, err := NewKernel(KernelOptions{Events: true})
	if err != nil {
		t.Fatal(err)
	}
	traffic(t)
	if v := k.Vitals(); v.Count == 0 || v.Max == 0 || !v.Listen.Reliable {
		t.Errorf("%+v", v)
	}
	k.Stop()
	for range k.Events() { // until it is closed
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
