package outcome

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

const t0 = int64(1_700_000_000_000)

func tuple(src, dst string, proto uint8) flow.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return flow.Tuple{Src: flow.Addr16(s.Addr()), Dst: flow.Addr16(d.Addr()), SrcPort: s.Port(), DstPort: d.Port(), Proto: proto}
}

func text(x *track.Export) string {
	o, r := &x.Conn.Orig, &x.Conn.Reply
	return fmt.Sprintf("%s:%d -> %s:%d at %s:%d seq=%d first=%t final=%t %s evidence=%06b by=%s denied=%d %s %s retransmits=%t/%d entry=%t",
		o.SrcAddr(), o.SrcPort, o.DstAddr(), o.DstPort, r.SrcAddr(), r.SrcPort, x.Seq, x.First, x.Final, flow.OutcomeWords[x.Outcome], x.Evidence,
		flow.ResetByWords[x.ResetBy], x.Denied, flow.RuleActionWords[x.Action], x.Rule, x.HasRetransmits, x.Retransmits, !x.Conn.NoEntry)
}

// bench is a Joiner, and what it told.
type bench struct {
	t   *testing.T
	j   *Joiner
	out []string
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	b := &bench{t: t}
	b.j = New(cfg, func(x *track.Export) { b.out = append(b.out, text(x)) })
	return b
}

func (b *bench) see(atMs int64, o Observation) {
	b.t.Helper()
	o.TimeMs = t0 + atMs
	b.j.Observe(t0+atMs, &o)
	b.balance()
}

func (b *bench) expire(atMs int64) {
	b.t.Helper()
	b.j.Expire(t0 + atMs)
	b.balance()
}

func (b *bench) balance() {
	b.t.Helper()
	s := b.j.Stats()
	if s.In != s.Joined+s.Told+s.NoConnection+s.Full+s.Held {
		b.t.Fatalf("books: %+v", s)
	}
}

// want takes what was told.
func (b *bench) want(lines ...string) {
	b.t.Helper()
	if d := cmp.Diff(lines, b.out); d != "" {
		b.t.Errorf("told (-want +got):\n%s", d)
	}
	b.out = nil
}

const (
	v4client, v4vip, v4pod = "10.0.0.1:40000", "10.96.0.1:80", "10.0.1.2:8080"
	v6client, v6vip, v6pod = "[fd00::1]:40000", "[fd96::1]:80", "[fd00:1::2]:8080"
)

// TestDeniedService has a SYN to a Service denied at the client's node: the socket
// knows the Service, the rule the endpoint, in any order. Both families.
func TestDeniedService(t *testing.T) {
	for _, a := range [][3]string{{v4client, v4vip, v4pod}, {v6client, v6vip, v6pod}} {
		for _, first := range []Kind{Attempt, Denial} {
			b := newBench(t, Config{})
			try := Observation{Kind: Attempt, Tuple: tuple(a[0], a[1], 6), Retransmits: 2}
			deny := Observation{Kind: Denial, Tuple: tuple(a[0], a[2], 6), Action: flow.RuleActionDrop, Rule: "web"}
			if first == Attempt {
				b.see(0, try)
			}
			for at := range int64(3) {
				b.see(at*1000, deny)
			}
			if first == Denial {
				b.see(3000, try)
			}
			b.expire(11_000)
			b.want()
			line := fmt.Sprintf("%s -> %s at %s", strings.NewReplacer("[", "", "]", "").Replace(a[0]), strings.NewReplacer("[", "", "]", "").Replace(a[1]), strings.NewReplacer("[", "", "]", "").Replace(a[2]))
			b.expire(12_000)
			b.want(line + " seq=0 first=true final=false denied evidence=000110 by=unknown denied=3 drop web retransmits=true/2 entry=false")
			b.expire(41_000)
			b.see(41_000, deny)
			b.expire(41_500)
			b.expire(42_000)
			b.want(line + " seq=1 first=false final=false denied evidence=000110 by=unknown denied=4 drop web retransmits=true/2 entry=false")
			b.expire(111_000)
			b.want() // nothing is new
			if s := b.j.Stats(); s.Attempts != 0 || s.Held != 0 {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestJoin has an entry in conntrack, through a Service and source NAT.
func TestJoin(t *testing.T) {
	for _, proto := range []uint8{6, 17} {
		for _, c := range []struct {
			name string
			o    []Observation
			had  flow.Outcome
			seen bool // an answer
			want string
		}{
			{"denied", []Observation{{Kind: Denial, Tuple: tuple(v4client, v4pod, proto), Action: flow.RuleActionReject, Rule: "r"}}, flow.OutcomeUnanswered, false, "denied evidence=000101 by=unknown denied=1 reject r"},
			{"denied, as the outside knows the client", []Observation{{Kind: Denial, Tuple: tuple("192.0.2.1:50000", v4pod, proto), Action: flow.RuleActionDrop, Rule: "r"}}, flow.OutcomeUnanswered, false, "denied evidence=000101 by=unknown denied=1 drop r"},
			{"the server's own refusal", []Observation{{Kind: Error, Tuple: tuple(v4client, v4pod, proto), Means: flow.OutcomeRefused, From: tuple(v4pod, v4client, 0).Src}}, flow.OutcomeUnanswered, false, "refused evidence=100001 by=dst denied=0 none "},
			{"refused by a router", []Observation{{Kind: Error, Tuple: tuple(v4client, v4pod, proto), Means: flow.OutcomeRefused, From: tuple("10.9.9.9:1", v4client, 0).Src}}, flow.OutcomeUnanswered, false, "refused evidence=100001 by=path denied=0 none "},
			{"the server's own refusal, and its translated copy", []Observation{
				{Kind: Error, Tuple: tuple(v4client, v4pod, proto), Means: flow.OutcomeRefused, From: tuple(v4pod, v4client, 0).Src},
				{Kind: Error, Tuple: tuple(v4client, v4vip, proto), Means: flow.OutcomeRefused, From: tuple(v4vip, v4client, 0).Src},
			}, flow.OutcomeUnanswered, false, "refused evidence=100001 by=dst denied=0 none "},
			{"refused by a router, and its translated copy", []Observation{
				{Kind: Error, Tuple: tuple(v4client, v4pod, proto), Means: flow.OutcomeRefused, From: tuple("10.9.9.9:1", v4client, 0).Src},
				{Kind: Error, Tuple: tuple(v4client, v4vip, proto), Means: flow.OutcomeRefused, From: tuple(v4vip, v4client, 0).Src},
			}, flow.OutcomeUnanswered, false, "refused evidence=100001 by=path denied=0 none "},
			{"the translated copy alone", []Observation{
				{Kind: Error, Tuple: tuple(v4client, v4vip, proto), Means: flow.OutcomeRefused, From: tuple(v4vip, v4client, 0).Src},
			}, flow.OutcomeUnanswered, false, "refused evidence=100001 by=unknown denied=0 none "},
			{"no route", []Observation{{Kind: Error, Tuple: tuple(v4client, v4pod, proto), Means: flow.OutcomePathLoss}}, flow.OutcomeUnanswered, false, "path_loss evidence=100001 by=unknown denied=0 none "},
			{"answered, so nothing that came later decided", []Observation{{Kind: Error, Tuple: tuple(v4client, v4pod, proto), Means: flow.OutcomeRefused}}, flow.OutcomeOK, true, "ok evidence=000001 by=unknown denied=0 none "},
			{"another server's", []Observation{{Kind: Denial, Tuple: tuple(v4client, "10.0.9.9:99", proto), Action: flow.RuleActionDrop}}, flow.OutcomeUnanswered, false, "unanswered evidence=000001 by=unknown denied=0 none "},
			{"nothing", nil, flow.OutcomeUnanswered, false, "unanswered evidence=000001 by=unknown denied=0 none "},
		} {
			b := newBench(t, Config{})
			for _, o := range c.o {
				b.see(100, o)
			}
			conn := track.Conn{Orig: tuple(v4client, v4vip, proto), Reply: tuple(v4pod, "192.0.2.1:50000", proto), Start: t0 * 1e6}
			if c.seen {
				conn.Status = track.StatusSeenReply
			}
			x := track.Export{Conn: &conn, StartMs: t0, Outcome: c.had, Evidence: flow.EvidenceConntrack}
			b.j.Join(&x)
			b.balance()
			if got := text(&x); !strings.Contains(got, c.want) {
				t.Errorf("%s, proto %d:\n got %s\nwant %s", c.name, proto, got, c.want)
			}
			if c.name != "another server's" {
				b.expire(200_000)
				b.want()
			}
		}
	}
}

// TestBeganBefore has a socket that was seen before it was seen to try again: its
// records begin then, and the wait for a connection begins with the observation.
func TestBeganBefore(t *testing.T) {
	var starts []int64
	j := New(Config{}, func(x *track.Export) { starts = append(starts, x.StartMs-t0, x.Conn.Start/1e6-t0) })
	o := Observation{Kind: Attempt, TimeMs: t0, SinceMs: t0 - 5000, Tuple: tuple(v4client, v4pod, 6), Retransmits: 1}
	j.Observe(t0, &o)
	j.Expire(t0 + 11_900)
	if starts != nil {
		t.Errorf("told after 11.9 s")
	}
	j.Expire(t0 + 12_000)
	if d := cmp.Diff([]int64{-5000, -5000}, starts); d != "" {
		t.Error(d)
	}
}

func TestAttemptsAndHearsay(t *testing.T) {
	b := newBench(t, Config{Max: 2})
	b.see(0, Observation{Kind: Attempt, Tuple: tuple(v4client, v4pod, 6), Retransmits: 1})
	b.see(0, Observation{Kind: Error, Tuple: tuple("10.0.0.7:1", v4pod, 17), Means: flow.OutcomeRefused})
	b.see(0, Observation{Kind: Attempt, Tuple: tuple("10.0.0.8:1", v4pod, 6)}) // no room
	b.expire(12_000)
	b.want("10.0.0.1:40000 -> 10.0.1.2:8080 at 10.0.1.2:8080 seq=0 first=true final=false attempt evidence=000010 by=unknown denied=0 none  retransmits=true/1 entry=false")
	if s := b.j.Stats(); s.Full != 1 || s.NoConnection != 1 || s.Told != 1 {
		t.Errorf("%+v", s)
	}
	b.see(12_500, Observation{Kind: Attempt, Tuple: tuple(v4client, v4pod, 6), Retransmits: 2})
	b.j.Flush(t0 + 13_000)
	b.balance()
	b.want("10.0.0.1:40000 -> 10.0.1.2:8080 at 10.0.1.2:8080 seq=1 first=false final=true attempt evidence=000010 by=unknown denied=0 none  retransmits=true/2 entry=false")
}

// TestPortIsUsedAgain has evidence of an older connection on the same port.
func TestPortIsUsedAgain(t *testing.T) {
	b := newBench(t, Config{})
	b.see(0, Observation{Kind: Denial, Tuple: tuple(v4client, v4pod, 6), Action: flow.RuleActionDrop})
	conn := track.Conn{Orig: tuple(v4client, v4pod, 6), Reply: tuple(v4pod, v4client, 6), Start: (t0 + 5000) * 1e6}
	x := track.Export{Conn: &conn, StartMs: t0 + 5000, Outcome: flow.OutcomeUnanswered, Evidence: flow.EvidenceConntrack}
	b.j.Join(&x)
	if x.Outcome != flow.OutcomeUnanswered || x.Denied != 0 {
		t.Error(text(&x))
	}
}
