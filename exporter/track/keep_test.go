package track_test

import (
	"testing"

	"github.com/weirnet/weir/exporter/track"
)

type memory struct {
	told   map[uint64]track.Told
	walked int
}

func (m *memory) Put(_ int32, id uint64, t *track.Told) { m.told[id] = *t }
func (m *memory) Walked()                               { m.walked++ }

// TestSuccessor: a tracker that begins from what another told has only what is new as its
// delta, and goes on counting its records; a connection that it was told the end of is not
// told again.
func TestSuccessor(t *testing.T) {
	m := &memory{told: map[uint64]track.Told{}}
	r := start(track.Config{ActiveMs: 1000, Events: true, Keep: m})
	live, over := conn(1000, 6), conn(2000, 6)
	for _, c := range []*track.Conn{&live, &over} {
		c.HasTCP, c.TCPState, c.Status = true, track.TCPEstablished, track.StatusSeenReply|track.StatusAssured
		count(c, 3, 300, 2, 200)
	}
	over.TCPState = track.TCPTimeWait
	r.BeginDump(t0)
	r.Observe(t0, &live)
	r.Observe(t0, &over)
	r.Sweep(t0)
	r.Expire(t0 + 2000)
	if len(m.told) != 2 || m.walked != 1 || len(r.got) != 2 {
		t.Fatalf("%d remembered, %d exports, walked %d", len(m.told), len(r.got), m.walked)
	}

	next := start(track.Config{ActiveMs: 1000, Events: true, Keep: m, Before: m.told})
	count(&live, 5, 500, 3, 300)
	next.BeginDump(t0 + 5000)
	next.Observe(t0+5000, &live)
	next.Observe(t0+5000, &over)
	next.Sweep(t0 + 5000)
	next.Expire(t0 + 7000)
	next.want(t, "seq=1 first=false final=false active ok d=200/100 end=+5000")
	d := over
	d.Destroyed, d.Stop = true, (t0+8000)*1e6
	next.Observe(t0+8000, &d)
	next.Expire(t0 + 20_000)
	next.want(t)
	// One whose end came before the table was read.
	third := start(track.Config{ActiveMs: 1000, Events: true, Before: m.told})
	live.Destroyed, live.Stop = true, (t0+9000)*1e6
	count(&live, 6, 600, 3, 300)
	third.Observe(t0+9000, &live)
	third.want(t, "seq=2 first=false final=true end ok d=100/0 end=+9000")
}
