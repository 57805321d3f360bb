package s3

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	name string

	objects, bytes, records, failures, aborted atomic.Uint64
}

// Describe implements prometheus.Collector.
func (s *Sink) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Sink) Collect(ch chan<- prometheus.Metric) {
	count := func(name, help string, v *atomic.Uint64) {
		d := prometheus.NewDesc(name, help, nil, prometheus.Labels{"sink": s.m.name})
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()))
	}
	count("weir_s3_objects_total", "Objects that the endpoint confirmed.", &s.m.objects)
	count("weir_s3_object_bytes_total", "Bytes of them.", &s.m.bytes)
	count("weir_s3_records_total", "Records in uploads that are done.", &s.m.records)
	count("weir_s3_upload_failures_total", "Tries of an upload that failed.", &s.m.failures)
	count("weir_s3_aborted_uploads_total", "Uploads in parts that were found unfinished and removed.", &s.m.aborted)
}
