package kibana

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

// Kind is how a panel is drawn.
type Kind uint8

// The kinds.
const (
	Tiles Kind = iota // numbers
	Time              // an area over time, by one field
	Bars              // the largest of one field, or of a field and a second one within
	Heat              // two fields against each other
)

// object is a JSON object.
type object = map[string]any

// Metric is what a panel adds up.
type Metric struct {
	Name   string
	Fields []string // names in documents; their sum
	Format string   // of d3
	Unit   string   // behind it
}

// label is how Vega writes the metric's values on an axis.
func (m Metric) label() string {
	return fmt.Sprintf("format(datum.value, '%s') + '%s'", m.Format, m.Unit)
}

// What is added up.
var (
	Connections = Metric{"connections", []string{mapping.Connections}, ",d", ""}
	Bytes       = Metric{"bytes", []string{mapping.Name(flow.FBytesDelta), mapping.Name(flow.FRevBytesDelta)}, ".3~s", "B"}
)

// Clause is a condition of a panel, in the query language for people and links, and as the
// engine wants it. The tests hold one to the other.
type Clause struct {
	Text   string
	Filter object
}

// Tile is one number.
type Tile struct {
	Name string
	Clause
	Metric Metric
}

// Panel is one visualization.
type Panel struct {
	ID, Title, Doc string
	Kind           Kind
	Clause
	Tiles  []Tile
	By     []flow.FieldID
	Most   []int // of each of By
	Metric Metric
	Colors map[string]string
	Only   []string // of Colors: what the clause leaves; nil for all
	W, H   int      // of 48 columns, and rows
}

// canary marks the probe's own connections, which are no traffic.
var canary = mapping.Name(flow.FCanary)

// Body is the request that the panel sends, with the placeholders of Kibana in it.
func (p *Panel) Body() map[string]any {
	filter := []any{"%dashboard_context-filter_clause%", object{"range": object{mapping.Time: object{"%timefilter%": true}}}}
	if p.Filter != nil {
		filter = append(filter, p.Filter)
	}
	query := object{"bool": object{
		"must": []any{"%dashboard_context-must_clause%"}, "filter": filter, "must_not": []any{"%dashboard_context-must_not_clause%", object{"term": object{canary: true}}},
	}}
	aggs := object{}
	switch p.Kind {
	case Tiles:
		for i, t := range p.Tiles {
			f := t.Filter
			if f == nil {
				f = object{"match_all": object{}}
			}
			aggs[fmt.Sprintf("t%d", i)] = object{"filter": f, "aggs": sums(t.Metric)}
		}
	case Time:
		inner := sums(p.Metric)
		aggs["a"] = object{
			"date_histogram": object{"field": mapping.Time, "fixed_interval": object{"%autointerval%": true}, "min_doc_count": 1},
			"aggs":           object{"b": object{"terms": p.terms(0), "aggs": inner}},
		}
	default:
		inner := sums(p.Metric)
		if len(p.By) > 1 {
			inner["b"] = object{"terms": p.terms(1), "aggs": sums(p.Metric)}
		}
		aggs["a"] = object{"terms": p.terms(0), "aggs": inner}
	}
	return object{"size": 0, "track_total_hits": false, "query": query, "aggs": aggs}
}

func (p *Panel) terms(i int) object {
	return object{"field": mapping.Name(p.By[i]), "size": p.Most[i], "order": object{"m0": "desc"}}
}

// sums are the metric's parts, and from when to when their documents are, for links.
func sums(m Metric) object {
	out := object{"from": object{"min": object{"field": mapping.Time}}, "to": object{"max": object{"field": mapping.Time}}}
	for i, f := range m.Fields {
		out[fmt.Sprintf("m%d", i)] = object{"sum": object{"field": f}}
	}
	return out
}

// value is the metric of a bucket, as Vega's expression.
func value(bucket string, m Metric) string {
	parts := make([]string, 0, len(m.Fields))
	for i := range m.Fields {
		parts = append(parts, fmt.Sprintf("%s.m%d.value", bucket, i))
	}
	return strings.Join(parts, " + ")
}

// link is the expression of a link to Weir's page: the panel's condition, what the mark is
// of, and the time of its documents.
func (p *Panel) link(weir, times string, keys ...string) string {
	quote := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	var expr strings.Builder
	expr.WriteString("'" + weir + "/?q=" + quote(p.Text))
	for i, key := range keys {
		expr.WriteString(quote(" "+p.By[i].String()+` = "`) + "' + " + key + " + '" + quote(`"`))
	}
	stamp := func(at string) string { return "utcFormat(" + at + ", '%Y-%m-%dT%H:%M:%SZ')" }
	expr.WriteString("&since=' + " + stamp(times+".from.value") + " + '&until=' + " + stamp(times+".to.value + 1000"))
	return expr.String()
}

// Spec is the Vega-Lite specification: index is asked, and marks link to weir.
func (p *Panel) Spec(index, weir string) map[string]any {
	if p.Kind == Tiles {
		return p.tiles(index, weir)
	}
	spec := p.frame(index, "aggregations.a.buckets")
	transform := []any{}
	bucket := "datum"
	if p.Kind == Time || len(p.By) > 1 {
		transform = append(transform, object{"flatten": []string{"b.buckets"}, "as": []string{"y"}})
		bucket = "datum.y"
	}
	keys := []string{"datum.key", "datum.y.key"}[:len(p.By)]
	calc := func(expr, as string) { transform = append(transform, object{"calculate": expr, "as": as}) }
	calc(value(bucket, p.Metric), "value")
	calc("datum.key", "first")
	if bucket != "datum" {
		calc("datum.y.key", "second")
	}
	if p.Kind == Time { // an area is one mark: its link is of all its time
		calc("datum.y.from.value", "from")
		calc("datum.y.to.value", "to")
		end := func(op, name string) object { return object{"op": op, "field": name, "as": name} }
		transform = append(
			transform, object{"impute": "value", "key": "first", "value": 0, "groupby": []string{"second"}},
			object{"joinaggregate": []object{end("min", "from"), end("max", "to")}, "groupby": []string{"second"}},
		)
		calc("{from: {value: datum.from}, to: {value: datum.to}}", "span")
		bucket, keys = "datum.span", []string{"datum.second"}
	}
	calc(p.link(weir, bucket, keys...), "weir")
	amount := object{"field": "value", "type": "quantitative", "title": p.Metric.Name, "axis": object{"labelExpr": p.Metric.label(), "tickCount": 5}}
	enc := object{"href": object{"field": "weir"}}
	switch p.Kind {
	case Time:
		spec["mark"] = object{"type": "area", "interpolate": "step-after", "tooltip": true}
		enc["x"] = object{"field": "first", "type": "temporal", "title": nil}
		enc["y"] = amount
		enc["color"] = p.color("second", 0)
	case Bars:
		spec["mark"] = object{"type": "bar", "tooltip": true}
		enc["y"] = object{"field": "first", "type": "nominal", "sort": "-x", "title": p.By[0].String(), "axis": object{"labelLimit": 190}}
		enc["x"] = amount
		if len(p.By) > 1 {
			enc["color"] = p.color("second", 1)
		}
	default:
		spec["mark"] = object{"type": "rect", "tooltip": true}
		enc["y"] = object{"field": "first", "type": "nominal", "title": p.By[0].String(), "axis": object{"labelLimit": 170}}
		enc["x"] = object{"field": "second", "type": "nominal", "title": p.By[1].String(), "axis": object{"labelAngle": -35, "labelLimit": 110}}
		enc["color"] = object{"field": "value", "type": "quantitative", "title": p.Metric.Name, "scale": object{"scheme": "blues"}, "legend": object{"labelExpr": p.Metric.label()}}
	}
	spec["transform"], spec["encoding"] = transform, enc
	return spec
}

func (p *Panel) frame(index, property string) object {
	return object{
		"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "title": p.Title, "description": p.Doc,
		"autosize": object{"type": "fit", "contains": "padding"}, "config": object{"view": object{"stroke": nil}, "kibana": object{"renderer": "svg"}},
		"data": object{"url": object{"index": index, "body": p.Body()}, "format": object{"property": property}},
	}
}

func (p *Panel) color(field string, by int) object {
	c := object{"field": field, "type": "nominal", "title": p.By[by].String()}
	if p.Colors != nil {
		var domain, rng []string
		for _, k := range sortedKeys(p.Colors) {
			if p.Only != nil && !slices.Contains(p.Only, k) {
				continue
			}
			domain, rng = append(domain, k), append(rng, p.Colors[k])
		}
		c["scale"] = object{"domain": domain, "range": rng}
	}
	return c
}

// tiles draws numbers beside each other.
func (p *Panel) tiles(index, weir string) object {
	spec := p.frame(index, "aggregations")
	var names []string
	transform := []any{}
	for i, t := range p.Tiles {
		names = append(names, t.Name)
		transform = append(transform, object{"calculate": value(fmt.Sprintf("datum.t%d", i), t.Metric), "as": t.Name})
	}
	links, bytes := "''", "false"
	for i, t := range p.Tiles {
		q := Panel{Clause: t.Clause}
		links = fmt.Sprintf("datum.name == '%s' ? %s : %s", t.Name, q.link(weir, fmt.Sprintf("datum.t%d", i)), links)
		if t.Metric.Format == Bytes.Format {
			bytes = fmt.Sprintf("datum.name == '%s' || %s", t.Name, bytes)
		}
	}
	spec["transform"] = append(
		transform, object{"fold": names, "as": []string{"name", "value"}}, object{"calculate": links, "as": "weir"},
		object{"calculate": "(" + bytes + ") ? format(datum.value, '.3~s') + 'B' : format(datum.value, ',d')", "as": "text"},
	)
	x := object{"field": "name", "type": "nominal", "sort": names, "axis": nil}
	spec["encoding"] = object{"x": x, "href": object{"field": "weir"}}
	spec["layer"] = []any{
		object{"mark": object{"type": "text", "fontSize": 26, "dy": -8, "fontWeight": "bold"}, "encoding": object{"text": object{"field": "text"}}},
		object{"mark": object{"type": "text", "fontSize": 12, "dy": 18, "color": "#666"}, "encoding": object{"text": object{"field": "name"}}},
	}
	return spec
}
