package journal

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirnet/weir/internal/cluster"
)

// Agent is what is known of an agent at one moment.
type Agent struct {
	Node     string
	Instance string    // changes at each start
	Heard    time.Time // when it last told its books
}

// silentAfter is how long an agent may be quiet: it tells its books every few seconds.
const silentAfter = 45 * time.Second

// forgetAfter is when an agent that is gone for good is forgotten.
const forgetAfter = 24 * time.Hour

// Agents turns what is known of the agents into changes. It reads no clock; one
// goroutine owns it.
type Agents struct {
	seen  map[string]*agentMark
	began bool
}

type agentMark struct {
	instance string
	heard    time.Time
	silent   bool
}

// Observe compares the agents with what they were, and returns what changed. The
// first call says nothing: who is there then was there before us.
func (a *Agents) Observe(now time.Time, list []Agent) []cluster.Change {
	if a.seen == nil {
		a.seen = map[string]*agentMark{}
	}
	var out []cluster.Change
	tell := func(at time.Time, node, what string, bad bool) {
		c := cluster.Change{TimeMs: at.UnixMilli(), Kind: cluster.ChangeAgent, Object: "Agent/" + node, What: what, Bad: bad}
		c.Identify()
		out = append(out, c)
	}
	for _, x := range list {
		m := a.seen[x.Node]
		switch {
		case m == nil:
			m = &agentMark{instance: x.Instance}
			a.seen[x.Node] = m
			if a.began {
				tell(x.Heard, x.Node, "began to report", false)
			}
		case m.instance != x.Instance:
			m.instance = x.Instance
			tell(x.Heard, x.Node, "was restarted", false)
		}
		m.heard = x.Heard
	}
	names := make([]string, 0, len(a.seen))
	for n := range a.seen {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		m := a.seen[n]
		quiet := now.Sub(m.heard)
		switch {
		case quiet > forgetAfter:
			delete(a.seen, n)
		case quiet > silentAfter && !m.silent:
			m.silent = true
			tell(m.heard, n, fmt.Sprintf("has been silent since %s", m.heard.UTC().Format(time.RFC3339)), true)
		case quiet <= silentAfter && m.silent:
			m.silent = false
			tell(m.heard, n, "reports again", false)
		}
	}
	a.began = true
	return out
}
