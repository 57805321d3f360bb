package exporter

import (
	"github.com/weirnet/weir/internal/obs"
)

// Metrics gives what the exporter counts, under Antrea's names where they exist.
func (e *Exporter) Metrics() []obs.Metric {
	return append(append(e.antreaMetrics(), e.ownMetrics()...), e.pressureMetrics()...)
}

func (e *Exporter) metric(kind obs.Kind, name, help string, read func(*State) float64) obs.Metric {
	return obs.Metric{Name: name, Help: help, Kind: kind, Read: obs.Value(func() float64 { return read(e.state.Load()) })}
}

func (e *Exporter) antreaMetrics() []obs.Metric {
	g := func(name, help string, read func(*State) float64) obs.Metric {
		return e.metric(obs.Gauge, "antrea_agent_conntrack_"+name, help, read)
	}
	return []obs.Metric{
		g("total_connection_count", "Connections in the conntrack table.", func(s *State) float64 { return float64(s.Vitals.Count) }),
		g("antrea_connection_count", "Connections of the zones and marks that are watched, at the last read.", func(s *State) float64 { return float64(s.LastDump.Entries) }),
		g("max_connection_count", "Connections that fit into the conntrack table.", func(s *State) float64 { return float64(s.Vitals.Max) }),
		g("poll_cycle_duration_seconds", "How long the last read of the table took.", func(s *State) float64 { return s.LastDump.Took.Seconds() }),
	}
}

func (e *Exporter) ownMetrics() []obs.Metric {
	c := func(name, help string, read func(*State) uint64) obs.Metric {
		return e.metric(obs.Counter, "weir_exporter_"+name, help, func(s *State) float64 { return float64(read(s)) })
	}
	g := func(name, help string, read func(*State) float64) obs.Metric {
		return e.metric(obs.Gauge, "weir_exporter_"+name, help, read)
	}
	return []obs.Metric{
		g("connections_tracked", "Connections in the tracker.", func(s *State) float64 { return float64(s.Track.Tracked) }),
		c("connections_total", "Connections seen for the first time.", func(s *State) uint64 { return s.Track.InConnections }),
		c("records_total", "Records made.", func(s *State) uint64 { return s.Track.OutRecords }),
		c("final_records_total", "Records that were the last of their connection.", func(s *State) uint64 { return s.Track.Finals }),
		c("bytes_total", "Bytes of both directions that were seen.", func(s *State) uint64 { return s.Track.InBytes }),
		c("filtered_total", "Entries left out: loopback, or not wanted.", func(s *State) uint64 { return s.Track.Filtered }),
		c("reused_total", "Tuples that came back as another connection.", func(s *State) uint64 { return s.Track.Reused }),
		c("counters_back_total", "Entries whose counters were set back while they lived.", func(s *State) uint64 { return s.Track.CountersBack }),
		c("swept_total", "Entries that a dump no longer had, without a DESTROY event before.", func(s *State) uint64 { return s.Track.Swept }),
		c("evicted_total", "Entries taken out of the tracker for lack of room.", func(s *State) uint64 { return s.Track.Evicted }),
		c("duplicate_events_total", "DESTROY events that came twice.", func(s *State) uint64 { return s.Track.Duplicates }),
		c("events_total", "DESTROY events received.", func(s *State) uint64 { return s.Vitals.Listen.Events }),
		c("event_overruns_total", "Times at which the event buffer was full; no loss in reliable mode.", func(s *State) uint64 { return s.Vitals.Listen.Overruns }),
		c("event_gaps_total", "Times at which events were lost.", func(s *State) uint64 { return s.Gaps }),
		c("events_unreliable_total", "Times at which reliable events were given up because too many entries were dying.", func(s *State) uint64 { return s.Vitals.Listen.GaveUp }),
		g("dying_entries", "Entries that wait in the kernel because their last event did not fit.", func(s *State) float64 { return float64(s.Vitals.Listen.Dying) }),
		c("dumps_total", "Reads of the whole table.", func(s *State) uint64 { return s.Dumps }),
		c("dump_errors_total", "Reads that failed.", func(s *State) uint64 { return s.DumpErrors }),
		c("dumps_interrupted_total", "Reads that the kernel marked as inconsistent.", func(s *State) uint64 { return s.Interrupted }),
		c("malformed_total", "Messages of the kernel that could not be read.", func(s *State) uint64 { return s.Malformed + s.Vitals.Listen.Malformed }),
		c("kernel_drops_total", "Packets that the kernel dropped because the conntrack table was full.", func(s *State) uint64 { return s.Vitals.CPU.Drop }),
		c("kernel_early_drops_total", "Entries that the kernel threw out to make room.", func(s *State) uint64 { return s.Vitals.CPU.EarlyDrop }),
		c("kernel_insert_failures_total", "Entries that the kernel could not insert.", func(s *State) uint64 { return s.Vitals.CPU.InsertFailed }),
	}
}
