package nflog

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
)

const syn4 = "4500003c000040004006000" + "0" + "0a010002" + "0a020002" + "9c410050" + "0000000000000000a0020000" + "00000000"

// logged makes the payload of a packet message as the kernel does.
func logged(group uint16, prefix string, seq uint32, packetHex string) []byte {
	p, err := hex.DecodeString(packetHex)
	if err != nil {
		panic(err)
	}
	b := append([]byte{2, 0}, be.AppendUint16(nil, group)...)
	for _, a := range [][]byte{
		attr(attrPacketHdr, []byte{8, 0, 2, 0}), attr(attrPrefix, append([]byte(prefix), 0)),
		attr(attrIndev, be.AppendUint32(nil, 3)), attr(attrOutdev, be.AppendUint32(nil, 4)),
		attr(attrTimestamp, append(be.AppendUint64(nil, 1_700_000_000), be.AppendUint64(nil, 123_456)...)),
		attr(attrSeq, be.AppendUint32(nil, seq)), attr(attrPayload, p), attr(999, []byte{1}),
	} {
		b = append(b, a...)
	}
	return b
}

func TestDecode(t *testing.T) {
	var m message
	if err := decode(logged(5, "DENY:web", 7, syn4), &m); err != nil {
		t.Fatal(err)
	}
	if m.Group != 5 || string(m.prefix) != "DENY:web" || m.Hook != Forward || m.in != 3 || m.out != 4 || m.seq != 7 || m.TimeMs != 1_700_000_000_123 ||
		m.Tuple.SrcPort != 40001 || m.Tuple.DstPort != 80 || m.Tuple.Proto != 6 || m.Tuple.SrcAddr().String() != "10.1.0.2" {
		t.Errorf("%+v", m)
	}
	whole := logged(5, "DENY:web", 7, syn4)
	for i := range whole { // never a wrong reading of a part, never a panic
		if err := decode(whole[:i], &m); err == nil && m.Tuple.Proto != 6 {
			t.Errorf("cut at %d: %+v", i, m)
		}
	}
	if err := decode(logged(5, "x", 1, ""), &m); err == nil {
		t.Error("an empty packet was read")
	}
	if err := decode(append([]byte{2, 0, 0, 5}, attr(attrPrefix, []byte("x"))...), &m); !errors.Is(err, errMalformed) {
		t.Errorf("a message without a packet: %v", err)
	}
	in := logged(5, "DENY:web", 7, syn4)
	if n := testing.AllocsPerRun(100, func() { _ = decode(in, &m) }); n != 0 {
		t.Errorf("%v allocations a message, want 0", n)
	}
}

func TestName(t *testing.T) {
	r, err := compile([]Rule{
		{Group: 5, Prefix: "DENY:", Action: flow.RuleActionDrop},
		{Group: 5, Prefix: "DENY:pol:", Action: flow.RuleActionDrop, Names: NamesPolicy},
		{Group: 5, Prefix: "REJ ", Action: flow.RuleActionReject, Names: NamesBoth},
		{Group: 6, Action: flow.RuleActionDrop, Names: NamesNothing},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		group          uint16
		prefix         string
		policy, rule   string
		action         flow.RuleAction
		none, anything bool
	}{
		{group: 5, prefix: "DENY:web ", rule: "web", action: flow.RuleActionDrop},
		{group: 5, prefix: "DENY:pol:shop/web", policy: "shop/web", action: flow.RuleActionDrop},
		{group: 5, prefix: "REJ shop/web|in-2", policy: "shop/web", rule: "in-2", action: flow.RuleActionReject},
		{group: 5, prefix: "REJ shop/web", policy: "shop/web", action: flow.RuleActionReject},
		{group: 5, prefix: "DENY:", action: flow.RuleActionDrop},
		{group: 5, prefix: "other", none: true},
		{group: 6, prefix: "whatever", action: flow.RuleActionDrop},
		{group: 7, prefix: "DENY:web", none: true},
	} {
		d := Denial{Group: c.group, Prefix: c.prefix}
		if ok := r.name(&d); ok == c.none || d.Policy != c.policy || d.Rule != c.rule || d.Action != c.action {
			t.Errorf("group %d, %q: %v, %+v", c.group, c.prefix, ok, d)
		}
	}
}

func TestCompile(t *testing.T) {
	for want, list := range map[string][]Rule{
		"no prefix is given": nil,
		"twice":              {{Group: 1, Prefix: "a", Action: flow.RuleActionDrop}, {Group: 1, Prefix: "a", Action: flow.RuleActionReject}},
		"drops or rejects":   {{Group: 1, Prefix: "a", Action: flow.RuleActionAllow}},
		"at most 256":        make([]Rule, 257),
	} {
		if _, err := compile(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"DENY:é": "DENY:é", "a\x01b": "a\uFFFDb", "a\xffb": "a\uFFFDb", "": ""} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, e := range []struct {
		on  bool
		err error
	}{{false, nil}, {true, errors.New("no right")}} {
		if s := Status(e.on, e.err); s.On || s.Why == "" || s.Remedy == "" {
			t.Errorf("%+v: %+v", e, s)
		}
	}
	if s := Status(true, nil); !s.On {
		t.Errorf("%+v", s)
	}
}

// datagram wraps payloads into one netlink datagram.
func datagram(payloads ...[]byte) []byte {
	var out []byte
	for _, p := range payloads {
		b := ne.AppendUint32(nil, uint32(nlHdrLen+len(p)))
		b = ne.AppendUint16(b, msgPacket)
		b = append(b, make([]byte, nlHdrLen-6)...)
		out = append(out, append(b, p...)...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

func quiet(t testing.TB, queue int) *Listener {
	t.Helper()
	r, err := compile([]Rule{{Group: 5, Prefix: "DENY:", Action: flow.RuleActionDrop}})
	if err != nil {
		t.Fatal(err)
	}
	return &Listener{rules: r, out: make(chan []Denial, queue), next: map[uint16]uint32{}, links: map[uint32]string{3: "va", 4: "vb"}}
}

// TestTake counts what is lost, dropped, unmatched and malformed.
func TestTake(t *testing.T) {
	l := quiet(t, 1)
	l.take(datagram(logged(5, "DENY:a", 0, syn4), logged(5, "AUDIT", 1, syn4), logged(5, "DENY:b", 5, syn4), logged(5, "DENY:c", 6, "99")), 1)
	l.take(datagram(logged(5, "DENY:d", 7, syn4)), 1)
	l.take([]byte{1, 2, 3}, 1)
	got := <-l.Denials()
	if len(got) != 2 || got[0].Rule != "a" || got[1].Rule != "b" || got[1].In != "va" || got[1].Out != "vb" {
		t.Errorf("%+v", got)
	}
	if s, want := l.Stats(), (Stats{Denials: 2, Unmatched: 1, Malformed: 2, Lost: 3, Dropped: 1}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}

// farFuture keeps a listener from listing interfaces.
var farFuture = time.Now().Add(1000 * time.Hour)

func FuzzTake(f *testing.F) {
	f.Add(datagram(logged(5, "DENY:a", 0, syn4), logged(6, "x", 1, syn4)))
	f.Fuzz(func(t *testing.T, in []byte) {
		l := quiet(t, 1)
		for i := range uint32(16) {
			l.links[i] = "x" // so that nothing is listed
		}
		l.list = farFuture
		l.take(in, 1)
		if s := l.Stats(); s.Denials+s.Unmatched+s.Malformed > uint64(len(in)/nlHdrLen+1) {
			t.Errorf("%+v from %d bytes", s, len(in))
		}
	})
}

func BenchmarkTake(b *testing.B) {
	l := quiet(b, 1)
	in := datagram(logged(5, "DENY:web", 0, syn4))
	b.ReportAllocs()
	for b.Loop() {
		l.take(in, 1)
		<-l.out
	}
}
