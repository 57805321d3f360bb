package main

import (
	"time"

	"github.com/weirnet/weir/aggregator/correlate"
	"github.com/weirnet/weir/exporter/coverage"
)

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
