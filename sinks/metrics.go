package sinks

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/internal/ledger"
)

// metrics are the counters of one Runner; collector shows them.
type metrics struct {
	in, out, filtered, batches, failures, cursorErrors, nanos atomic.Uint64

	failing   atomic.Bool
	recovered uint64
	lost      lostCounters
}

type lostCounters struct {
	mu sync.Mutex
	by map[string]ledger.Amount
}

func (l *lostCounters) add(reason string, a ledger.Amount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]ledger.Amount{}
	}
	l.by[reason] = l.by[reason].Plus(a)
}

func (l *lostCounters) each(f func(reason string, a ledger.Amount)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, a := range l.by {
		f(k, a)
	}
}

// collector reads a Runner when Prometheus asks. It describes nothing in advance, so
// that one registry takes a collector for each sink.
type collector struct{ r *Runner }

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- prometheus.NewDesc("weir_sink_info", "The sink runs in this process.", nil, prometheus.Labels{"sink": c.r.Name()})
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	r := c.r
	name := prometheus.Labels{"sink": r.Name()}
	emit := func(kind prometheus.ValueType, metric, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(metric, help, nil, name), kind, v)
	}
	st := r.sp.Stats()
	failing := 0.0
	if r.m.failing.Load() {
		failing = 1
	}
	ctr, gauge := prometheus.CounterValue, prometheus.GaugeValue
	emit(gauge, "weir_sink_info", "The sink runs in this process.", 1)
	emit(ctr, "weir_sink_in_records_total", "Records offered to the sink and not filtered out.", float64(r.m.in.Load()))
	emit(ctr, "weir_sink_recovered_records_total", "Records found in the spool at the start.", float64(r.m.recovered))
	emit(ctr, "weir_sink_out_records_total", "Records that the sink took.", float64(r.m.out.Load()))
	emit(ctr, "weir_sink_filtered_records_total", "Records that the sink's filter left out.", float64(r.m.filtered.Load()))
	emit(gauge, "weir_sink_held_records", "Records in the spool, in memory or on disk.", float64(r.sp.Held().Records))
	emit(ctr, "weir_sink_batches_total", "Batches that the sink took.", float64(r.m.batches.Load()))
	emit(ctr, "weir_sink_failures_total", "Calls of the sink that failed.", float64(r.m.failures.Load()))
	emit(gauge, "weir_sink_failing", "1 while the sink takes nothing.", failing)
	emit(ctr, "weir_sink_write_seconds_total", "Time spent in the sink.", float64(r.m.nanos.Load())/1e9)
	emit(gauge, "weir_sink_spool_bytes", "Bytes of the spool's files.", float64(st.Bytes))
	emit(gauge, "weir_sink_spool_segments", "Files of the spool.", float64(st.Segments))
	emit(ctr, "weir_sink_spool_written_bytes_total", "Bytes written to the spool.", float64(st.Written))
	emit(ctr, "weir_sink_spool_write_errors_total", "Writes to the spool that failed.", float64(st.WriteErrors))
	emit(ctr, "weir_sink_spool_fsync_errors_total", "Syncs of the spool that failed.", float64(st.FsyncErrors))
	emit(ctr, "weir_sink_spool_torn_bytes_total", "Bytes cut off the spool's torn end at the start.", float64(st.TornBytes))
	emit(ctr, "weir_sink_spool_damaged_blocks_total", "Damaged places of the spool that were stepped over.", float64(st.DamagedBlocks))
	emit(ctr, "weir_sink_cursor_errors_total", "Times that the cursor could not be stored.", float64(r.m.cursorErrors.Load()))
	r.m.lost.each(func(reason string, a ledger.Amount) {
		d := prometheus.NewDesc("weir_sink_lost_records_total", "Records that will not be delivered, and why.", []string{"reason"}, name)
		ch <- prometheus.MustNewConstMetric(d, ctr, float64(a.Records), reason)
	})
}
