package collect

import (
	"strings"
	"time"
)

// Health says since when nothing of an observer's records was lost, and when it was
// heard from last: what its silence about a connection is worth. Times are ours.
type Health struct {
	Observer   string
	From, UpTo time.Time
}

// pulse is what Health is made of, for one exporting process.
type pulse struct {
	heard, sound time.Time // last row; since when nothing was lost
	lost         uint64    // what its books say was lost, in all measures
	sessions     int
}

// beat takes note of a row of its books. What was lost, and a session that broke,
// begin the time anew; UDP may lose without a word.
func (x *exporter) beat(now time.Time, acct *account) {
	var lost uint64
	for _, l := range x.lines {
		if l.Stage == "outcome" { // other sources' observations: no record is missing
			continue
		}
		for _, a := range l.Lost {
			lost += a.Records + a.Connections + a.Bytes
		}
	}
	p := &x.pulse
	if p.sound.IsZero() || lost != p.lost || len(x.sessions) != p.sessions || acct.lossy {
		p.sound = now
	}
	p.heard, p.lost, p.sessions = now, lost, len(x.sessions)
}

// gapTopic is the topic of facts that count gaps of unknown size in what a node read.
const gapTopic = "gap"

// Health gives the observers that were heard from, the newest process of each.
func (c *Collector) Health() []Health {
	gaps := c.facts.gaps()
	e := &c.exporters
	e.mu.Lock()
	defer e.mu.Unlock()
	newest := map[string]*exporter{}
	for _, x := range e.byID {
		if o := newest[x.observer]; o == nil || o.pulse.heard.Before(x.pulse.heard) {
			newest[x.observer] = x
		}
	}
	out := make([]Health, 0, len(newest))
	for name, x := range newest {
		h := Health{Observer: name, From: x.pulse.sound, UpTo: x.pulse.heard}
		if g, ok := gaps[name]; ok && g.After(h.From) {
			h.From = g
		}
		out = append(out, h)
	}
	return out
}

// gaps gives, by node, when it last said that it missed something.
func (f *facts) gaps() map[string]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]time.Time{}
	for name, n := range f.byNode {
		if !n.gapAt.IsZero() {
			out[name] = n.gapAt
		}
	}
	return out
}

// gap takes note where a node counts more gaps than before.
func (n *nodeFacts) gap(topic, key string, value int64, now time.Time) {
	if !strings.HasPrefix(topic, gapTopic) {
		return
	}
	if old, known := n.rows[topic+"\x00"+key]; value > 0 && (!known || old.Value != value) {
		n.gapAt = now
	}
}
