package grafana_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"github.com/weirnet/weir/dashboards/render"
	"github.com/weirnet/weir/internal/testenv"
)

// freeAddrs gives addresses of loopback at which nothing listens.
func freeAddrs(t *testing.T, n int) (out []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// run starts a program; it ends with the test, or when what is returned is called.
func run(t *testing.T, program string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(program, args...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
	})
	t.Cleanup(func() {
		stop()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(program), b[max(0, len(b)-4000):])
		}
	})
	return stop
}

// troubled is an agent's /metrics as one in trouble has them: what a healthy pipeline does
// not show.
func troubled(t *testing.T) string {
	t.Helper()
	var scrapes atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := scrapes.Add(1)
		fmt.Fprintf(w, "weir_build_info{version=\"test\"} 1\nweir_conntrack_fill_ratio 0.42\nweir_coverage_nodes{traffic=\"pod\",family=\"ipv4\",seen=\"silent\"} 2\n"+
			"weir_verify_failed_hop{node=\"node-2\",hop=\"collect\"} 1\nweir_sink_failing{sink=\"siem\"} 1\nweir_sink_held_records{sink=\"siem\"} 1234\n"+
			"weir_ledger_lost_records_total{stage=\"sink/siem\",reason=\"spool_full\"} %d\nweir_ledger_records_total{stage=\"sink/siem\",side=\"in\"} %d\n"+
			"weir_sink_failures_total{sink=\"siem\"} %d\nweir_exporter_kernel_drops_total %d\nweir_exporter_kernel_early_drops_total %d\n", n, 100*n, n, 3*n, n)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// observed is a pipeline that a Prometheus scrapes, with an agent in trouble beside it.
type observed struct {
	prometheus, api   string // addresses
	aggregator, agent func() // start it anew; the agent replays a recording
}

// pipeline starts an aggregator, an agent and Prometheus.
func pipeline(t *testing.T) *observed {
	t.Helper()
	prom := testenv.NeedTool(t, "prometheus")
	dir := t.TempDir()
	for _, b := range []string{"weir-aggregator", "weir-agent"} {
		cmd := exec.Command("go", "build", "-o", dir, "github.com/weirnet/weir/cmd/"+b)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	a := freeAddrs(t, 5)
	collect, api, aggregator, agent, prometheusAddr := a[0], a[1], a[2], a[3], a[4]
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	aggregatorFile := file("aggregator.yaml", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %s/data
collect: {tcp: %q, tls: ""}
correlate: {activeTimeout: 2s, halfTimeout: 1s}
api: {listen: %q, auth: none}
metrics: {listen: %q}
sinks:
- {name: files, kind: jsonl, jsonl: {path: %s/flows.jsonl}}
`, dir, collect, api, aggregator, dir))
	agentFile := file("agent.yaml", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AgentConfig
nodeName: node-a
observeOnly: true
replay: %s
names: {source: none}
send: {aggregators: [%q], transport: tcp}
metrics: {listen: %q}
`, filepath.Join("..", "..", "internal", "demo", "recorded", "node-a.ct.gz"), collect, agent))
	run(t, prom, "--web.listen-address="+prometheusAddr, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--log.level=warn", "--config.file="+file("prometheus.yaml", fmt.Sprintf(`global: {scrape_interval: 1s}
scrape_configs:
- {job_name: weir-aggregator, static_configs: [{targets: [%q]}]}
- {job_name: weir-agent, static_configs: [{targets: [%q, %q]}]}
`, aggregator, agent, troubled(t))))
	anew := func(program, config string) func() {
		stop := func() {}
		return func() {
			stop()
			stop = run(t, filepath.Join(dir, program), "--config", config)
		}
	}
	o := &observed{prometheusAddr, api, anew("weir-aggregator", aggregatorFile), anew("weir-agent", agentFile)}
	o.aggregator()
	o.agent()
	return o
}

// used asks the API again and again, as people do, until the test ends.
func (o *observed) used(t *testing.T) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+o.api+"/api/v1/query?q="+url.QueryEscape("| stats active"), nil)
			if err == nil {
				if res, err := http.DefaultClient.Do(req); err == nil { // else it is starting anew
					res.Body.Close()
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(400 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

type sample struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

// promQL asks Prometheus; an error is one of the expression, or that it does not answer.
func promQL(ctx context.Context, addr, path string, v url.Values) ([]sample, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/"+path+"?"+v.Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result []sample }
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", v.Get("query"), answer.Error)
	}
	return answer.Data.Result, nil
}

var intervals = strings.NewReplacer("$__rate_interval", "4s", "$__range", "60s", "$job", ".+", "$instance", ".+")

// TestHealth asks a real Prometheus, which scrapes a real aggregator and agent, all that
// the panels of the pipeline's health ask. Each expression has an answer, and what the
// agent in trouble says is in it, and what the API and the history do.
func TestHealth(t *testing.T) {
	o := pipeline(t)
	addr := o.prometheus
	o.used(t)
	b := boards(t)[len(boards(t))-1]
	deadline := time.Now().Add(3 * time.Minute)
	wait := func(title, expr string, ok func([]sample) bool) {
		t.Helper()
		expr = intervals.Replace(expr)
		for {
			list, err := promQL(t.Context(), addr, "query", url.Values{"query": {expr}})
			if err == nil && len(list) > 0 && ok(list) {
				return
			}
			if time.Now().After(deadline) || err != nil && strings.Contains(err.Error(), "parse error") {
				t.Fatalf("%s: %s: %v %v", title, expr, list, err)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	exprs := map[string]string{} // the first of a panel
	for i := range b.code.Health {
		title := b.code.Health[i].Title
		for k, q := range b.file.Panels[i].Panel.Targets {
			expr := q.(*prometheus.Dataquery).Expr
			wait(title, expr, finite)
			if k == 0 {
				exprs[title] = expr
			}
		}
	}
	positive := func(list []sample) bool { return value(list[0].Value[1]) > 0 }
	wait("Queries", exprs["Queries"], positive)
	wait("rows of the history", "weir_history_rows", positive)
	o.aggregator() // as it ends, the history's rows go to the disk
	wait("History on disk", exprs["History on disk"], positive)
	for title, want := range map[string]float64{"Fullest conntrack table": 0.42, "Nodes that are silent": 2, "Sinks that fail": 1, "Broken hops": 1} {
		list, err := promQL(t.Context(), addr, "query", url.Values{"query": {intervals.Replace(exprs[title])}})
		if err != nil || len(list) != 1 || value(list[0].Value[1]) != want {
			t.Errorf("%s: %v %v, want %g", title, list, err, want)
		}
	}
	if *draw {
		for range 3 { // for something to be seen
			o.agent()
			time.Sleep(33 * time.Second)
		}
	}
	drawHealth(t, addr, &b)
}

func finite(list []sample) bool {
	for _, s := range list {
		if v := value(s.Value[1]); math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

func value(v any) float64 {
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

// drawHealth draws the dashboard from Prometheus' answers of the last two minutes.
func drawHealth(t *testing.T, addr string, b *board) {
	t.Helper()
	to := time.Now().Add(time.Second)
	page := &render.Page{Dashboard: b.file, From: to.Add(-2 * time.Minute), To: to, Step: time.Second}
	for i := range b.code.Health {
		f := render.Frame{Columns: []string{"time", "series", "value"}}
		for k, q := range b.file.Panels[i].Panel.Targets {
			list, err := promQL(t.Context(), addr, "query_range", url.Values{
				"query": {intervals.Replace(q.(*prometheus.Dataquery).Expr)}, "start": {fmt.Sprint(page.From.Unix())}, "end": {fmt.Sprint(to.Unix())}, "step": {"1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				name := b.code.Health[i].Targets[k].Legend
				for l, v := range s.Metric {
					name = strings.ReplaceAll(name, "{{"+l+"}}", v)
				}
				for _, p := range s.Values {
					if v := value(p[1]); !math.IsNaN(v) {
						f.Rows = append(f.Rows, []any{time.Unix(int64(p[0].(float64)), 0), name, v})
					}
				}
			}
		}
		page.Frames = append(page.Frames, f)
	}
	picture(t, &b.code, page)
}
