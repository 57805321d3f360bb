package journal

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/cluster"
)

// Table is what a node said of its conntrack table at one moment.
type Table struct {
	Node string
	At   time.Time // when it said so
	pressure.State
}

// The shares of a table between which it is neither nearly full nor has it room again.
const (
	nearlyFull = 0.8
	roomAgain  = 0.7
)

// toldAgainAfter is how long it goes on without a word where connections suffer still: the
// window of an agent's counts.
const toldAgainAfter = pressure.DefaultWindowMs * time.Millisecond

// Tables turns what nodes say of their conntrack tables into changes. It reads no clock;
// one goroutine owns it.
type Tables struct {
	seen map[string]*tableMark
}

type tableMark struct {
	at             time.Time
	near           bool
	dropped, early time.Time // when it was told last
}

// Observe compares the tables with what they were, and returns what changed. Unlike
// agents, a table that is full when we begin is told of: it matters now.
func (t *Tables) Observe(now time.Time, list []Table) []cluster.Change {
	if t.seen == nil {
		t.seen = map[string]*tableMark{}
	}
	var out []cluster.Change
	for i := range list {
		x := &list[i]
		m := t.seen[x.Node]
		if m == nil {
			m = &tableMark{}
			t.seen[x.Node] = m
		}
		if !x.At.After(m.at) || x.Max == 0 {
			continue
		}
		m.at = x.At
		out = append(out, m.changes(x)...)
	}
	for n, m := range t.seen {
		if now.Sub(m.at) > forgetAfter {
			delete(t.seen, n)
		}
	}
	return out
}

func (m *tableMark) changes(x *Table) (out []cluster.Change) {
	tell := func(bad bool, format string, args ...any) {
		c := cluster.Change{TimeMs: x.At.UnixMilli(), Kind: cluster.ChangeConntrack, Object: "Node/" + x.Node, What: fmt.Sprintf(format, args...), Bad: bad}
		c.Identify()
		out = append(out, c)
	}
	switch {
	case !m.near && x.Fill() >= nearlyFull:
		m.near = true
		tell(false, "conntrack is filled to %.0f %% (%d of %d entries)", 100*x.Fill(), x.Count, x.Max)
	case m.near && x.Fill() < roomAgain:
		m.near = false
		tell(false, "conntrack has room again (%.0f %% filled)", 100*x.Fill())
	}
	window := (time.Duration(x.WindowMs) * time.Millisecond).Round(time.Second)
	if x.Drops > 0 && x.At.Sub(m.dropped) >= toldAgainAfter {
		m.dropped = x.At
		tell(true, "conntrack was full: %d packets of new connections were dropped within %s", x.Drops, window)
	}
	if x.EarlyDrops > 0 && x.At.Sub(m.early) >= toldAgainAfter {
		m.early = x.At
		tell(true, "conntrack was full: %d entries of others were thrown out to make room within %s", x.EarlyDrops, window)
	}
	return out
}
