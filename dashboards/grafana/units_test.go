package grafana_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"github.com/weirnet/weir/api/query"
)

// bare are the panels whose numbers have no unit beside them, and why none is needed.
var bare = map[string]string{
	"Connections opened":                  "its title says what is counted",
	"Connections opened by scope":         "its title says what is counted",
	"Connections without success":         "its title says what is counted",
	"Connections by verdict":              "its title says what is counted",
	"Connections by outcome":              "its title says what is counted",
	"Failed connections by server's node": "its title says what is counted",
	"Denied by policy":                    "connections: a number beside those that were opened",
	"Denied":                              "connections: a number above those by verdict",
	"Nodes that are silent":               "its title says what is counted",
	"Sinks that fail":                     "its title says what is counted",
	"Broken hops":                         "its title says what is counted",
	"Waiting for sinks":                   "records: a number so large has no room for the word, and a panel below has it",
}

// plain are the units of Grafana's that show a number and no more.
var plain = []string{"", "none", "short"}

// TestUnits: whoever sees a number sees of what it is. Panels of one number and of series
// name a unit or stand in the list above, rates say of what a second, and every column of
// numbers in a table has a unit of its own.
func TestUnits(t *testing.T) {
	listed := map[string]bool{}
	for _, b := range boards(t) {
		for i := range b.file.Panels {
			p := b.file.Panels[i].Panel
			where := b.code.UID + ": " + *p.Title
			if p.Type == "table" {
				columnUnits(t, where, p, slices.Concat(b.code.Panels[i].Aggs, b.code.Panels[i].By, b.code.Panels[i].List))
				continue
			}
			unit := ""
			if p.FieldConfig.Defaults.Unit != nil {
				unit = *p.FieldConfig.Defaults.Unit
			}
			if unit == "" {
				t.Errorf("%s: no unit: with short or none Grafana shows the number alone", where)
			}
			if slices.Contains(plain, unit) {
				listed[*p.Title] = true
				if bare[*p.Title] == "" {
					t.Errorf("%s: %q says nothing of what the numbers are", where, unit)
				}
			}
			for _, q := range p.Targets {
				if q, ok := q.(*prometheus.Dataquery); ok && strings.Contains(q.Expr, "rate(") && !perSecond(unit) {
					t.Errorf("%s: a rate has a unit a second, and not %q", where, unit)
				}
			}
		}
	}
	for title := range bare {
		if !listed[title] {
			t.Errorf("%s needs no place in the list: it has a unit, or is no panel", title)
		}
	}
}

// perSecond tells whether a unit suits a rate. Seconds a second are a share of the time, or
// cores.
func perSecond(unit string) bool {
	return strings.HasSuffix(unit, "/s") || slices.Contains([]string{"binBps", "percentunit", "suffix:cores"}, unit)
}

// columnUnits checks the columns of a table that hold numbers or times.
func columnUnits(t *testing.T, where string, p *dashboard.Panel, names []string) {
	t.Helper()
	units := map[string]any{}
	for _, o := range p.FieldConfig.Overrides {
		for _, v := range o.Properties {
			if name, ok := o.Matcher.Options.(string); ok && v.Id == "unit" {
				units[name] = v.Value
			}
		}
	}
	for _, n := range names {
		if f, ok := query.FieldByName(n); ok && !slices.Contains([]query.Kind{query.KindNumber, query.KindID, query.KindTime}, f.Kind()) {
			continue // a text; what is no field is an aggregate, a number
		}
		if u, ok := units[n].(string); !ok || u == "" {
			t.Errorf("%s: the column %s has no unit", where, n)
		}
	}
}
