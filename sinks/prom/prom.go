// Package prom is a sink that counts flows as Prometheus metrics.
//
// Idea: a metric of flows has as many series as the cluster has pairs of whatever its
// labels name, which no Prometheus survives. Each metric keeps its K largest series
// and adds the rest up exactly, so that sums stay right: the members, "other" (what
// never became a member, or had not yet) and "retired" (what members had counted when
// they made room) are together all that was counted.
//
// In: correlated records, whose deltas and first records are counted; the probe's are
// in no metric without the label canary, and counted apart. Out: counters
// weir_flow_NAME_total at the aggregator's /metrics. Members change at most a tenth
// at a time, once a minute, and only for a series that is twice as busy, so that a
// graph does not flicker. It delivers nothing anywhere and never fails.
//
// If we die here counters begin at zero, which Prometheus takes for the reset that it is.
package prom

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/api/flow"
)

// labelBytes bounds the value of a label.
const labelBytes = 256

// The values of all labels of the two series that are no members.
const (
	otherSeries   = "other"
	retiredSeries = "retired"
)

// Sink counts. It is a sinks.Sink, a sinks.Ticker and a prometheus.Collector.
type Sink struct {
	name string
	mu   sync.Mutex
	list []*metric
	key  []byte
	next time.Time

	canaries     uint64 // records of the probe
	canariesDesc *prometheus.Desc
}

// metric is one family.
type metric struct {
	Metric
	fields []flow.FieldID
	value  func(*flow.Record) uint64
	canary bool // it tells the probe's connections apart, and so counts them
	desc   *prometheus.Desc
	top    top
}

// New makes a sink.
func New(cfg Config) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Sink{name: cfg.Name, canariesDesc: prometheus.NewDesc(CanariesMetric, CanariesHelp, nil, prometheus.Labels{"sink": cfg.Name})}
	for _, c := range cfg.metrics() {
		m := &metric{Metric: c, value: values[c.Value], top: newTop(c.Top)}
		var labels []string
		for _, l := range c.Labels {
			f, _ := flow.FieldByName(l)
			m.fields = append(m.fields, f)
			m.canary = m.canary || f == flow.FCanary
			labels = append(labels, Label(l))
		}
		help := "Flows, summed up: " + c.Value + " by " + strings.Join(c.Labels, ", ") + "; series beyond the largest are in \"other\" and \"retired\"."
		m.desc = prometheus.NewDesc(MetricName(c.Name), help, labels, prometheus.Labels{"sink": cfg.Name})
		s.list = append(s.list, m)
	}
	return s, nil
}

// CanariesMetric counts what the metrics of flows leave out.
const (
	CanariesMetric = "weir_prom_canary_records_total"
	CanariesHelp   = "Records of the probe's connections, which no other metric of the sink counts unless canary is one of its labels."
)

// Label is the label of a field: dots are not allowed in one.
func Label(field string) string { return strings.ReplaceAll(field, ".", "_") }

// MetricName is the name of the family of a configured metric.
func MetricName(name string) string { return "weir_flow_" + name + "_total" }

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Write implements sinks.Sink.
func (s *Sink) Write(_ context.Context, recs []flow.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range recs {
		r := &recs[i]
		probed := r.Has.Has(flow.FCanary) && r.Canary
		if probed {
			s.canaries++
		}
		for _, m := range s.list {
			if probed && !m.canary {
				continue
			}
			if v := m.value(r); v > 0 {
				s.key = m.appendKey(s.key[:0], r)
				m.top.add(s.key, v)
			}
		}
	}
	return nil
}

// appendKey writes the values of the labels, parted by a byte that is in no text.
func (m *metric) appendKey(b []byte, r *flow.Record) []byte {
	for i, f := range m.fields {
		if i > 0 {
			b = append(b, 0xff)
		}
		start := len(b)
		if r.Has.Has(f) {
			b = r.AppendText(b, f)
		}
		if len(b)-start > labelBytes {
			b = b[:start+labelBytes]
		}
		for k := start; k < len(b); k++ {
			if b[k] == 0xff {
				b[k] = '?'
			}
		}
	}
	return b
}

// Tick implements sinks.Ticker: it lets the members change.
func (s *Sink) Tick(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		return nil
	}
	if !s.next.IsZero() {
		for _, m := range s.list {
			m.top.rebalance()
		}
	}
	s.next = now.Add(time.Minute)
	return nil
}

// Describe implements prometheus.Collector.
func (s *Sink) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.canariesDesc
	for _, m := range s.list {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (s *Sink) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(s.canariesDesc, prometheus.CounterValue, float64(s.canaries))
	for _, m := range s.list {
		emit := func(v uint64, labels []string) {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(v), labels...)
		}
		for key, x := range m.top.members {
			emit(x.total, split(key))
		}
		for _, x := range []struct {
			v    uint64
			name string
		}{{m.top.other, otherSeries}, {m.top.retired, retiredSeries}} {
			labels := make([]string, len(m.fields))
			for i := range labels {
				labels[i] = x.name
			}
			emit(x.v, labels)
		}
	}
}

func split(key string) []string {
	parts := strings.Split(key, "\xff")
	for i, p := range parts {
		parts[i] = strings.ToValidUTF8(p, "?")
	}
	return parts
}

// Sum is everything that a metric counted: its members, other and retired.
func (s *Sink) Sum(metric string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.list {
		if m.Name == metric {
			return m.top.sum()
		}
	}
	return 0
}
