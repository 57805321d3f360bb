package config

import (
	"fmt"

	"github.com/weirnet/weir/sinks/prom"
)

// PromSink counts flows as Prometheus metrics of the aggregator.
type PromSink struct {
	Metrics []PromMetric `json:"metrics" doc:"what is counted; none for connections, bytes and packets by namespaces, scope, outcome and nodes"`
}

// PromMetric is one family of metrics.
type PromMetric struct {
	Name   string   `json:"name" doc:"weir_flow_NAME_total"`
	Value  string   `json:"value" doc:"connections, records, bytes or packets"`
	Labels []string `json:"labels" doc:"fields whose values are labels, with _ for dots"`
	Top    int      `json:"top" doc:"series that are kept; the rest adds up in the series other and retired"`
}

// SetDefaults fills what an item leaves out.
func (m *PromMetric) SetDefaults() { m.Value, m.Top = "connections", 200 }

// Sink gives the sink's own form.
func (c *PromSink) Sink(name string) prom.Config {
	out := prom.Config{Name: name}
	for _, m := range c.Metrics {
		out.Metrics = append(out.Metrics, prom.Metric{Name: m.Name, Value: m.Value, Labels: m.Labels, Top: m.Top})
	}
	return out
}

func (c *PromSink) check(name string) error {
	p := c.Sink(name)
	if err := p.Validate(); err != nil {
		return fmt.Errorf("prom.%w", err)
	}
	return nil
}
