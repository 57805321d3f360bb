package outcome

import (
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// TestSoon: what has no entry in the kernel is told after the time of a repeated SYN, or at
// once where that of a denied one was seen; what has one, or where the kernel cannot be asked, waits for the export of its connection.
// ICMP errors never make a record.
func TestSoon(t *testing.T) {
	denial := Observation{Kind: Denial, Tuple: tuple(v4client, v4pod, 6), Action: flow.RuleActionDrop, Rule: "web"}
	attempt := Observation{Kind: Attempt, Tuple: tuple(v4client, v4vip, 6)}
	again := Observation{Kind: Attempt, Tuple: tuple(v4client, v4vip, 6), Retransmits: 1}
	repeated := Observation{Kind: Attempt, Tuple: tuple(v4client, v4pod, 6), Retransmits: 1}
	reject := Observation{Kind: Reject, Tuple: tuple(v4client, v4pod, 6)}
	icmp := Observation{Kind: Error, Tuple: tuple(v4client, v4pod, 17), Means: flow.OutcomeRefused}
	for _, c := range []struct {
		name       string
		o          []Observation
		exists, ok bool
		told       string // after a second and a half
		asked      int
	}{
		{"a denial without entry", []Observation{denial}, false, true, "denied", 1},
		{"an attempt without entry", []Observation{attempt}, false, true, "attempt", 1},
		{"a rejection", []Observation{reject}, false, true, "refused", 1},
		{"both ends of a translation", []Observation{attempt, denial}, false, true, "denied", 2},
		{"a denial with an entry", []Observation{denial}, true, true, "", 1},
		{"nobody knows", []Observation{attempt}, false, false, "", 1},
		{"a SYN sent again", []Observation{again}, false, true, "attempt", 1},
		{"a denied SYN sent again", []Observation{denial, repeated}, false, true, "denied", 2},
		{"hearsay", []Observation{icmp}, false, true, "", 0},
	} {
		asked := 0
		b := newBench(t, Config{Exists: func(*flow.Tuple) (bool, bool) { asked++; return c.exists, c.ok }})
		for _, o := range c.o {
			b.see(0, o)
		}
		b.expire(1400)
		if early := len(b.out) > 0; early != (c.name == "a denied SYN sent again") {
			t.Errorf("%s: told early: %q", c.name, b.out)
		}
		b.expire(1500)
		got := strings.Join(b.out, "\n")
		if (c.told == "") != (got == "") || c.told != "" && !strings.Contains(got, " "+c.told) || asked != c.asked {
			t.Errorf("%s: asked %d times, told %q", c.name, asked, got)
		}
		b.out = nil
		b.expire(12_000)
		if late := len(b.out) > 0; late != (c.told == "" && c.name != "hearsay") {
			t.Errorf("%s: told at last: %q", c.name, b.out)
		}
	}
}
