package clickhouse

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	name                             string
	inserts, rows, skipped, poisoned atomic.Uint64
}

func desc(name, help, sink string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, nil, prometheus.Labels{"sink": sink})
}

// Describe implements prometheus.Collector.
func (s *Sink) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Sink) Collect(ch chan<- prometheus.Metric) {
	count := func(name, help string, v *atomic.Uint64) {
		ch <- prometheus.MustNewConstMetric(desc(name, help, s.m.name), prometheus.CounterValue, float64(v.Load()))
	}
	count("weir_clickhouse_inserts_total", "INSERT statements that the server confirmed.", &s.m.inserts)
	count("weir_clickhouse_rows_total", "Rows in them.", &s.m.rows)
	count("weir_clickhouse_skipped_rows_total", "Records passed over at a start, as the table had them already.", &s.m.skipped)
	count("weir_clickhouse_poisoned_rows_total", "Records that the table can never take: without a time, or refused by the server as wrong data.", &s.m.poisoned)
}
