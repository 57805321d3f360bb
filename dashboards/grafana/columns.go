package grafana

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Absent is what stands for an end without a name.
const Absent = "(none)"

// ShownColumn is a column for people: a field, or the fields of an end together. Fields are
// places in the list that Shown was given.
type ShownColumn struct {
	Name   string
	Fields []int
}

// ends are fields that make one column: shop/cart says it better than two.
var ends = []struct {
	name   string
	fields []string
}{
	{"from", []string{"src.ns", "src.workload"}},
	{"to", []string{"dst.ns", "dst.workload", "dst.name"}},
	{"rule", []string{"ingress.policy_ns", "ingress.policy"}},
	{"rule", []string{"egress.policy_ns", "egress.policy"}},
}

// Shown puts the fields of an end together.
func Shown(fields []string) (out []ShownColumn) {
next:
	for i := 0; i < len(fields); {
		for _, e := range ends {
			if n := len(e.fields); i+n <= len(fields) && slices.Equal(fields[i:i+n], e.fields) {
				c := ShownColumn{Name: e.name}
				for range n {
					c.Fields, i = append(c.Fields, i), i+1
				}
				out = append(out, c)
				continue next
			}
		}
		out = append(out, ShownColumn{fields[i], []int{i}})
		i++
	}
	return out
}

// sql is the column, of columns prefix0, prefix1 ...; a field alone stays as it is.
func (c *ShownColumn) sql(prefix string) string {
	ref := func(i int) string { return fmt.Sprint(prefix, i) }
	if len(c.Fields) == 1 {
		return ref(c.Fields[0])
	}
	return c.text(ref)
}

// text is the column as a text: namespace/name without the kind, or the name of a host.
func (c *ShownColumn) text(ref func(int) string) string {
	if len(c.Fields) == 1 {
		return "ifNull(toString(" + ref(c.Fields[0]) + "), '" + Absent + "')"
	}
	ns, what := ref(c.Fields[0]), ref(c.Fields[1])
	or := []string{ns}
	for _, i := range c.Fields[2:] {
		or = append(or, ref(i))
	}
	return fmt.Sprintf("if(%[2]s IS NULL, coalesce(%[3]s, '%[4]s'), concat(ifNull(%[1]s, ''), '/', substring(%[2]s, position(%[2]s, '/') + 1)))", ns, what, strings.Join(or, ", "), Absent)
}

// titles are the heads of columns, for people.
var titles = map[string]string{
	"from": "From", "to": "To", "rule": "Policy",
	"src.ns": "From namespace", "src.workload": "From", "src.node": "From node", "src.ip": "From address",
	"dst.ns": "To namespace", "dst.workload": "To", "dst.node": "To node", "dst.ip": "To address", "dst.name": "To host", "dst.port": "Port",
	"service": "Service", "outcome": "Outcome", "proto": "Protocol", "start": "Began", "end": "Seen last", "rtt": "Round trip", "bytes": "Sent", "reverse.bytes": "Answered",
	"ingress.policy_ns": "Namespace", "ingress.policy": "Policy", "ingress.rule": "Rule", "ingress.action": "Action",
	"egress.policy_ns": "Namespace", "egress.policy": "Policy", "egress.rule": "Rule", "egress.action": "Action",
	"active": "Connections", "sum(bytes)": "Sent", "sum(reverse.bytes)": "Answered", "p95(rtt)": "Round trip p95",
	"sum(loss.packets)": "Packets lost", "sum(src.packets)": "Packets sent", "sum(src.retransmits)": "Retransmits",
}

// units are Grafana's names of the schema's units.
var units = map[string]string{"bytes": "bytes", "us": "µs", "packets": "short", "segments": "short"}

// widths of columns that need little room, pixels.
var widths = map[string]float64{"dst.port": 70, "proto": 80, "outcome": 110, "active": 110, "start": 170, "end": 170, "sum(bytes)": 100, "sum(reverse.bytes)": 100, "bytes": 90, "reverse.bytes": 90, "rtt": 100, "p95(rtt)": 130}

// Title is the head of a column.
func Title(name string) string {
	if t := titles[name]; t != "" {
		return t
	}
	return name
}

// UnitOf is Grafana's unit of a column, "" for none.
func UnitOf(name string) string {
	field := name
	if a := parseAgg(name); a.field != "" {
		field = a.field
	}
	f, ok := query.FieldByName(field)
	if !ok {
		if name == "active" {
			return "short"
		}
		return ""
	}
	if f.Kind() == query.KindTime {
		return "dateTimeAsIso"
	}
	if strings.HasSuffix(name, "port") {
		return "none"
	}
	return units[flow.Fields[f.IDs[0]].Unit]
}

// titled is how a column is shown.
func titled(name string) []dashboard.DynamicConfigValue {
	out := []dashboard.DynamicConfigValue{{Id: "displayName", Value: Title(name)}}
	if u := UnitOf(name); u != "" {
		out = append(out, dashboard.DynamicConfigValue{Id: "unit", Value: u})
	}
	if w := widths[name]; w > 0 {
		out = append(out, dashboard.DynamicConfigValue{Id: "custom.width", Value: w})
	}
	if name == "outcome" {
		out = append(out, dashboard.DynamicConfigValue{Id: "mappings", Value: []any{outcomeMapping()}}, dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: map[string]any{"type": "color-text"}})
	}
	return out
}

// colours of outcomes and verdicts: healthy is quiet, policy that worked is no error.
var outcomeColors = map[string]string{
	"ok": "#64748b", "unknown": "#cbd5e1", "refused": "#dc2626", "reset": "#f87171", "timed_out": "#b45309", "unanswered": "#f59e0b", "denied": "#8b5cf6", "path_loss": "#be123c", "attempt": "#fbbf24",
}

var scopeColors = map[string]string{"same_node": "#94a3b8", "cross_node": "#5b84b1", "cross_zone": "#3f5f8a", "external": "#d9a441", "unknown": "#cbd5e1"}

var verdictColors = map[string]string{"allowed": "#64748b", "denied": "#8b5cf6", "none": "#e2b04a"}

func outcomeMapping() map[string]any {
	options := map[string]any{}
	for o, c := range outcomeColors {
		options[o] = map[string]any{"color": c, "text": o}
	}
	return map[string]any{"type": "value", "options": options}
}
