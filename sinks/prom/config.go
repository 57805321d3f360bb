package prom

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// Config is one set of metrics.
type Config struct {
	Name    string
	Metrics []Metric // none for DefaultMetrics
}

// Metric is one family.
type Metric struct {
	Name   string   // weir_flow_NAME_total
	Value  string   // connections, records, bytes or packets
	Labels []string // fields
	Top    int      // series that are kept
}

// DefaultMetrics are small: namespaces, scopes and outcomes.
func DefaultMetrics() []Metric {
	return []Metric{
		{"connections", "connections", []string{"src.ns", "dst.ns", "scope", "outcome"}, 500},
		{"bytes", "bytes", []string{"src.ns", "dst.ns", "scope"}, 500},
		{"packets", "packets", []string{"src.node", "dst.node"}, 500},
	}
}

// values are what can be counted of a record.
var values = map[string]func(*flow.Record) uint64{
	// A connection is counted at its first record, with the labels that it has then.
	"connections": func(r *flow.Record) uint64 { n, _ := r.Amounts(); return n },
	"records":     func(*flow.Record) uint64 { return 1 },
	"bytes":       func(r *flow.Record) uint64 { _, n := r.Amounts(); return n },
	"packets":     func(r *flow.Record) uint64 { return r.PacketsDelta + r.RevPacketsDelta },
}

// Values are the words for Metric.Value.
func Values() []string {
	var list []string
	for v := range values {
		list = append(list, v)
	}
	slices.Sort(list)
	return list
}

const (
	maxLabels = 8
	maxTop    = 20_000
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

func (c *Config) metrics() []Metric {
	if len(c.Metrics) == 0 {
		return DefaultMetrics()
	}
	return c.Metrics
}

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	var errs []error
	seen := map[string]bool{}
	for i, m := range c.metrics() {
		at := fmt.Sprintf("metrics[%d].", i)
		if !nameForm.MatchString(m.Name) {
			errs = append(errs, fmt.Errorf("%sname: %q is no part of a metric's name: use small letters, digits and _", at, m.Name))
		}
		if seen[m.Name] {
			errs = append(errs, fmt.Errorf("%sname: %q stands here twice", at, m.Name))
		}
		seen[m.Name] = true
		if values[m.Value] == nil {
			errs = append(errs, fmt.Errorf("%svalue: %q is unknown: use one of %v", at, m.Value, Values()))
		}
		if len(m.Labels) == 0 || len(m.Labels) > maxLabels {
			errs = append(errs, fmt.Errorf("%slabels: give 1 to %d fields", at, maxLabels))
		}
		for k, l := range m.Labels {
			switch _, ok := flow.FieldByName(l); {
			case !ok:
				errs = append(errs, fmt.Errorf("%slabels[%d]: %q is no field: docs/fields.md has them", at, k, l))
			case slices.Contains(m.Labels[:k], l):
				errs = append(errs, fmt.Errorf("%slabels[%d]: %q stands here twice", at, k, l))
			}
		}
		if m.Top < 1 || m.Top > maxTop {
			errs = append(errs, fmt.Errorf("%stop: %d is out of range: give 1 to %d", at, m.Top, maxTop))
		}
	}
	return errors.Join(errs...)
}
