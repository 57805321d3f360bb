package grafana_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	peer "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/dashboards/grafana"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/clickhouse"
)

// database starts an engine with the records and gives a client of it.
func database(t *testing.T, recs []flow.Record) driver.Conn {
	t.Helper()
	srv := testenv.StartClickHouse(t)
	cfg := clickhouse.DefaultConfig()
	cfg.Hosts, cfg.Retention = []string{srv.Addr}, 0
	sink, err := clickhouse.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sink.Close() }()
	if _, _, err := sink.Resume(t.Context(), "spool"); err != nil {
		t.Fatal(err)
	}
	if err := sink.WriteAt(t.Context(), 0, recs); err != nil {
		t.Fatal(err)
	}
	conn, err := peer.Open(&peer.Options{Addr: []string{srv.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Exec(t.Context(), "USE weir"); err != nil { // the data source's default database
		t.Fatal(err)
	}
	return conn
}

// frame is an answer, as Grafana gets it.
type frame struct {
	Columns []string
	Rows    [][]any
}

func ask(ctx context.Context, conn driver.Conn, sql string) (f frame, err error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return f, fmt.Errorf("%w in\n%s", err, sql)
	}
	defer func() { _ = rows.Close() }()
	f.Columns = rows.Columns()
	for rows.Next() {
		dest := make([]any, len(f.Columns))
		for i, c := range rows.ColumnTypes() {
			dest[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := rows.Scan(dest...); err != nil {
			return f, err
		}
		for i := range dest {
			v := reflect.ValueOf(dest[i]).Elem()
			for v.Kind() == reflect.Pointer && !v.IsNil() {
				v = v.Elem()
			}
			if dest[i] = v.Interface(); v.Kind() == reflect.Pointer {
				dest[i] = nil
			}
		}
		f.Rows = append(f.Rows, dest)
	}
	return f, rows.Err()
}

// board is a dashboard as its file says, and as the code does.
type board struct {
	code grafana.Board
	file grafana.Model
}

func boards(t *testing.T) (out []board) {
	t.Helper()
	for _, b := range grafana.Boards() {
		out = append(out, board{b, readBoard(t, b.UID)})
	}
	return out
}

// picks are what people pick, one after another.
func picks() []picked {
	return []picked{
		{direction: "either", verdict: "any"},
		{direction: "from", verdict: "any", namespace: []string{"shop", "bank"}},
		{direction: "to", verdict: "allowed", cluster: []string{"east-1"}, workload: []string{"Deployment/cart", "StatefulSet/postgres"}},
		{direction: "either", verdict: "denied", namespace: []string{"guest"}},
		{direction: "either", verdict: "none", workload: []string{"Deployment/frontend"}},
	}
}

// TestPanelsAnswer asks the real engine what every panel asks, as its file has it, and the
// evaluator of the query language what the panel's link asks. Both must say the same,
// whatever the variables pick.
func TestPanelsAnswer(t *testing.T) {
	recs := flowtest.Hour(rand.New(rand.NewPCG(1, 2)), 4000)
	conn := database(t, recs)
	r := span{flowtest.HourStart, flowtest.HourStart.Add(time.Hour), time.Minute}
	empty := map[string]int{}
	panels := 0
	for _, b := range boards(t) {
		if b.code.Health != nil {
			continue
		}
		for n, p := range picks() {
			p.filter = filterOf(t, conn, &b.file, p, r)
			for i := range b.code.Panels {
				panel := &b.code.Panels[i]
				name := b.code.Title + " / " + panel.Title
				panels++
				got, err := ask(t.Context(), conn, sqlOf(t, &b.file, i, p, r))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if len(got.Rows) == 0 {
					empty[name]++
				}
				if d := differs(t, panel, recs, r, &asked{p.filter, got}); d != "" {
					t.Errorf("%s, pick %d (%s):\n%s", name, n, p.filter, d)
				}
				checkLink(t, &b, i, p, r)
			}
		}
	}
	for name, n := range empty {
		if n > 3 {
			t.Errorf("%s answers nothing to %d of %d: this proves little", name, n, len(picks()))
		}
	}
	if panels < 100 {
		t.Errorf("%d panels were asked", panels)
	}
}

// sqlOf is the SQL of a panel of the file, expanded.
func sqlOf(t *testing.T, d *grafana.Model, panel int, p picked, r span) string {
	t.Helper()
	q, ok := d.Panels[panel].Panel.Targets[0].(grafana.Query)
	if !ok {
		t.Fatalf("panel %d of %s has a query of type %T", panel, *d.Title, d.Panels[panel].Panel.Targets[0])
	}
	sql, err := expand(q.RawSQL, &p, r)
	if err != nil {
		t.Fatal(err)
	}
	return sql
}

// filterOf asks the engine for the hidden variable.
func filterOf(t *testing.T, conn driver.Conn, d *grafana.Model, p picked, r span) string {
	t.Helper()
	for _, v := range d.Templating.List {
		if v.Name != "filter" {
			continue
		}
		sql, err := expand(*v.Query.String, &p, r)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ask(t.Context(), conn, sql)
		if err != nil || len(f.Rows) != 1 {
			t.Fatalf("%v %v", f, err)
		}
		return fmt.Sprint(f.Rows[0][0])
	}
	t.Fatal("no variable filter")
	return ""
}

// checkLink holds a panel's link to the same question and range.
func checkLink(t *testing.T, b *board, panel int, p picked, r span) {
	t.Helper()
	code, links := &b.code.Panels[panel], b.file.Panels[panel].Panel.Links
	if len(links) != 1 || links[0].Url == nil {
		t.Fatalf("%s has %d links", code.Title, len(links))
	}
	text, err := expand(*links[0].Url, &p, r)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	v := u.Query()
	if want := strings.TrimSpace(p.filter + " " + code.Text("")); v.Get("q") != want || v.Get("since") != "2026-03-14T03:00:00.000Z" || v.Get("until") != "2026-03-14T04:00:00.000Z" {
		t.Errorf("%s: the link asks %q from %s to %s", code.Title, v.Get("q"), v.Get("since"), v.Get("until"))
	}
	if _, err := query.Parse(v.Get("q")); err != nil {
		t.Errorf("%s: the link's query: %v", code.Title, err)
	}
}

// evaluate asks the evaluator in memory.
func evaluate(t *testing.T, recs []flow.Record, text string, r span) *query.Result {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	q, _ = query.WithoutCanaries(q)
	a, err := query.NewAnswer(q, r.from.UnixMilli(), r.to.UnixMilli(), query.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	e, err := query.NewEvaluator(a)
	if err != nil {
		t.Fatal(err)
	}
	for i := range recs {
		if err := e.Add(&recs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Finish(); err != nil {
		t.Fatal(err)
	}
	res, err := a.Result(0)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// asked is an answer of the engine, and what the variables made of the question.
type asked struct {
	filter string
	got    frame
}

// differs compares an answer of the engine with that of the language.
func differs(t *testing.T, p *grafana.Panel, recs []flow.Record, r span, x *asked) string {
	t.Helper()
	got := x.got
	text := func(every string) string { return x.filter + " " + p.Text(every) }
	switch {
	case p.List != nil:
		return differsTable(merged(evaluate(t, recs, text(""), r).Rows, p.List), got.Rows, len(grafana.Shown(p.List)), 0)
	case p.Kind == grafana.Table:
		whole := *p
		whole.Most = 10_000
		return differsTable(merged(evaluate(t, recs, x.filter+" "+whole.Text(""), r).Rows, p.By), got.Rows, len(grafana.Shown(p.By)), p.Most)
	case p.Of != nil:
		of := grafana.Panel{Cond: *p.Of, Aggs: p.Aggs, Kind: grafana.Stat}
		some, all := total(evaluate(t, recs, text(""), r), 0), total(evaluate(t, recs, x.filter+" "+of.Text(""), r), 0)
		if len(got.Rows) != 1 || !near(number(got.Rows[0][0]), some/all, 1e-9) {
			return fmt.Sprintf("%v, want %g of %g", got.Rows, some, all)
		}
	case p.Kind == grafana.Stat:
		want := total(evaluate(t, recs, text(""), r), 0)
		if len(got.Rows) != 1 || !near(number(got.Rows[0][0]), want, tolerance(p.Aggs)) {
			return fmt.Sprintf("%v, want %g", got.Rows, want)
		}
	default:
		return differsSeries(wantSeries(t, p, recs, x.filter, r), got)
	}
	return ""
}

// tolerance is that of the language's quantiles.
func tolerance(aggs []string) float64 {
	if strings.HasPrefix(aggs[0], "p95") {
		return query.SketchError * 1.01
	}
	return 1e-9
}

func total(res *query.Result, keys int) (sum float64) {
	for _, row := range res.Rows {
		for _, v := range row.Values[keys:] {
			sum += number(v)
		}
	}
	return sum
}

// merged puts values together as panels show them.
func merged(rows []query.Row, fields []string) (out []query.Row) {
	for _, row := range rows {
		x := row
		x.Values = nil
		for _, c := range grafana.Shown(fields) {
			x.Values = append(x.Values, shown(row.Values, c.Fields))
		}
		x.Values = append(x.Values, row.Values[len(fields):]...)
		out = append(out, x)
	}
	return out
}

// shown is namespace/name of what runs in the cluster, else the namespace or the host.
func shown(values []any, fields []int) any {
	if len(fields) == 1 {
		return values[fields[0]]
	}
	ns, what := values[fields[0]], values[fields[1]]
	if what == nil {
		for _, i := range append([]int{fields[0]}, fields[2:]...) {
			if values[i] != nil {
				return values[i]
			}
		}
		return grafana.Absent
	}
	_, name, kind := strings.Cut(fmt.Sprint(what), "/")
	if !kind {
		name = fmt.Sprint(what)
	}
	if ns == nil {
		ns = ""
	}
	return fmt.Sprint(ns, "/", name)
}

// differsTable wants every row to be one of the language's, and, where not all of them are
// there, the largest by the first number.
func differsTable(want []query.Row, got [][]any, keys, most int) string {
	n := len(want)
	if most > 0 {
		n = min(n, most)
	}
	if len(got) != n {
		return fmt.Sprintf("%d rows, want %d of %d", len(got), n, len(want))
	}
	known := map[string][]query.Row{}
	for _, w := range want {
		known[key(w.Values[:keys])] = append(known[key(w.Values[:keys])], w)
	}
	for i, g := range got {
		found := slices.ContainsFunc(known[key(g[:keys])], func(w query.Row) bool {
			for j := keys; j < len(g); j++ {
				if !near(number(g[j]), number(w.Values[j]), query.SketchError*1.01) {
					return false
				}
			}
			return true
		})
		if !found {
			return fmt.Sprintf("row %d: %v is none of %v", i, g, known[key(g[:keys])])
		}
		if most > 0 && number(g[keys]) != number(want[i].Values[keys]) {
			return fmt.Sprintf("row %d has %v, want %v", i, g[keys], want[i].Values[keys])
		}
	}
	return ""
}

func key(values []any) string {
	var parts []string
	for _, v := range values {
		switch x := v.(type) {
		case nil:
			parts = append(parts, "-")
		case time.Time:
			parts = append(parts, query.FormatTime(x.UnixMilli()))
		default:
			parts = append(parts, fmt.Sprint(x))
		}
	}
	return strings.Join(parts, "|")
}

type point struct {
	at     string
	series string
}

// wantSeries asks the language for each step; of what moved it is one a second.
func wantSeries(t *testing.T, p *grafana.Panel, recs []flow.Record, filter string, r span) map[point]float64 {
	t.Helper()
	out := map[point]float64{}
	add := func(series string, text string, by int) {
		for _, row := range evaluate(t, recs, text, r).Rows {
			name := series
			if name == "" {
				if name = "other"; !row.Other {
					var parts []string
					for _, c := range grafana.Shown(p.By) {
						v := shown(row.Values[1:1+by], c.Fields)
						if v == nil {
							v = grafana.Absent
						}
						parts = append(parts, fmt.Sprint(v))
					}
					name = strings.Join(parts, " to ")
				}
			}
			v := 0.0
			for _, x := range row.Values[1+by:] {
				v += number(x)
			}
			if strings.Contains(p.Aggs[0], "(") {
				v /= r.step.Seconds()
			}
			if v != 0 {
				out[point{fmt.Sprint(row.Values[0]), name}] += v
			}
		}
	}
	if len(p.Split) == 0 {
		add("", filter+" "+p.Text("60s"), len(p.By))
	}
	for _, part := range p.Split {
		of := *p
		of.Cond, of.Split = part.Cond, nil
		add(part.Name, filter+" "+of.Text("60s"), 0)
	}
	return out
}

func differsSeries(want map[point]float64, got frame) string {
	seen := map[point]float64{}
	for _, row := range got.Rows {
		at, ok := row[0].(time.Time)
		if !ok {
			return fmt.Sprintf("time is %T", row[0])
		}
		if v := number(row[2]); v != 0 {
			seen[point{query.FormatTime(at.UnixMilli()), fmt.Sprint(row[1])}] = v
		}
	}
	for k, w := range want {
		if !near(seen[k], w, 1e-9) {
			return fmt.Sprintf("%v: %g, want %g", k, seen[k], w)
		}
	}
	for k, v := range seen {
		if _, ok := want[k]; !ok {
			return fmt.Sprintf("%v: %g, want nothing", k, v)
		}
	}
	return ""
}

// number is any number, and 0 for what is none.
func number(v any) float64 {
	switch x := v.(type) {
	case nil, string, time.Time:
		return 0
	case float64:
		if math.IsNaN(x) {
			return 0
		}
		return x
	}
	r := reflect.ValueOf(v)
	switch {
	case r.CanInt():
		return float64(r.Int())
	case r.CanUint():
		return float64(r.Uint())
	}
	return 0
}

func near(a, b, rel float64) bool {
	if math.IsNaN(b) {
		b = 0
	}
	return math.Abs(a-b) <= rel*math.Max(1, math.Max(math.Abs(a), math.Abs(b)))
}

// TestVariablesAnswer: every variable that asks the engine gets what the records have.
func TestVariablesAnswer(t *testing.T) {
	recs := flowtest.Hour(rand.New(rand.NewPCG(3, 4)), 1500)
	conn := database(t, recs)
	want := map[string]map[string]bool{"cluster": {}, "namespace": {}, "workload": {}}
	for i := range recs {
		for name, values := range map[string][]string{"cluster": {recs[i].ClusterID}, "namespace": {recs[i].SrcNS, recs[i].DstNS}, "workload": {recs[i].SrcWorkload, recs[i].DstWorkload}} {
			for _, v := range values {
				want[name][v] = v != ""
			}
		}
	}
	d := boards(t)[0].file
	for _, v := range d.Templating.List {
		if want[v.Name] == nil {
			continue
		}
		sql, err := expand(*v.Query.String, &picks()[0], span{flowtest.HourStart, flowtest.HourStart.Add(time.Hour), time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		f, err := ask(t.Context(), conn, sql)
		if err != nil {
			t.Fatal(err)
		}
		var got, all []string
		for _, row := range f.Rows {
			got = append(got, fmt.Sprint(row[0]))
		}
		for x, there := range want[v.Name] {
			if there {
				all = append(all, x)
			}
		}
		slices.Sort(all)
		if !slices.Equal(got, all) {
			t.Errorf("%s: %v, want %v", v.Name, got, all)
		}
	}
}
