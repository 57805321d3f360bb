package grafana

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// Kind is how a panel shows its answer.
type Kind string

// The kinds.
const (
	Stat  Kind = "stat"       // one number
	Bars  Kind = "timeseries" // a number for each step of time, stacked by series
	Lines Kind = "lines"      // the same side by side
	Table Kind = "table"
)

// Panel is one panel over flows: a question, and how its answer is shown.
type Panel struct {
	Title, Doc string
	Kind       Kind
	W, H       uint32

	Cond Cond     // which connections, besides those that the variables pick
	Aggs []string // aggregates of the query language; a Stat and Bars show their sum
	By   []string // fields
	Most int      // rows of a table, series of Bars; the rest of the series is "other"
	Of   *Cond    // a Stat shows the share of these, and not a number
	List []string // fields of a list of connections, newest first; no Aggs then
	// Split makes series by condition, for what is no field. The first that holds counts.
	Split []Part

	Unit   string // of Grafana
	Alarm  []float64
	Colors map[string]string // of series, by name
}

// Cond is a condition in the query language and the same in SQL, where {src.ns} stands for
// the column of a field. Both empty: all connections.
type Cond struct{ Text, SQL string }

// Part is a series of its own.
type Part struct {
	Name string
	Cond
}

var (
	// Failed are the connections that went wrong. One that a policy stopped did not: it is
	// Denied.
	Failed = Cond{"outcome not in (ok, unknown, denied)", "{outcome} NOT IN ('ok', 'unknown', 'denied')"}
	// Unsuccessful are those and the denied ones.
	Unsuccessful = Cond{"outcome not in (ok, unknown)", "{outcome} NOT IN ('ok', 'unknown')"}
)

const (
	deniedSQL  = "ifNull({outcome} = 'denied' OR {ingress.action} IN ('drop', 'reject') OR {egress.action} IN ('drop', 'reject'), false)"
	allowedSQL = "ifNull({ingress.action} = 'allow' OR {egress.action} = 'allow', false)"
)

// The verdicts of policy.
var (
	Denied  = Cond{"verdict = denied", deniedSQL}
	Allowed = Cond{"verdict = allowed", "NOT " + deniedSQL + " AND " + allowedSQL}
	Neither = Cond{"not has verdict", "NOT " + deniedSQL + " AND NOT " + allowedSQL}
)

// Text is the panel's question in the query language, without what the variables add.
// Every is a step of time, "" for none.
func (p *Panel) Text(every string) string {
	if p.List != nil {
		return strings.TrimSpace(fmt.Sprintf("%s | limit %d | fields %s", p.Cond.Text, p.Most, strings.Join(p.List, ", ")))
	}
	s := p.Cond.Text + " | stats " + strings.Join(p.Aggs, ", ")
	if len(p.By) > 0 {
		s += " by " + strings.Join(p.By, ", ")
	}
	if every != "" {
		s += " every " + every
	}
	switch {
	case p.Most > 0 && p.Kind == Table:
		s += fmt.Sprintf(" | sort %s desc | limit %d", p.Aggs[0], p.Most)
	case p.Most > 0:
		s += fmt.Sprintf(" | top %d by %s", p.Most, p.Aggs[0])
	}
	return strings.TrimSpace(s)
}

var fieldRef = regexp.MustCompile(`\$?\{[a-z_.]+\}`)

// columns puts the columns of fields in their places; ${name} is a variable and stays.
func columns(sql string) (string, error) {
	var err error
	out := fieldRef.ReplaceAllStringFunc(sql, func(m string) string {
		if m[0] == '$' {
			return m
		}
		id, e := column(m[1 : len(m)-1])
		if e != nil {
			err = e
		}
		return id
	})
	return out, err
}

func column(name string) (string, error) {
	id, ok := flow.FieldByName(name)
	if !ok {
		return "", fmt.Errorf("%q is no field of the schema", name)
	}
	return ddl.Ident(ddl.ColumnName(id)), nil
}

// where is the condition of every panel: its range, the variables and its own.
func (p *Panel) where(c *Cond) string {
	s := "$__timeFilter_ms({end}) AND NOT ifNull({canary}, false)\n  AND " + strings.Join(filters, "\n  AND ")
	if c.SQL != "" {
		s += "\n  AND " + c.SQL
	}
	return s
}

// folded says how the records of a connection become one value: what moved adds up, the
// rest is that of the newest record.
func folded(field string) (string, error) {
	f, ok := query.FieldByName(field)
	if !ok || len(f.IDs) != 1 {
		return "", fmt.Errorf("%q is no field of the schema", field)
	}
	for _, c := range query.Counters {
		if c.Total == f.IDs[0] {
			return "sum({" + flow.Fields[c.Delta].Name + "})", nil
		}
	}
	return "argMax(tuple({" + field + "}), {end}).1", nil // of the newest record, also where that has none
}

// agg is an aggregate of the language over folded connections, one a row.
type agg struct{ fn, field string }

func parseAgg(text string) agg {
	fn, field, _ := strings.Cut(strings.TrimSuffix(text, ")"), "(")
	return agg{fn, field}
}

// SQL is the panel's SELECT with the macros and variables of Grafana.
func (p *Panel) SQL() (string, error) {
	var s string
	var err error
	switch {
	case p.List != nil:
		s, err = p.list()
	case p.Kind == Bars || p.Kind == Lines:
		s, err = p.series()
	case p.Of != nil:
		s = fmt.Sprintf("SELECT uniqIf({conn_id}, %s) / uniq({conn_id}) AS share\nFROM weir_flows\nWHERE %s", p.Cond.SQL, p.where(p.Of))
	default:
		s, err = p.table()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.Title, err)
	}
	if s, err = columns(s); err != nil {
		return "", fmt.Errorf("%s: %w", p.Title, err)
	}
	return s, nil
}

// table has a row for each group of connections; a Stat has one row and no groups.
func (p *Panel) table() (string, error) {
	keys := make([]string, 0, len(p.By)+1)
	outer := make([]string, 0, len(p.By)+len(p.Aggs))
	for i, f := range p.By {
		keys = append(keys, "{"+f+"} AS k"+fmt.Sprint(i))
	}
	for _, c := range Shown(p.By) {
		outer = append(outer, c.sql("k")+" AS "+ddl.Ident(c.Name))
	}
	inner := append(slices.Clone(keys), "{conn_id} AS c")
	var sums []string
	for i, text := range p.Aggs {
		a := parseAgg(text)
		if a.field != "" {
			v, err := folded(a.field)
			if err != nil {
				return "", err
			}
			inner = append(inner, fmt.Sprintf("%s AS v%d", v, i))
		} else if a.fn == "conns" {
			inner = append(inner, fmt.Sprintf("max({first}) AS v%d", i))
		}
		x, err := overConns(a, fmt.Sprintf("v%d", i))
		if err != nil {
			return "", err
		}
		sums = append(sums, x)
		outer = append(outer, x+" AS "+ddl.Ident(text))
	}
	if p.Kind == Stat {
		outer = []string{strings.Join(sums, " + ") + " AS value"}
	}
	group := make([]string, 0, len(keys)+1)
	for i := range keys {
		group = append(group, fmt.Sprintf("k%d", i))
	}
	s := fmt.Sprintf("SELECT %s\nFROM (\n  SELECT %s\n  FROM weir_flows\n  WHERE %s\n  GROUP BY %s\n)",
		strings.Join(outer, ", "), strings.Join(inner, ", "), strings.ReplaceAll(p.where(&p.Cond), "\n", "\n  "), strings.Join(append(slices.Clone(group), "c"), ", "))
	if p.Kind == Table {
		s += fmt.Sprintf("\nGROUP BY %s\nORDER BY %s DESC, %s\nLIMIT %d", strings.Join(group, ", "), ddl.Ident(p.Aggs[0]), strings.Join(group, ", "), p.Most)
	}
	return s, nil
}

func overConns(a agg, v string) (string, error) {
	switch a.fn {
	case "active":
		return "count()", nil
	case "conns":
		return "countIf(ifNull(" + v + ", false))", nil
	case "sum":
		return "ifNull(sum(" + v + "), 0)", nil
	case "p95":
		return "quantileExactWeighted(0.95)(" + v + ", 1)", nil // as the language has it: the value of that rank, not one between two
	}
	return "", fmt.Errorf("no SQL for %s", a.fn)
}

// overRecords is a sum over the records of a step of time, without a fold.
func overRecords(a agg) (string, error) {
	switch a.fn {
	case "active":
		return "uniq({conn_id})", nil
	case "conns":
		return "countIf(ifNull({first}, false))", nil
	case "sum":
		v, err := folded(a.field)
		if err == nil && !strings.HasPrefix(v, "sum(") {
			err = fmt.Errorf("%s is no counter and does not add up over time", a.field)
		}
		return "ifNull(" + v + ", 0)", err
	}
	return "", fmt.Errorf("no SQL for %s over time", a.fn)
}

// series has a number for each step and series; of counters of bytes and packets it is
// one a second.
func (p *Panel) series() (string, error) {
	var sums []string
	moved := false
	for _, text := range p.Aggs {
		a := parseAgg(text)
		x, err := overRecords(a)
		if err != nil {
			return "", err
		}
		sums, moved = append(sums, x), moved || a.field != ""
	}
	value := strings.Join(sums, " + ")
	if moved {
		value = "(" + value + ") / $__interval_s"
	}
	name := p.name()
	series := name
	if p.Most > 0 {
		series = fmt.Sprintf("if(%[1]s IN (\n    SELECT %[1]s FROM weir_flows\n    WHERE %[2]s\n    GROUP BY 1 ORDER BY %[3]s DESC, 1 LIMIT %[4]d), %[1]s, 'other')",
			name, strings.ReplaceAll(p.where(&p.Cond), "\n", "\n    "), sums[0], p.Most)
	}
	return fmt.Sprintf("SELECT $__timeInterval({end}) AS time, %s AS series, %s AS value\nFROM weir_flows\nWHERE %s\nGROUP BY time, series\nORDER BY time, series", series, value, p.where(&p.Cond)), nil
}

// name is what a series is called.
func (p *Panel) name() string {
	if len(p.Split) > 0 {
		var parts []string
		for _, x := range p.Split[:len(p.Split)-1] {
			parts = append(parts, x.SQL, ddl.Quote(x.Name))
		}
		return "multiIf(" + strings.Join(append(parts, ddl.Quote(p.Split[len(p.Split)-1].Name)), ", ") + ")"
	}
	shown := Shown(p.By)
	names := make([]string, 0, len(shown))
	for _, c := range shown {
		names = append(names, c.text(func(i int) string { return "{" + p.By[i] + "}" }))
	}
	return strings.Join(names, " || ' to ' || ")
}

// list has the newest connections. Its columns are named outside of the fold: a name that
// is also a column's would be taken for it in WHERE.
func (p *Panel) list() (string, error) {
	var inner, outer []string
	for i, f := range p.List {
		v, err := folded(f)
		if err != nil {
			return "", err
		}
		if f == "end" {
			v = "max({end})"
		}
		if f == "src.ip" || f == "dst.ip" {
			v = strings.ReplaceAll("if(position(IPv6NumToString(X), '.') > 0, replaceOne(IPv6NumToString(X), '::ffff:', ''), IPv6NumToString(X))", "X", v)
		}
		inner = append(inner, fmt.Sprintf("%s AS v%d", v, i))
	}
	for _, c := range Shown(p.List) {
		outer = append(outer, c.sql("v")+" AS "+ddl.Ident(c.Name))
	}
	return fmt.Sprintf("SELECT %s\nFROM (\n  SELECT max({end}) AS newest, {conn_id} AS c, %s\n  FROM weir_flows\n  WHERE %s\n  GROUP BY c\n)\nORDER BY newest DESC, c\nLIMIT %d",
		strings.Join(outer, ", "), strings.Join(inner, ", "), strings.ReplaceAll(p.where(&p.Cond), "\n", "\n  "), p.Most), nil
}
