package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/packet"
)

const (
	pod   = "10.1.0.2"
	other = "10.1.0.3"
	pod6  = "fd01::2"
)

func a16(s string) [16]byte { return flow.Addr16(netip.MustParseAddr(s)) }

// datagram makes an IP packet that carries UDP.
func datagram(from, to string, body []byte) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	u := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
	u = append(binary.BigEndian.AppendUint16(u, uint16(8+len(body))), 0, 0)
	return ip(src.Addr(), dst.Addr(), packet.UDP, append(u, body...))
}

// segment makes an IP packet that carries TCP. flags: 2 SYN, 1 FIN, 4 RST.
func segment(from, to string, seq uint32, flags byte, body []byte) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	u := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
	u = append(binary.BigEndian.AppendUint32(u, seq), 0, 0, 0, 0, 5<<4, flags, 0, 0, 0, 0, 0, 0)
	return ip(src.Addr(), dst.Addr(), packet.TCP, append(u, body...))
}

func ip(src, dst netip.Addr, proto byte, t []byte) []byte {
	if src.Is6() {
		b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(t)))
		b = append(append(append(b, proto, 64), src.AsSlice()...), dst.AsSlice()...)
		return append(b, t...)
	}
	b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(t)))
	b = append(append(append(b, 0, 0, 0, 0, 64, proto, 0, 0), src.AsSlice()...), dst.AsSlice()...)
	return append(b, t...)
}

func name(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }

func ask(id uint16, n string, typ dnsmessage.Type) []byte {
	return pack(dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name(n), Type: typ, Class: dnsmessage.ClassINET}},
	})
}

func pack(m dnsmessage.Message) []byte {
	b, err := m.Pack()
	if err != nil {
		panic(err) // a mistake in the test
	}
	return b
}

// rr reads "owner ttl A|AAAA|CNAME value".
func rr(s string) dnsmessage.Resource {
	f := strings.Fields(s)
	var ttl uint32
	for _, c := range f[1] {
		ttl = ttl*10 + uint32(c-'0')
	}
	h := dnsmessage.ResourceHeader{Name: name(f[0]), Class: dnsmessage.ClassINET, TTL: ttl}
	switch f[2] {
	case "A":
		return dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: netip.MustParseAddr(f[3]).As4()}}
	case "AAAA":
		return dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(f[3]).As16()}}
	case "CNAME":
		return dnsmessage.Resource{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: name(f[3])}}
	}
	return dnsmessage.Resource{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{f[3]}}}
}

func answer(id uint16, n string, typ dnsmessage.Type, rcode dnsmessage.RCode, list ...string) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, RCode: rcode},
		Questions: []dnsmessage.Question{{Name: name(n), Type: typ, Class: dnsmessage.ClassINET}},
	}
	for _, s := range list {
		m.Answers = append(m.Answers, rr(s))
	}
	return pack(m)
}

const (
	sec    = int64(1e9)
	server = "10.96.0.10:53"
)

// asks has a client ask for a name and get an answer; ns is when it asks, and the
// answer comes 3 ms later.
func asks(o *Observer, ns int64, client, n string, list ...string) {
	typ, from, to := dnsmessage.TypeA, client+":40000", server
	if strings.Contains(client, ":") {
		typ, from, to = dnsmessage.TypeAAAA, "["+client+"]:40000", "[fd96::a]:53"
	}
	id := uint16(ns / 1e6)
	o.Packet(ns, datagram(from, to, ask(id, n, typ)))
	o.Packet(ns+3e6, datagram(to, from, answer(id, n, typ, 0, list...)))
}

// TestNames follows CNAMEs and leaves out what nobody asked for.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		name    string
		asked   string
		records []string
		want    map[string]string // address: name
		foreign uint64
	}{
		{"plain", "API.Example.com.", []string{"api.example.com. 60 A 203.0.113.1", "api.example.com. 60 A 203.0.113.2"}, map[string]string{"203.0.113.1": "api.example.com", "203.0.113.2": "api.example.com"}, 0},
		{"chain in another order", "www.example.com.", []string{"c.example.net. 60 A 203.0.113.1", "b.example.net. 60 CNAME C.example.net.", "www.example.com. 60 CNAME b.example.net."}, map[string]string{"203.0.113.1": "www.example.com"}, 0},
		{"a record of another name", "www.example.com.", []string{"www.example.com. 60 A 203.0.113.1", "bank.example. 60 A 203.0.113.9"}, map[string]string{"203.0.113.1": "www.example.com", "203.0.113.9": ""}, 1},
		{"a loop of aliases", "a.example.", []string{"a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example.", "c.example. 60 A 203.0.113.1"}, map[string]string{"203.0.113.1": ""}, 1},
		{"other types", "a.example.", []string{"a.example. 60 TXT hello", "a.example. 60 A 203.0.113.1"}, map[string]string{"203.0.113.1": "a.example"}, 0},
	} {
		o := New(Limits{})
		asks(o, 100*sec, pod, c.asked, c.records...)
		for addr, want := range c.want {
			if got := o.Name(a16(pod), a16(addr), 100_500, 100_600); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, addr, got, want)
			}
			if got := o.Name(a16(other), a16(addr), 100_500, 100_600); got != "" {
				t.Errorf("%s: another pod's %s is %q", c.name, addr, got)
			}
		}
		if s := o.Stats(); s.Foreign != c.foreign || s.Queries != 1 || s.Answers != 1 {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
	o := New(Limits{})
	asks(o, 100*sec, pod6, "v6.example.", "v6.example. 60 AAAA 2001:db8::1")
	if got := o.Name(a16(pod6), a16("2001:db8::1"), 100_010, 100_010); got != "v6.example" {
		t.Errorf("v6: %q", got)
	}
}

// TestLongChain ends a chain that no resolver would follow.
func TestLongChain(t *testing.T) {
	var list []string
	for i := range 40 {
		list = append(list, "n"+string(rune('a'+i/26))+string(rune('a'+i%26))+". 60 CNAME n"+string(rune('a'+(i+1)/26))+string(rune('a'+(i+1)%26))+".")
	}
	o := New(Limits{})
	asks(o, 100*sec, pod, "naa.", append(list, "nbo. 60 A 203.0.113.1")...)
	if got := o.Name(a16(pod), a16("203.0.113.1"), 100_500, 100_500); got != "" || o.Stats().Foreign != 1 {
		t.Errorf("%q, %+v", got, o.Stats())
	}
}

// TestTime asks for names before, within and after their time.
func TestTime(t *testing.T) {
	o := New(Limits{GraceMs: 10_000})
	client := a16(pod)
	check := func(what, addr string, startMs int64, want string) {
		t.Helper()
		if got := o.Name(client, a16(addr), startMs, startMs); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	asks(o, 100*sec, pod, "a.example.", "x. 5 A 203.0.113.7", "a.example. 20 CNAME b.example.", "b.example. 5 A 203.0.113.1", "a.example. 4000000000 A 203.0.113.2")
	check("before the answer", "203.0.113.1", 100_002, "")
	check("at the answer", "203.0.113.1", 100_003, "a.example")
	check("in the grace after the smallest TTL", "203.0.113.1", 115_000, "a.example")
	check("after it", "203.0.113.1", 115_004, "")
	check("a TTL above 2^31-1 is 0", "203.0.113.2", 110_004, "")
	asks(o, 200*sec, pod, "a.example.", "a.example. 5 A 203.0.113.1")
	check("in the hole between", "203.0.113.1", 150_000, "")
	check("after it was asked for again", "203.0.113.1", 201_000, "a.example")
	// A second name of the same address.
	asks(o, 205*sec, pod, "b.example.", "b.example. 50 A 203.0.113.1")
	check("the connection of before keeps its name", "203.0.113.1", 204_000, "a.example")
	check("a new one has the new name", "203.0.113.1", 206_000, "b.example")
	asks(o, 207*sec, pod, "a.example.", "a.example. 50 A 203.0.113.1")
	check("the first connection, after the names took turns", "203.0.113.1", 204_000, "a.example")
	check("the second one", "203.0.113.1", 206_000, "b.example")
	check("a third one", "203.0.113.1", 208_000, "a.example")
	asks(o, 300*sec, pod, "c.example.", "c.example. 4000000 A 203.0.113.3")
	check("no TTL is believed longer than a day", "203.0.113.3", 300_003+86_400_000+10_001, "")
}

// TestHostile sends what an attacker or a broken server might.
func TestHostile(t *testing.T) {
	first := func(o *Observer) {
		o.Packet(100*sec, datagram(pod+":40000", server, ask(7, "a.example.", dnsmessage.TypeA)))
	}
	good := answer(7, "a.example.", dnsmessage.TypeA, 0, "a.example. 60 A 203.0.113.1")
	loop := append([]byte{0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12}, 0, 1, 0, 1)
	for _, c := range []struct {
		name string
		in   []byte
		stat func(Stats) uint64
	}{
		{"another id", datagram(server, pod+":40000", answer(8, "a.example.", dnsmessage.TypeA, 0, "a.example. 60 A 203.0.113.1")), func(s Stats) uint64 { return s.Unasked }},
		{"another port", datagram(server, pod+":40001", good), func(s Stats) uint64 { return s.Unasked }},
		{"another client", datagram(server, other+":40000", good), func(s Stats) uint64 { return s.Unasked }},
		{"another name", datagram(server, pod+":40000", answer(7, "b.example.", dnsmessage.TypeA, 0, "b.example. 60 A 203.0.113.1")), func(s Stats) uint64 { return s.Unasked }},
		{"another type", datagram(server, pod+":40000", answer(7, "a.example.", dnsmessage.TypeAAAA, 0, "a.example. 60 A 203.0.113.1")), func(s Stats) uint64 { return s.Unasked }},
		{"not from port 53", datagram("10.96.0.10:5353", pod+":53", good), func(s Stats) uint64 { return s.Malformed }},
		{"a pointer to itself", datagram(server, pod+":40000", loop), func(s Stats) uint64 { return s.Malformed }},
		{"cut in the answer", datagram(server, pod+":40000", good[:len(good)-3]), func(s Stats) uint64 { return s.Malformed }},
		{"no question", datagram(server, pod+":40000", pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}})), func(s Stats) uint64 { return s.Malformed }},
		{"two questions", datagram(server, pod+":40000", pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{
			{Name: name("a.example."), Type: 1, Class: 1}, {Name: name("a.example."), Type: 1, Class: 1},
		}})), func(s Stats) uint64 { return s.Malformed }},
		{"a name with a quote", datagram(server, pod+":40000", answer(7, `a".example.`, dnsmessage.TypeA, 0)), func(s Stats) uint64 { return s.Malformed }},
		{"eleven bytes", datagram(server, pod+":40000", good[:11]), func(s Stats) uint64 { return s.Malformed }},
		{"no IP packet", []byte{1, 2, 3}, func(s Stats) uint64 { return s.Malformed }},
		{"cut packet", datagram(server, pod+":40000", good)[:60], func(s Stats) uint64 { return s.Incomplete }},
	} {
		o := New(Limits{})
		first(o)
		o.Packet(100*sec+1e6, c.in)
		if s := o.Stats(); c.stat(s) != 1 || s.Learned != 0 || s.Answers != 0 {
			t.Errorf("%s: %+v", c.name, s)
		}
		// The right answer still counts.
		o.Packet(100*sec+2e6, datagram(server, pod+":40000", good))
		if o.Stats().Learned != 1 {
			t.Errorf("%s: the right answer behind it was not taken: %+v", c.name, o.Stats())
		}
	}
}

// TestFlow gives what a connection asked, and what it got.
func TestFlow(t *testing.T) {
	o := New(Limits{})
	q := ask(7, "no.example.", dnsmessage.TypeA)
	in := datagram(pod+":40000", server, q)
	o.Packet(100*sec, in)
	o.Packet(100*sec+1000, in) // at the next interface
	// Translated on the way out: another destination, the same question.
	o.Packet(100*sec+2000, datagram(pod+":40000", "10.2.0.9:53", q))
	tuple := flow.Tuple{Src: a16(pod), Dst: a16("10.96.0.10"), SrcPort: 40000, DstPort: 53, Proto: packet.UDP}
	if f, ok := o.Flow(&tuple); !ok || f != (Flow{Query: "no.example"}) {
		t.Errorf("before the answer: %+v, %v", f, ok)
	}
	back := answer(7, "no.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError)
	o.Packet(100*sec+7e6, datagram("10.2.0.9:53", pod+":40000", back))
	o.Packet(100*sec+7e6+1000, datagram(server, pod+":40000", back))
	if f, ok := o.Flow(&tuple); !ok || f != (Flow{Query: "no.example", Rcode: 3, TimeUs: 7000, Answered: true}) {
		t.Errorf("%+v, %v", f, ok)
	}
	if s := o.Stats(); s.Queries != 1 || s.Answers != 1 || s.Repeated != 3 || s.Flows != 1 {
		t.Errorf("%+v", s)
	}
	// The next question of the same socket.
	o.Packet(101*sec, datagram(pod+":40000", server, ask(8, "slow.example.", dnsmessage.TypeA)))
	o.Packet(112*sec, datagram(other+":40000", server, ask(8, "slow.example.", dnsmessage.TypeA)))
	if f, _ := o.Flow(&tuple); f.Query != "slow.example" {
		t.Errorf("%+v", f)
	}
	if s := o.Stats(); s.Unanswered != 1 {
		t.Errorf("%+v: a question of 11 s ago has no answer", s)
	}
}

// TestTCP cuts messages into segments, repeats them and loses one.
func TestTCP(t *testing.T) {
	client := pod + ":40000"
	framed := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	q := framed(ask(7, "a.example.", dnsmessage.TypeA))
	a := framed(answer(7, "a.example.", dnsmessage.TypeA, 0, "a.example. 60 A 203.0.113.1"))
	for size := 1; size <= len(a); size++ {
		o := New(Limits{})
		o.Packet(100*sec, segment(client, server, 100, 2, nil))
		o.Packet(100*sec, segment(server, client, 4294967290, 2, nil)) // the numbers wrap
		o.Packet(100*sec, segment(client, server, 101, 0, q))
		o.Packet(100*sec, segment(client, server, 101, 0, q)) // at the next interface
		for at := 0; at < len(a); at += size {
			s := segment(server, client, 4294967291+uint32(at), 0, a[at:min(at+size, len(a))])
			o.Packet(100*sec+2e6, s)
			o.Packet(100*sec+2e6, s)
		}
		if s := o.Stats(); s.Queries != 1 || s.Answers != 1 || s.Learned != 1 || s.Buffered != 0 || s.Incomplete != 0 {
			t.Fatalf("%d bytes a segment: %+v", size, s)
		}
		o.Packet(100*sec, segment(server, client, 4294967291+uint32(len(a)), 1, nil))
		o.Packet(100*sec, segment(client, server, 101+uint32(len(q)), 4, nil))
		if s := o.Stats(); s.Streams != 0 {
			t.Fatalf("after FIN and RST: %+v", s)
		}
	}
	o := New(Limits{})
	o.Packet(100*sec, segment(client, server, 100, 2, nil))
	o.Packet(100*sec, segment(client, server, 101, 0, q[:5]))
	o.Packet(100*sec, segment(client, server, 107, 0, q[6:]))
	if s := o.Stats(); s.Queries != 0 || s.Incomplete != 1 || s.Streams != 0 || s.Buffered != 0 {
		t.Errorf("a missing segment: %+v", s)
	}
	o.Packet(100*sec, segment(client, server, 101, 0, q))
	if s := o.Stats(); s.Queries != 0 {
		t.Errorf("a stream whose begin was not seen was read: %+v", s)
	}
}

// TestBounds fills each table and counts what had to go.
func TestBounds(t *testing.T) {
	o := New(Limits{Names: 8, PerClient: 4, Queries: 4, Flows: 4, Streams: 4, Buffered: 64})
	for i := range 20 {
		addr := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String()
		asks(o, (100+int64(i))*sec, pod, "a.example.", "a.example. 60 A "+addr)
	}
	if s := o.Stats(); s.Names != 4 || s.RefusedNames != 16 || s.EvictedNames != 0 {
		t.Errorf("one client: %+v", s)
	}
	for i := range 20 {
		client := netip.AddrFrom4([4]byte{10, 2, 0, byte(i)}).String()
		asks(o, (130+int64(i))*sec, client, "a.example.", "a.example. 60 A 203.0.113.1")
		_ = o.Name(a16(pod), a16("203.0.113.0"), 101_000, (130+int64(i))*1000)
	}
	s := o.Stats()
	if s.Names != 8 || s.EvictedNames != 16 || s.Flows != 4 || s.EvictedFlows != 17 || s.Learned != 24 {
		t.Errorf("many clients: %+v", s)
	}
	if o.Name(a16(pod), a16("203.0.113.0"), 101_000, 151_000) == "" {
		t.Error("the name in use was given up")
	}
	if o.Name(a16(pod), a16("203.0.113.1"), 102_000, 151_000) != "" {
		t.Error("the name that was longest unused was kept")
	}
	for i := range 10 {
		o.Packet(200*sec, datagram(pod+":4000"+string(rune('0'+i)), server, ask(1, "b.example.", dnsmessage.TypeA)))
		from := pod + ":5000" + string(rune('0'+i))
		o.Packet(200*sec, segment(from, server, 0, 2, nil))
		o.Packet(200*sec, segment(from, server, 1, 0, make([]byte, 1)))
		o.Packet(200*sec, segment(from, server, 2, 0, []byte{200, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}))
	}
	if s := o.Stats(); s.EvictedQueries != 6 || s.Streams > 4 || s.Buffered > 64 || s.EvictedStreams+s.Incomplete < 6 {
		t.Errorf("%+v", s)
	}
}

// TestSteadyStateAllocates asks the same again and again.
func TestSteadyStateAllocates(t *testing.T) {
	o := New(Limits{})
	q := datagram(pod+":40000", server, ask(7, "www.example.com.", dnsmessage.TypeA))
	a := datagram(server, pod+":40000", answer(7, "www.example.com.", dnsmessage.TypeA, 0, "www.example.com. 60 CNAME b.example.net.", "b.example.net. 60 A 203.0.113.1"))
	ns := 100 * sec
	n := testing.AllocsPerRun(100, func() {
		ns += sec
		o.Packet(ns, q)
		o.Packet(ns+1e6, a)
	})
	if s := o.Stats(); n != 0 || s.Answers != 101 {
		t.Errorf("%v allocations a question, want 0; %+v", n, s)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(datagram(server, pod+":40000", answer(7, "a.example.", dnsmessage.TypeA, 0, "a.example. 60 CNAME b.example.", "b.example. 60 A 203.0.113.1")))
	f.Add(datagram(pod+":40000", server, ask(7, "a.example.", dnsmessage.TypeA)))
	f.Add(segment(pod+":40000", server, 101, 0, []byte{0, 5, 1, 2, 3}))
	f.Fuzz(func(t *testing.T, in []byte) {
		o := New(Limits{Names: 4, Queries: 4, Flows: 4, Streams: 4, Buffered: 1024})
		o.Packet(100*sec, datagram(pod+":40000", server, ask(7, "a.example.", dnsmessage.TypeA)))
		o.Packet(100*sec, segment(pod+":40000", server, 100, 2, nil))
		for range 3 {
			o.Packet(100*sec+1e6, in)
		}
		if s := o.Stats(); s.Buffered < 0 || s.Buffered > 1024 || s.Names > 4 || s.Streams > 4 {
			t.Errorf("%+v", s)
		}
	})
}

// FuzzMessage reads messages alone: whatever is read has a name that may be shown.
func FuzzMessage(f *testing.F) {
	f.Add(answer(7, "a.example.", dnsmessage.TypeA, 0, "a.example. 60 CNAME b.example.", "b.example. 60 A 203.0.113.1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var m message
		ok, err := m.parse(in)
		if !ok || err != nil {
			return
		}
		for _, c := range m.name {
			if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
				t.Errorf("name %q", m.name)
			}
		}
		m.reach(func([16]byte, uint32) {})
	})
}

func BenchmarkAnswer(b *testing.B) {
	for _, c := range []struct {
		name string
		list []string
	}{
		{"address", []string{"www.example.com. 60 A 203.0.113.1"}},
		{"chain", []string{"www.example.com. 60 CNAME b.example.net.", "b.example.net. 60 CNAME c.example.net.", "c.example.net. 60 A 203.0.113.1", "c.example.net. 60 A 203.0.113.2"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			o := New(Limits{})
			q := datagram(pod+":40000", server, ask(7, "www.example.com.", dnsmessage.TypeA))
			a := datagram(server, pod+":40000", answer(7, "www.example.com.", dnsmessage.TypeA, 0, c.list...))
			ns := 100 * sec
			b.ReportAllocs()
			for b.Loop() { // a question and its answer
				ns += 1e6
				o.Packet(ns, q)
				o.Packet(ns+1000, a)
			}
		})
	}
}
