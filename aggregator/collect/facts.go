package collect

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirnet/weir/api/ipfix"
)

const maxFactsOfOne = 256 // rows kept of one node

// facts holds the newest facts of every node.
type facts struct {
	mu     sync.Mutex
	byNode map[string]*nodeFacts
}

type nodeFacts struct {
	instance string
	bornMs   int64 // first row of this instance
	atMs     int64
	heard    time.Time // ours; when the newest row came
	clock    clockOff
	gapAt    time.Time                // ours; when it last said that it missed something
	rows     map[string]ipfix.FactRow // by topic and key
}

// take keeps one row. A new process of a node begins anew; a late row of the one
// before it is left out.
func (f *facts) take(row *ipfix.FactRow) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.byNode[row.Observer]
	switch {
	case n == nil:
		if len(f.byNode) >= maxExporters {
			return false
		}
	case n.instance == row.Instance:
	case row.AtMs < n.bornMs:
		return false
	default:
		n = nil
	}
	if n == nil {
		if f.byNode == nil {
			f.byNode = map[string]*nodeFacts{}
		}
		n = &nodeFacts{instance: row.Instance, bornMs: row.AtMs, rows: map[string]ipfix.FactRow{}}
		f.byNode[row.Observer] = n
	}
	key := row.Topic + "\x00" + row.Key
	if _, known := n.rows[key]; !known && len(n.rows) >= maxFactsOfOne {
		return false
	}
	n.heard = time.Now()
	n.clock.see(time.UnixMilli(row.AtMs), n.heard)
	n.gap(row.Topic, row.Key, row.Value, n.heard)
	n.rows[key] = *row
	n.atMs = max(n.atMs, row.AtMs)
	return true
}

// NodeFacts is what one node said of itself last.
type NodeFacts struct {
	Observer, Instance string
	At                 time.Time     // of the newest row, by the node's clock
	Heard              time.Time     // when that came, by ours
	ClockOff           time.Duration // how far its clock is ahead of ours; below 0 behind, or told late
	Rows               []ipfix.FactRow
}

// Facts gives the newest facts of all nodes, by name. Rows that were not told again
// with the newest ones, within factsLive, are no longer true.
func (c *Collector) Facts(now time.Time) []NodeFacts {
	return c.FactsWhere(now, func(*ipfix.FactRow) bool { return true })
}

// FactsWhere is Facts with the rows that are wanted alone.
func (c *Collector) FactsWhere(now time.Time, want func(*ipfix.FactRow) bool) []NodeFacts {
	f := &c.facts
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []NodeFacts
	for name, n := range f.byNode {
		at := time.UnixMilli(n.atMs)
		if now.Sub(at) > forgetExportersIn {
			delete(f.byNode, name)
			continue
		}
		x := NodeFacts{Observer: name, Instance: n.instance, At: at, Heard: n.heard, ClockOff: n.clock.off()}
		for k, r := range n.rows {
			if n.atMs-r.AtMs > factsLive.Milliseconds() {
				delete(n.rows, k)
				continue
			}
			if want(&r) {
				x.Rows = append(x.Rows, r)
			}
		}
		slices.SortFunc(x.Rows, func(a, b ipfix.FactRow) int {
			return strings.Compare(a.Topic+"\x00"+a.Key, b.Topic+"\x00"+b.Key)
		})
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b NodeFacts) int { return strings.Compare(a.Observer, b.Observer) })
	return out
}

// factsLive is several times the interval in which an agent tells all its facts.
const factsLive = time.Minute
