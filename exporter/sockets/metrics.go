package sockets

import (
	"sync/atomic"

	"github.com/weirnet/weir/internal/obs"
)

// Metrics gives the walker's numbers.
func (w *Walker) Metrics() []obs.Metric {
	count := func(name, help string, v *atomic.Uint64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Counter, Read: obs.Value(func() float64 { return float64(v.Load()) })}
	}
	gauge := func(name, help string, f func() int) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Gauge, Read: obs.Value(func() float64 { return float64(f()) })}
	}
	held := func(f func(held, attempts, addresses int, full uint64) float64) func(func(float64, ...string)) {
		return obs.Value(func() float64 { return f(w.table.Counts()) })
	}
	return []obs.Metric{
		gauge("weir_sockets_namespaces", "Network namespaces whose sockets are read.", func() int { return w.Status().Namespaces }),
		gauge("weir_sockets_namespaces_unreadable", "Network namespaces that could not be entered or read at the last walk.", func() int { return w.Status().Unreadable }),
		gauge("weir_sockets_namespaces_capped", "Network namespaces that were found beyond the cap and are not read.", func() int { return w.Status().Capped }),
		{Name: "weir_sockets_walks_total", Help: "Walks over all network namespaces.", Kind: obs.Counter, Read: obs.Value(func() float64 { return float64(w.Status().Walks) })},
		count("weir_sockets_read_total", "Sockets that were read.", &w.read),
		count("weir_sockets_malformed_total", "Sockets whose message could not be read.", &w.malformed),
		count("weir_sockets_loopback_total", "Sockets that were left out because an end is a loopback address.", &w.outside),
		count("weir_sockets_interrupted_total", "Dumps that the kernel marked as inconsistent.", &w.interrupted),
		count("weir_sockets_waits_total", "Times that a walk waited because it was ahead of sockets.maxPerSecond.", &w.waited),
		{Name: "weir_sockets_held", Help: "Sockets that are remembered.", Kind: obs.Gauge, Read: held(func(n, _, _ int, _ uint64) float64 { return float64(n) })},
		{Name: "weir_sockets_attempts", Help: "Connections that were tried and not answered, as remembered.", Kind: obs.Gauge, Read: held(func(_, n, _ int, _ uint64) float64 { return float64(n) })},
		{Name: "weir_sockets_no_room_total", Help: "Sockets that found no room in the table (sockets.maxSockets) at a walk.", Kind: obs.Counter, Read: held(func(_, _, _ int, n uint64) float64 { return float64(n) })},
	}
}
