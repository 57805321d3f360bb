package main

import (
	"log/slog"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/sockets"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/config"
)

// openSockets makes the reader of sockets. A replay has none. It tells its status to p.
func openSockets(cfg *config.Agent, log *slog.Logger, p *packets) *sockets.Walker {
	c := cfg.Sockets
	c.Enabled = c.Enabled && cfg.Replay == ""
	w := sockets.New(c, log)
	if cfg.Replay == "" {
		p.evidence = append(p.evidence, func() coverage.Evidence { return w.Status().Evidence() })
	}
	return w
}

// withSockets adds to a record what is known of both ends' sockets.
func withSockets(w *sockets.Walker, fill func(int64, *track.Export, *flow.Record)) func(int64, *track.Export, *flow.Record) {
	return func(nowMs int64, x *track.Export, r *flow.Record) {
		fill(nowMs, x, r)
		w.Fill(x, r)
	}
}
