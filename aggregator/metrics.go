package aggregator

import "github.com/weirnet/weir/internal/obs"

// Total adds up what the shards show of themselves, as of their last tick.
func (a *Aggregator) Total() Shown {
	var t Shown
	for _, s := range a.shards {
		x := s.shown.Load()
		t.Live += x.Live
		t.Identities += x.Identities
		t.InRecords += x.InRecords
		t.InConnections += x.InConnections
		t.InBytes += x.InBytes
		t.OutRecords += x.OutRecords
		t.OutConnections += x.OutConnections
		t.OutBytes += x.OutBytes
		t.Emitted += x.Emitted
		t.Passed += x.Passed
		t.Joined += x.Joined
		t.HalfTold += x.HalfTold
		t.HalfMended += x.HalfMended
		t.Reused += x.Reused
		t.Repeated += x.Repeated
		t.Evicted += x.Evicted
		t.Forgotten += x.Forgotten
		t.RecoveredBytes += x.RecoveredBytes
		t.RepeatedBytes += x.RepeatedBytes
		t.UnknownTCP += x.UnknownTCP
	}
	return t
}

// Metrics are the numbers for /metrics.
func (a *Aggregator) Metrics() []obs.Metric {
	counter := func(name, help string, f func(*Shown) uint64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Counter, Read: obs.Value(func() float64 {
			t := a.Total()
			return float64(f(&t))
		})}
	}
	gauge := func(name, help string, f func() float64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Gauge, Read: obs.Value(f)}
	}
	return []obs.Metric{
		counter("weir_aggregator_records_in_total", "Exporters' records that the correlator took in.", func(t *Shown) uint64 { return t.InRecords }),
		counter("weir_aggregator_records_out_total", "Correlated records that it told.", func(t *Shown) uint64 { return t.Emitted }),
		counter("weir_aggregator_connections_total", "Connections begun.", func(t *Shown) uint64 { return t.InConnections }),
		counter("weir_aggregator_joined_total", "Connections whose second end arrived.", func(t *Shown) uint64 { return t.Joined }),
		counter("weir_aggregator_half_total", "Connections told at the deadline with one end of two.", func(t *Shown) uint64 { return t.HalfTold }),
		counter("weir_aggregator_half_mended_total", "Of these, connections whose other end arrived later.", func(t *Shown) uint64 { return t.HalfMended }),
		counter("weir_aggregator_tuple_reused_total", "New connections on a tuple that was still known.", func(t *Shown) uint64 { return t.Reused }),
		counter("weir_aggregator_records_repeated_total", "Records that brought nothing new: sent again, or late.", func(t *Shown) uint64 { return t.Repeated }),
		counter("weir_aggregator_records_passed_total", "Records of foreign exporters, or correlated before, passed through.", func(t *Shown) uint64 { return t.Passed }),
		counter("weir_aggregator_evicted_total", "Connections told and forgotten early because of a cap.", func(t *Shown) uint64 { return t.Evicted }),
		counter("weir_aggregator_forgotten_total", "Connections forgotten after their time.", func(t *Shown) uint64 { return t.Forgotten }),
		counter("weir_aggregator_recovered_bytes_total", "Bytes that totals held beyond the deltas: records lost on the wire.", func(t *Shown) uint64 { return t.RecoveredBytes }),
		counter("weir_aggregator_repeated_bytes_total", "Bytes of deltas that totals showed were counted before.", func(t *Shown) uint64 { return t.RepeatedBytes }),
		counter("weir_aggregator_tcp_state_dropped_total", "Records whose TCP state was not kept: too many distinct words.", func(t *Shown) uint64 { return t.UnknownTCP }),
		gauge("weir_aggregator_connections", "Connections held now.", func() float64 { return float64(a.Total().Live) }),
		gauge("weir_aggregator_identities", "Distinct sets of names held now.", func() float64 { return float64(a.Total().Identities) }),
		gauge("weir_aggregator_queued_records", "Records waiting for their shard.", func() float64 { return float64(a.queued.Load()) }),
		gauge("weir_aggregator_subscribers", "Live readers.", func() float64 { return float64(a.subs.n.Load()) }),
		{
			Name: "weir_aggregator_refused_records_total", Help: "Records that came after the end of the loop.", Kind: obs.Counter,
			Read: obs.Value(func() float64 { return float64(a.refused.Load()) }),
		},
	}
}
