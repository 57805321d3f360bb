package elastic

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	name                                                                  string
	requests, created, there, rejected, poisoned, bytes, copies, canaries atomic.Uint64
}

// Describe implements prometheus.Collector.
func (s *Sink) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Sink) Collect(ch chan<- prometheus.Metric) {
	count := func(name, help string, v *atomic.Uint64) {
		desc := prometheus.NewDesc(name, help, nil, prometheus.Labels{"sink": s.m.name})
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v.Load()))
	}
	count("weir_elastic_requests_total", "_bulk requests that the server answered for each document.", &s.m.requests)
	count("weir_elastic_created_documents_total", "Documents that the server created.", &s.m.created)
	count("weir_elastic_there_documents_total", "Documents that were there already (409), from a try whose answer was lost.", &s.m.there)
	count("weir_elastic_rejected_documents_total", "Documents that the server had no room for (429 and the like); they come again.", &s.m.rejected)
	count("weir_elastic_poisoned_documents_total", "Records that the server can never take: without a time, refused as wrong data, or too large.", &s.m.poisoned)
	count("weir_elastic_request_bytes_total", "Bytes of _bulk requests as they were sent, compressed.", &s.m.bytes)
	count("weir_elastic_canary_records_total", "Records of the probe's own connections, which sums by minute leave out.", &s.m.canaries)
	count("weir_elastic_copies_total", "Second copies deleted after a rollover between two tries.", &s.m.copies)
}
