package obs

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/version"
)

// Kind is the type of a metric.
type Kind int

// The kinds.
const (
	Counter Kind = iota + 1
	Gauge
)

// Sample is one value; Labels stand in the order of Metric.Labels.
type Sample struct {
	Value  float64
	Labels []string
}

// Metric is one metric family that is read when it is scraped: components keep
// plain numbers, and the binary says here what they are called.
type Metric struct {
	Name, Help string
	Kind       Kind
	Labels     []string
	Read       func(emit func(v float64, labels ...string))
}

// Value is the Read of a metric that has one number.
func Value(f func() float64) func(func(float64, ...string)) {
	return func(emit func(float64, ...string)) { emit(f()) }
}

type metrics struct {
	list  []Metric
	descs []*prometheus.Desc
}

func (m *metrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		c <- d
	}
}

func (m *metrics) Collect(c chan<- prometheus.Metric) {
	for i, x := range m.list {
		t := prometheus.GaugeValue
		if x.Kind == Counter {
			t = prometheus.CounterValue
		}
		x.Read(func(v float64, labels ...string) {
			c <- prometheus.MustNewConstMetric(m.descs[i], t, v, labels...)
		})
	}
}

// Registry is the metrics of one process and their description.
type Registry struct {
	*prometheus.Registry
	docs []MetricDoc
}

// MetricDoc describes a metric family for docs/metrics.md.
type MetricDoc struct {
	Name, Help, Type string
	Labels           []string
}

// NewRegistry makes a registry that holds the metrics of the Go runtime, of the
// process and of the build.
func NewRegistry(v version.Info) (*Registry, error) {
	r := &Registry{Registry: prometheus.NewRegistry()}
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := r.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the runtime's metrics: %w", err)
		}
	}
	return r, r.Add(Metric{
		Name: "weir_build_info", Help: "Always 1; the labels tell what the binary was built from.", Kind: Gauge,
		Labels: []string{"version", "revision", "goversion"},
		Read: func(emit func(float64, ...string)) {
			emit(1, v.Version, v.Revision, v.Go)
		},
	})
}

// Add registers metrics; a name that is there already is an error.
func (r *Registry) Add(list ...Metric) error {
	m := &metrics{list: list}
	for _, x := range list {
		m.descs = append(m.descs, prometheus.NewDesc(x.Name, x.Help, x.Labels, nil))
		t := "gauge"
		if x.Kind == Counter {
			t = "counter"
		}
		r.docs = append(r.docs, MetricDoc{x.Name, x.Help, t, x.Labels})
	}
	if err := r.Registry.Register(m); err != nil {
		return fmt.Errorf("register %s: %w", list[0].Name, err)
	}
	return nil
}

var descRE = regexp.MustCompile(`fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`)

// Register registers a component's own collectors (histograms, mostly).
func (r *Registry) Register(list ...prometheus.Collector) error {
	for _, c := range list {
		if err := r.Registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		t := "gauge"
		switch c.(type) {
		case prometheus.Counter, *prometheus.CounterVec:
			t = "counter"
		case *prometheus.HistogramVec, prometheus.Histogram:
			t = "histogram"
		}
		ch := make(chan *prometheus.Desc)
		go func() { c.Describe(ch); close(ch) }()
		for d := range ch {
			if m := descRE.FindStringSubmatch(d.String()); m != nil {
				doc := MetricDoc{Name: m[1], Help: strings.ReplaceAll(m[2], `\"`, `"`), Type: t}
				if m[3] != "" {
					doc.Labels = strings.Split(m[3], ",")
				}
				r.docs = append(r.docs, doc)
			}
		}
	}
	return nil
}

// LedgerMetrics are the books of the process.
func LedgerMetrics(b *ledger.Book) []Metric {
	type pick struct {
		unit string
		of   func(ledger.Amount) uint64
	}
	var out []Metric
	for _, p := range []pick{
		{"records", func(a ledger.Amount) uint64 { return a.Records }},
		{"connections", func(a ledger.Amount) uint64 { return a.Connections }},
		{"bytes", func(a ledger.Amount) uint64 { return a.Bytes }},
	} {
		out = append(
			out,
			Metric{
				Name: "weir_ledger_" + p.unit + "_total", Kind: Counter, Labels: []string{"stage", "side"},
				Help: "What came into each stage (side=in) and what it handed on (side=out), in " + p.unit + ".",
				Read: func(emit func(float64, ...string)) {
					for _, l := range b.Snapshot() {
						emit(float64(p.of(l.In)), l.Stage, "in")
						emit(float64(p.of(l.Out)), l.Stage, "out")
					}
				},
			},
			Metric{
				Name: "weir_ledger_lost_" + p.unit + "_total", Kind: Counter, Labels: []string{"stage", "reason"},
				Help: "What a stage will never hand on, by reason, in " + p.unit + ".",
				Read: func(emit func(float64, ...string)) {
					for _, l := range b.Snapshot() {
						for _, why := range l.Reasons() {
							emit(float64(p.of(l.Lost[why])), l.Stage, why)
						}
					}
				},
			},
			Metric{
				Name: "weir_ledger_held_" + p.unit, Kind: Gauge, Labels: []string{"stage"},
				Help: "What a stage holds now, in " + p.unit + ".",
				Read: func(emit func(float64, ...string)) {
					for _, l := range b.Snapshot() {
						emit(float64(p.of(l.Held)), l.Stage)
					}
				},
			},
		)
	}
	return out
}
