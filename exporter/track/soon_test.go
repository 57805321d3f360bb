package track_test

import (
	"testing"

	"github.com/weirnet/weir/exporter/track"
)

// TestNewOutcomesComeSoon: a connection that a later reading shows is exported within a
// second, and so is one whose outcome changed; what the first reading shows, and bytes
// alone, have the time of the active timeout.
func TestNewOutcomesComeSoon(t *testing.T) {
	r := start(track.Config{ActiveMs: 60_000, Events: true})
	old, young := conn(1000, 6), conn(2000, 6)
	old.HasTCP, old.TCPState, young.HasTCP, young.TCPState = true, track.TCPEstablished, true, track.TCPSynSent
	count(&old, 3, 300, 2, 200)
	count(&young, 1, 60, 0, 0)
	r.BeginDump(t0)
	r.Observe(t0, &old)
	r.BeginDump(t0 + 5000)
	r.Observe(t0+5000, &old)
	r.Observe(t0+5000, &young)
	r.Expire(t0 + 6100)
	r.want(t, "seq=0 first=true final=false active unknown d=60/0 end=+5000")
	young.TCPState, young.Status = track.TCPEstablished, track.StatusSeenReply|track.StatusAssured
	count(&young, 3, 300, 2, 200)
	r.Observe(t0+10_000, &young)
	r.Expire(t0 + 11_100)
	r.want(t, "seq=1 first=false final=false active ok d=240/200 end=+10000")
	count(&young, 4, 400, 2, 200)
	r.Observe(t0+11_200, &young)
	r.Expire(t0 + 12_300)
	r.want(t)
}

// TestKnowsAndRenew: a connection is found by its tuple in any zone that there is, and told
// anew when another source asks for it.
func TestKnowsAndRenew(t *testing.T) {
	r := start(track.Config{ActiveMs: 60_000, Events: true})
	c := conn(1000, 17)
	c.Zone = 7
	count(&c, 1, 60, 0, 0)
	if r.Knows(&c.Orig) {
		t.Error("it knows what it never saw")
	}
	r.BeginDump(t0)
	r.BeginDump(t0)
	r.Observe(t0, &c)
	r.Expire(t0 + 1100)
	r.want(t, "seq=0 first=true final=false active unknown d=60/0 end=+0")
	other := c.Orig
	other.SrcPort++
	if !r.Knows(&c.Orig) || r.Knows(&other) {
		t.Errorf("it knows %t, and the other %t", r.Knows(&c.Orig), r.Knows(&other))
	}
	r.Renew(t0+2000, &c.Orig)
	r.Renew(t0+2000, &other)
	r.Expire(t0 + 3100)
	r.want(t, "seq=1 first=false final=false active unknown d=0/0 end=+0")
	r.BeginDump(t0 + 4000)
	r.Sweep(t0 + 4000)
	if r.Knows(&c.Orig) {
		t.Error("it knows what is gone")
	}
	for z := range uint16(100) {
		c := conn(3000, 17)
		c.Zone = z
		r.Observe(t0+4000, &c)
	}
	if r.Zones() != nil {
		t.Errorf("%d zones are looked in", len(r.Zones()))
	}
}
