package main

import (
	"sync"
	"time"

	"github.com/weirnet/weir/aggregator/correlate"
	"github.com/weirnet/weir/exporter/coverage"
)

// nodesHealth is health for all shards, found out once in so long: with thousands of
// nodes it is work, and each shard asks every second.
type nodesHealth struct {
	mu   sync.Mutex
	at   time.Time
	list []correlate.Health
}

const healthHolds = 900 * time.Millisecond

// now gives what is known; it is not to be changed.
func (h *nodesHealth) now(c collector) []correlate.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.list == nil || time.Since(h.at) >= healthHolds {
		h.list, h.at = health(c), time.Now()
	}
	return h.list
}

// health says of each node what its silence about a connection proves: nothing where
// it lost records or does not see what arrives from other nodes.
func health(c collector) []correlate.Health {
	rows := map[string]correlate.Health{}
	for _, f := range c.Facts(time.Now()) {
		t := coverage.FromFacts(f.Observer, f.Rows)
		h := correlate.Health{Node: f.Observer}
		for _, r := range t.Rows {
			if r.Class == coverage.CrossNode.String() && r.Seen == coverage.SeenYes {
				h.V4 = h.V4 || r.Family == coverage.V4.String()
				h.V6 = h.V6 || r.Family == coverage.V6.String()
			}
		}
		rows[f.Observer] = h
	}
	var out []correlate.Health
	for _, p := range c.Health() {
		h := rows[p.Observer]
		if h.V4 || h.V6 {
			h.FromMs, h.UpToMs = p.From.UnixMilli(), p.UpTo.UnixMilli()
			out = append(out, h)
		}
	}
	return out
}
