package kafka

import (
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

type metrics struct {
	name               string
	messages, poisoned atomic.Uint64
}

// Describe implements prometheus.Collector.
func (s *Sink) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Sink) Collect(ch chan<- prometheus.Metric) {
	count := func(name, help string, v *atomic.Uint64) {
		d := prometheus.NewDesc(name, help, nil, prometheus.Labels{"sink": s.m.name})
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()))
	}
	count("weir_kafka_messages_total", "Messages that the brokers confirmed.", &s.m.messages)
	count("weir_kafka_poisoned_messages_total", "Records that no broker can ever take, as they are larger than the topic allows.", &s.m.poisoned)
}

// logger shows the client's warnings; what it tells below them is its own affair.
type logger struct{ log *slog.Logger }

// Level implements kgo.Logger.
func (l logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

// Log implements kgo.Logger.
func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	// A broker that is down makes many of these; the Runner's line is the one for people.
	l.log.Debug("kafka client", append([]any{"said", msg, "level", level.String()}, keyvals...)...)
}
