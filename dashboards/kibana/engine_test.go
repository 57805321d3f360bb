package kibana_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/dashboards/kibana"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/elastic"
)

var drawFlag = flag.Bool("draw", false, "write the pictures of docs/dashboards again")

// span is the range that a person has picked.
type span struct{ from, to time.Time }

// expand does with a body what Kibana does before it sends it.
func expand(t *testing.T, v any, r span) any {
	t.Helper()
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, x := range v {
			if s, ok := x.(string); ok && strings.HasPrefix(s, "%dashboard_context-") {
				continue // no filter is set
			}
			out = append(out, expand(t, x, r))
		}
		return out
	case map[string]any:
		if v["%timefilter%"] == true {
			return map[string]any{"gte": r.from.Format(time.RFC3339Nano), "lte": r.to.Format(time.RFC3339Nano), "format": "strict_date_optional_time"}
		}
		if v["%autointerval%"] == true {
			return "1m"
		}
		out := map[string]any{}
		for k, x := range v {
			out[k] = expand(t, x, r)
		}
		return out
	case string:
		if strings.HasPrefix(v, "%") {
			t.Fatalf("%s is not expanded", v)
		}
	}
	return v
}

// search asks the engine.
func search(t *testing.T, to string, body any) map[string]any {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(to, "application/json", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %d %s\n%s", err, res.StatusCode, text, b)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// row is one mark of a panel: what it is of, and its amount.
type row struct {
	Keys  string
	Value float64
}

// answer reads the rows from what the engine says.
func answer(p *kibana.Panel, out map[string]any) (rows []row) {
	aggs := out["aggregations"].(map[string]any)
	if p.Kind == kibana.Tiles {
		for i, t := range p.Tiles {
			rows = append(rows, row{t.Name, amount(aggs[fmt.Sprintf("t%d", i)], t.Metric)})
		}
		return rows
	}
	for _, a := range buckets(aggs["a"]) {
		if a["b"] == nil {
			rows = append(rows, row{fmt.Sprint(a["key"]), amount(a, p.Metric)})
			continue
		}
		for _, b := range buckets(a["b"]) {
			rows = append(rows, row{keyText(a["key"]) + " | " + keyText(b["key"]), amount(b, p.Metric)})
		}
	}
	return rows
}

func keyText(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprint(v)
}

func buckets(v any) (out []map[string]any) {
	for _, b := range v.(map[string]any)["buckets"].([]any) {
		out = append(out, b.(map[string]any))
	}
	return out
}

func amount(bucket any, m kibana.Metric) (sum float64) {
	for i := range m.Fields {
		sum += bucket.(map[string]any)[fmt.Sprintf("m%d", i)].(map[string]any)["value"].(float64)
	}
	return sum
}

// expected computes the rows from the records alone: the condition by the query language,
// the rest by loops.
func expected(t *testing.T, p *kibana.Panel, recs []flow.Record, r span) (rows []row) {
	t.Helper()
	if p.Kind == kibana.Tiles {
		for _, tile := range p.Tiles {
			sum := 0.0
			for _, rec := range picked(t, tile.Text, recs, r) {
				a, b := parts(&rec, tile.Metric)
				sum += a + b
			}
			rows = append(rows, row{tile.Name, sum})
		}
		return rows
	}
	recs = picked(t, p.Text, recs, r)
	if p.Kind == kibana.Time {
		minutes := map[int64][]flow.Record{}
		for _, rec := range recs {
			m := rec.End - rec.End%60_000
			minutes[m] = append(minutes[m], rec)
		}
		for m, list := range minutes {
			for _, g := range largest(list, p, 0) {
				rows = append(rows, row{fmt.Sprint(m) + " | " + g.key, g.sum()})
			}
		}
		return rows
	}
	for _, g := range largest(recs, p, 0) {
		if len(p.By) == 1 {
			rows = append(rows, row{g.key, g.sum()})
			continue
		}
		for _, in := range largest(g.recs, p, 1) {
			rows = append(rows, row{g.key + " | " + in.key, in.sum()})
		}
	}
	return rows
}

func picked(t *testing.T, text string, recs []flow.Record, r span) (out []flow.Record) {
	t.Helper()
	expr, err := query.ParseExpr(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	match, err := query.Predicate(expr)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for _, rec := range recs {
		if rec.End >= r.from.UnixMilli() && rec.End <= r.to.UnixMilli() && match(&rec) && !rec.Canary {
			out = append(out, rec)
		}
	}
	return out
}

// parts are the two numbers of a metric; rows are ordered by the first.
func parts(r *flow.Record, m kibana.Metric) (first, second float64) {
	if m.Name == kibana.Bytes.Name {
		return float64(r.BytesDelta), float64(r.RevBytesDelta)
	}
	if r.First {
		return 1, 0
	}
	return 0, 0
}

type group struct {
	key           string
	first, second float64
	recs          []flow.Record
}

func (g *group) sum() float64 { return g.first + g.second }

// largest groups records by a field of the panel, and keeps as many as it shows.
func largest(recs []flow.Record, p *kibana.Panel, by int) []*group {
	all := map[string]*group{}
	for i := range recs {
		r := &recs[i]
		if !r.Has.Has(p.By[by]) {
			continue
		}
		k := r.Text(p.By[by])
		g := all[k]
		if g == nil {
			g = &group{key: k}
			all[k] = g
		}
		a, b := parts(r, p.Metric)
		g.first, g.second, g.recs = g.first+a, g.second+b, append(g.recs, *r)
	}
	var list []*group
	for _, g := range all {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *group) int { return cmp.Or(cmp.Compare(b.first, a.first), cmp.Compare(a.key, b.key)) })
	return list[:min(len(list), p.Most[by])]
}

func sorted(rows []row) []row {
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Keys, b.Keys) })
	return rows
}

// drawn is what test/vega/draw.mjs takes and gives.
type drawn struct {
	Spec       map[string]any `json:"spec,omitempty"`
	Answer     map[string]any `json:"answer,omitempty"`
	Width      int            `json:"width,omitempty"`
	Height     int            `json:"height,omitempty"`
	SVG        string         `json:"svg,omitempty"`
	Complaints []string       `json:"complaints,omitempty"`
}

// Pixels of a picture: of a dashboard's column and row, and around a panel.
const column, line, gap = 27, 20, 8

// TestEngine asks a real Elasticsearch what every panel asks, over generated flows that the
// sink has written, compares the answer with one that is computed from the records, and
// draws the panel with it.
func TestEngine(t *testing.T) {
	srv := testenv.StartSearch(t, testenv.Elasticsearch)
	recs := flowtest.Hour(rand.New(rand.NewPCG(5, 6)), 8000)
	for i := range recs {
		recs[i].SetID(flow.UUID{1, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	cfg := elastic.DefaultConfig()
	cfg.Hosts, cfg.Replicas, cfg.Version = []string{srv.URL}, 0, "test"
	sink, err := elastic.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	if res, err := http.Post(srv.URL+"/weir-flows/_refresh", "application/json", nil); err != nil {
		t.Fatal(err)
	} else {
		res.Body.Close()
	}
	// Not the whole hour, so that the range counts.
	r := span{flowtest.HourStart.Add(5 * time.Minute), flowtest.HourStart.Add(55*time.Minute - time.Millisecond)}
	objects := map[string]*kibana.Object{}
	list := load(t)
	for i := range list {
		objects[list[i].ID] = &list[i]
	}
	for _, b := range kibana.Boards() {
		var in []drawn
		for i := range b.Panels {
			p := &b.Panels[i]
			spec := specOf(t, objects[p.ID]) // as it stands in the file
			data := spec["data"].(map[string]any)["url"].(map[string]any)
			out := search(t, fmt.Sprintf("%s/%s/_search", srv.URL, data["index"]), expand(t, data["body"], r))
			want, got := sorted(expected(t, p, recs, r)), sorted(answer(p, out))
			if len(want) == 0 || want[0].Value == 0 && p.Kind == kibana.Tiles {
				t.Errorf("%s shows nothing: the flows do not try it", p.ID)
			}
			if d := gocmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", p.ID, d)
			}
			in = append(in, drawn{Spec: spec, Answer: out, Width: p.W*column - gap, Height: p.H*line - gap})
		}
		pictures := draw(t, in)
		for i := range pictures {
			p, d := &b.Panels[i], &pictures[i]
			if len(d.Complaints) > 0 {
				t.Errorf("%s: Vega says %q", p.ID, d.Complaints)
			}
			if strings.Contains(d.SVG, "undefined") || strings.Contains(d.SVG, "NaN") {
				t.Errorf("%s: there is undefined or no number in the picture", p.ID)
			}
			follow(t, p, d.SVG, recs)
		}
		var table []map[string]any
		if b.Records {
			table = records(t, srv.URL, objects[kibana.SearchID], recs, r)
		}
		if *drawFlag {
			picture(t, &b, pictures, table)
		}
	}
}

// href finds the links of a picture.
var href = regexp.MustCompile(`href="(https://weir\.example/[^"]*)"`)

// follow asks Weir's language what each mark's link asks: it has to find records.
func follow(t *testing.T, p *kibana.Panel, svg string, recs []flow.Record) {
	t.Helper()
	links := href.FindAllStringSubmatch(svg, -1)
	if len(links) == 0 {
		t.Errorf("%s has no links to Weir", p.ID)
	}
	for _, l := range links {
		u, err := url.Parse(html.UnescapeString(l[1]))
		if err != nil {
			t.Fatalf("%s: %v", p.ID, err)
		}
		q := u.Query()
		since, err1 := time.Parse(time.RFC3339, q.Get("since"))
		until, err2 := time.Parse(time.RFC3339, q.Get("until"))
		if err1 != nil || err2 != nil || !since.Before(until) {
			t.Fatalf("%s: %s: %v, %v", p.ID, u, err1, err2)
		}
		if len(picked(t, q.Get("q"), recs, span{since, until})) == 0 {
			t.Errorf("%s: a mark's link finds nothing: %s", p.ID, u)
		}
	}
}

// records runs the saved search and compares what it shows with the newest records.
func records(t *testing.T, to string, o *kibana.Object, recs []flow.Record, r span) []map[string]any {
	t.Helper()
	var columns []string
	for _, c := range o.Attributes["columns"].([]any) {
		columns = append(columns, c.(string))
	}
	out := search(t, to+"/weir-flows/_search", map[string]any{
		"size": 200, "fields": append([]any{map[string]string{"field": "@timestamp", "format": "yyyy-MM-dd HH:mm:ss.SSS"}}, anys(columns)...), "_source": false, "sort": []any{map[string]any{"@timestamp": "desc"}, map[string]any{"conn_id": "asc"}, map[string]any{"seq": "asc"}},
		"query": map[string]any{"bool": map[string]any{
			"filter":   expand(t, map[string]any{"range": map[string]any{"@timestamp": map[string]any{"%timefilter%": true}}}, r),
			"must_not": map[string]any{"term": map[string]any{"canary": true}}, // as the search's own query says
		}},
	})
	newest := picked(t, "", recs, r)
	slices.SortFunc(newest, func(a, b flow.Record) int {
		return cmp.Or(cmp.Compare(b.End, a.End), cmp.Compare(a.Text(flow.FConnID), b.Text(flow.FConnID)), cmp.Compare(a.Seq, b.Seq))
	})
	var rows []map[string]any
	for i, h := range out["hits"].(map[string]any)["hits"].([]any) {
		f := h.(map[string]any)["fields"].(map[string]any)
		rows = append(rows, f)
		for name, id := range map[string]flow.FieldID{"conn_id": flow.FConnID, "src.workload": flow.FSrcWorkload, "bytes_delta": flow.FBytesDelta, "outcome": flow.FOutcome, "dst.ip": flow.FDstIP} {
			if got, want := cell(f[name]), newest[i].Text(id); got != want {
				t.Fatalf("row %d: %s is %q, want %q", i, name, got, want)
			}
		}
	}
	if len(rows) != 200 {
		t.Errorf("%d rows, want 200", len(rows))
	}
	return rows
}

func anys(list []string) (out []any) {
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

func cell(v any) string {
	list, ok := v.([]any)
	if !ok {
		return ""
	}
	return keyText(list[0])
}

// draw has Vega draw panels.
func draw(t *testing.T, in []drawn) (out []drawn) {
	t.Helper()
	cache := testenv.Cache(t, "Vega", "vega")
	cmd := exec.Command(testenv.NeedTool(t, "node"), "../../test/vega/draw.mjs", cache)
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(b), &stderr
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(got, &out); err != nil || len(out) != len(in) {
		t.Fatalf("%v: %d pictures of %d", err, len(out), len(in))
	}
	return out
}

// picture writes a dashboard as the docs show it.
func picture(t *testing.T, b *kibana.Board, panels []drawn, table []map[string]any) {
	t.Helper()
	var page strings.Builder
	fmt.Fprintf(&page, "<!doctype html><meta charset=utf-8><style>body{margin:0;font:12px sans-serif;background:#f7f8fc;color:#343741}h1{font-size:18px;margin:10px 12px 2px}p{margin:0 12px 8px;color:#69707d}"+
		".c{margin:0 12px}.c span{display:inline-block;background:#fff;border:1px solid #d3dae6;padding:3px 10px;margin-right:6px;border-radius:4px}.g{position:relative}.p{position:absolute;background:#fff;border:1px solid #e3e6ee;overflow:hidden}"+
		"td,th{padding:2px 7px;white-space:nowrap;text-align:left;border-bottom:1px solid #eef0f5;font-size:11px}</style><h1>%s</h1><p>%s</p><div class=c>", b.Title, b.Doc)
	for _, n := range []string{"cluster", "src.ns", "src.workload", "dst.ns", "dst.workload", "scope", "verdict"} {
		fmt.Fprintf(&page, "<span>%s: Any</span>", n)
	}
	page.WriteString("</div><div class=g>")
	high := 0
	for i, g := range kibana.Layout(b) {
		fmt.Fprintf(&page, "<div class=p style='left:%dpx;top:%dpx;width:%dpx;height:%dpx'>", g.X*column+gap, g.Y*line+gap, g.W*column-gap, g.H*line-gap)
		high = max(high, (g.Y+g.H)*line+2*gap)
		if i < len(panels) {
			page.WriteString(panels[i].SVG)
		} else {
			columns := append([]string{"@timestamp"}, kibana.Columns...)
			page.WriteString("<table><tr>")
			for _, c := range columns {
				page.WriteString("<th>" + c)
			}
			for _, r := range table[:min(len(table), 22)] {
				page.WriteString("<tr>")
				for _, c := range columns {
					page.WriteString("<td>" + cell(r[c]))
				}
			}
			page.WriteString("</table>")
		}
		page.WriteString("</div>")
	}
	page.WriteString("</div>")
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(page.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := filepath.Abs(filepath.Join("..", "..", "docs", "dashboards", "kibana-"+strings.TrimPrefix(b.ID, "weir-")+".png"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testenv.NeedTool(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir="+t.TempDir(),
		fmt.Sprintf("--window-size=%d,%d", 48*column+2*gap, high+100), "--screenshot="+out, "file://"+file)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
}
