package outcome

import (
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// TestWhoReset has a connection through a Service and source NAT, whose RSTs are seen on
// either side of the translation.
func TestWhoReset(t *testing.T) {
	const v4out, v6out = "192.0.2.1:50000", "[2001:db8::1]:50000"
	for _, a := range [][4]string{{v4client, v4vip, v4pod, v4out}, {v6client, v6vip, v6pod, v6out}} {
		client, vip, pod, out := a[0], a[1], a[2], a[3]
		rst := func(at int64, src, dst string, forged bool) Observation {
			return Observation{Kind: Reset, TimeMs: t0 + at, Tuple: tuple(src, dst, 6), Forged: forged}
		}
		for _, c := range []struct {
			name string
			o    []Observation
			had  flow.Outcome
			want string
		}{
			{"the client, before translation", []Observation{rst(900, client, vip, false)}, flow.OutcomeReset, "reset evidence=100001 by=src"},
			{"the client, after translation", []Observation{rst(900, out, pod, false)}, flow.OutcomeReset, "reset evidence=100001 by=src"},
			{"the server, before translation", []Observation{rst(900, pod, out, false)}, flow.OutcomeReset, "reset evidence=100001 by=dst"},
			{"the server, after translation", []Observation{rst(900, vip, client, false)}, flow.OutcomeReset, "reset evidence=100001 by=dst"},
			{"both, the server first", []Observation{rst(900, client, vip, false), rst(800, vip, client, false)}, flow.OutcomeReset, "reset evidence=100001 by=dst"},
			{"a rule of this node", []Observation{rst(900, vip, client, true)}, flow.OutcomeReset, "reset evidence=100001 by=path"},
			{"refused: the address proves nothing", []Observation{rst(900, vip, client, false)}, flow.OutcomeRefused, "refused evidence=000001 by=unknown"},
			{"refused by a rule of this node", []Observation{rst(900, vip, client, true)}, flow.OutcomeRefused, "refused evidence=100001 by=path"},
			{"after both FINs", []Observation{rst(900, client, vip, false)}, flow.OutcomeOK, "ok evidence=000001 by=unknown"},
			{"of an older connection of the port", []Observation{rst(-5000, client, vip, false)}, flow.OutcomeReset, "reset evidence=000001 by=unknown"},
			{"of an older one, and of this", []Observation{rst(-7000, vip, client, false), rst(900, client, vip, false)}, flow.OutcomeReset, "reset evidence=100001 by=src"},
			{"of a later one", []Observation{rst(9000, client, vip, false)}, flow.OutcomeReset, "reset evidence=000001 by=unknown"},
		} {
			b := newBench(t, Config{})
			for i := range c.o {
				b.j.Observe(t0, &c.o[i])
				b.balance()
			}
			conn := track.Conn{Orig: tuple(client, vip, 6), Reply: tuple(pod, out, 6), Start: t0 * 1e6, Stop: (t0 + 1000) * 1e6}
			for range 2 { // every export of it says so
				x := track.Export{Conn: &conn, StartMs: t0, Outcome: c.had, Evidence: flow.EvidenceConntrack, Final: true}
				b.j.Join(&x)
				b.balance()
				if got := text(&x); !strings.Contains(got, c.want) {
					t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
				}
			}
			b.expire(50_000)
			b.want()
			if s := b.j.Stats(); s.Resets != 0 || s.Held != 0 || s.Joined+s.NoConnection != s.In {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
	}
}

// TestResetsAreBounded has more RSTs than there is room: the oldest go, counted.
func TestResetsAreBounded(t *testing.T) {
	b := newBench(t, Config{Max: 10})
	for i := range int64(1000) {
		tu := tuple(v4client, v4pod, 6)
		tu.SrcPort = uint16(i)
		b.see(i, Observation{Kind: Reset, Tuple: tu})
		b.see(i, Observation{Kind: Reset, Tuple: tu})
	}
	if s := b.j.Stats(); s.Resets != 10 || s.Full != 2*990 || s.Held != 2*10 || len(b.j.rsts.line) > 40 {
		t.Errorf("%+v, %d in line", s, len(b.j.rsts.line))
	}
	b.j.Flush(t0 + 1000)
	b.balance()
	b.want()
	if s := b.j.Stats(); s.Held != 0 || s.Resets != 0 || len(b.j.rsts.at) != 0 {
		t.Errorf("%+v", s)
	}
}

// TestRejected has a rule of this node reject with a RST: there is no entry, and the
// node's own RST makes a record, its repeats another.
func TestRejected(t *testing.T) {
	b := newBench(t, Config{})
	b.see(0, Observation{Kind: Reject, Tuple: tuple(v4client, v4vip, 6)})
	b.expire(12_000)
	b.want("10.0.0.1:40000 -> 10.96.0.1:80 at 10.96.0.1:80 seq=0 first=true final=false refused evidence=100000 by=path denied=0 none  retransmits=false/0 entry=false")
	b.see(12_500, Observation{Kind: Reject, Tuple: tuple(v4client, v4vip, 6)})
	b.expire(42_000)
	b.want("10.0.0.1:40000 -> 10.96.0.1:80 at 10.96.0.1:80 seq=1 first=false final=false refused evidence=100000 by=path denied=0 none  retransmits=false/0 entry=false")

	b = newBench(t, Config{}) // the rule logs as well: its name stands above
	b.see(0, Observation{Kind: Reject, Tuple: tuple(v4client, v4pod, 6)})
	b.see(0, Observation{Kind: Denial, Tuple: tuple(v4client, v4pod, 6), Action: flow.RuleActionReject, Rule: "r"})
	b.expire(12_000)
	b.want("10.0.0.1:40000 -> 10.0.1.2:8080 at 10.0.1.2:8080 seq=0 first=true final=false denied evidence=000100 by=unknown denied=1 reject r retransmits=false/0 entry=false")

	b = newBench(t, Config{}) // conntrack has it
	b.see(100, Observation{Kind: Reject, Tuple: tuple(v4client, v4pod, 6)})
	conn := track.Conn{Orig: tuple(v4client, v4pod, 6), Reply: tuple(v4pod, v4client, 6), Start: t0 * 1e6}
	x := track.Export{Conn: &conn, StartMs: t0, Outcome: flow.OutcomeUnanswered, Evidence: flow.EvidenceConntrack}
	b.j.Join(&x)
	if got := text(&x); !strings.Contains(got, "refused evidence=100001 by=path") {
		t.Error(got)
	}
}
