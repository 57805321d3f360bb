package cli

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/api/apitest"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/kube"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/version"
)

var update = flag.Bool("update", false, "write the golden parts of the scripts again")

// TestMain makes weirctl and kubectl-weir commands of the scripts.
func TestMain(m *testing.M) {
	run := func() {
		env := stdEnv(version.Info{Version: "v0.1.0", Go: "go1.26", Platform: "linux/amd64"}, nil)
		env.Now = fixedNow
		if os.Getenv("WEIRCTL_TEST_FAULT") == "ask" { // where a question looks for its server
			env.Getenv = func(name string) string {
				if name == "WEIR_SERVER" {
					panic("a fault for the test")
				}
				return os.Getenv(name)
			}
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := Run(ctx, env, os.Args)
		stop()
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){"weirctl": run, "kubectl-weir": run})
}

// fixedNow is when the scripts are played.
func fixedNow() time.Time { return time.Date(2026, 3, 14, 4, 0, 0, 0, time.UTC) }

// TestScripts runs testdata/*.txtar. `server FILE` serves the flows of a file of
// JSON lines with a ledger that has losses, and sets WEIR_SERVER, with a second word
// token, ring or recent one that wants a token, keeps no history, or has the flows as
// long ago as the scripts' clock has them; `status N CMD` wants that
// exit status.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": serve,
			"status": status,
		},
	})
}

func status(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

func serve(ts *testscript.TestScript, _ bool, args []string) {
	s := &api.Server{
		Auth: api.AuthNone, MaxClients: 4, Log: slog.New(slog.DiscardHandler), Hub: api.NewHub(1024),
		Version:  version.Info{Version: "v0.1.0", Go: "go1.26", Platform: "linux/amd64"},
		NotReady: func() []string { return nil },
		Books: func() api.Books {
			n := uint64(8)
			return api.Books{
				Canaries: &n,
				Stages: []ledger.Line{
					{Stage: "collect", In: ledger.Amount{Records: 100, Connections: 40, Bytes: 5000}, Out: ledger.Amount{Records: 97, Connections: 39, Bytes: 4800}, Lost: map[string]ledger.Amount{"queue_full": {Records: 3, Connections: 1, Bytes: 200}}},
				},
				Agents: []api.AgentBooks{{Agent: "node-1", Stages: []ledger.Line{
					{Stage: "track", In: ledger.Amount{Records: 50, Connections: 20, Bytes: 2500}, Out: ledger.Amount{Records: 48, Connections: 19, Bytes: 2400}, Held: ledger.Amount{Records: 2, Connections: 1, Bytes: 100}},
				}}},
			}
		},
	}
	s.Minutes, s.Changes, s.Cluster = minuteBooks, changes, shop{}
	a, b := facts("node-1"), facts("node-2")
	b.Bridges = []coverage.Bridge{{Name: "cni0", Ports: 14}}
	now := time.Date(2026, 3, 14, 4, 0, 0, 0, time.UTC)
	s.Coverage = func() api.Coverage {
		return api.NewCoverage(now, []api.NodeCoverage{{Table: coverage.Decide(&a), At: now.Add(-time.Hour)}, {Table: coverage.Decide(&b), At: now}}, 3)
	}
	if len(args) > 1 && args[1] == "token" {
		file := ts.MkAbs("token")
		ts.Check(os.Chmod(file, 0o600))
		tokens, err := api.LoadTokens(file)
		ts.Check(err)
		s.Auth, s.Tokens = api.AuthToken, tokens
	}
	for line := range bytes.Lines([]byte(ts.ReadFile(args[0]))) {
		var r flow.Record
		if err := flow.ParseJSON(bytes.TrimSpace(line), &r); err != nil {
			ts.Fatalf("%s: %v", args[0], err)
		}
		if len(args) > 1 && args[1] == "recent" {
			shift := time.Now().UnixMilli() - fixedNow().UnixMilli()
			r.Start, r.Since, r.End = r.Start+shift, r.Since+shift, r.End+shift
		}
		s.Hub.Publish([]flow.Record{r})
	}
	s.Limits = api.DefaultQueryLimits()
	if len(args) < 2 || args[1] != "ring" {
		s.Engine = &memory{s.Hub}
	}
	doc, err := apitest.Parse(api.Document())
	ts.Check(err)
	h := httptest.NewServer(doc.Watch(s.Handler(), func(err error) { log.Fatal(err) })) // what the scripts rest on is wrong
	ts.Defer(h.Close)
	ts.Setenv("WEIR_SERVER", h.URL)
}

// memory answers queries from the newest records, as the history does from all.
type memory struct{ hub *api.Hub }

func (m *memory) Answer(_ context.Context, a *query.Answer) error {
	e, err := query.NewEvaluator(a)
	if err != nil {
		return err
	}
	recs := make([]flow.Record, m.hub.Seq())
	n, _, _, _ := m.hub.Read(0, recs)
	for i := range recs[:n] {
		if err := e.Add(&recs[i]); err != nil {
			return err
		}
	}
	return e.Finish()
}

func changes(q api.ChangeQuery) (c api.Changes) {
	at := fixedNow().Add(-50 * time.Minute).UnixMilli()
	for _, x := range []cluster.Change{
		{ID: 1, TimeMs: at, Kind: cluster.ChangeRollout, Namespace: "shop", Object: "Deployment/payments", What: "rolled out"},
		{ID: 2, TimeMs: at + 1000, Kind: cluster.ChangePolicy, Namespace: "shop", Object: "NetworkPolicy/open", What: "was changed"},
		{ID: 3, TimeMs: at + 2000, Kind: cluster.ChangeNode, Object: "Node/node-3", What: "is not ready", Bad: true},
	} {
		if q.Wants(&x) {
			c.Changes, c.Total = append(c.Changes, x), c.Total+1
		}
	}
	c.Source = "test"
	return c
}

// shop is a cluster with one policy that selects nothing.
type shop struct{}

func (shop) Unknown() string { return "" }
func (shop) ReadPolicies(text []byte, namespace string) ([]*cluster.NetworkPolicy, error) {
	return kube.ReadPolicies("policies", text, namespace)
}

func (shop) InForce(namespace string) []*cluster.NetworkPolicy {
	if namespace != "shop" {
		return nil
	}
	none := cluster.Selector{{Key: "app", Op: cluster.In, Values: []string{"nothing"}}}
	return []*cluster.NetworkPolicy{{Namespace: "shop", Name: "open", Pods: none, Ingress: true}}
}

func (shop) NamespaceLabels(namespace string) map[string]string {
	return map[string]string{"kubernetes.io/metadata.name": namespace, "team": map[string]string{"bank": "money"}[namespace]}
}

func (shop) Pods(string) []*cluster.PodState { return nil }

// minuteBooks are two minutes of a node; in the second one record vanished.
func minuteBooks(last int) []ledger.MinuteBook {
	at := time.Date(2026, 3, 14, 3, 12, 0, 0, time.UTC)
	books := []ledger.MinuteBook{
		{Time: at, Process: "node-1", Instance: "a", First: true, Stages: []ledger.MinuteLine{
			{Stage: "track", In: ledger.Change{Records: 50}, Out: ledger.Change{Records: 48}, Held: ledger.Amount{Records: 2}},
		}},
		{Time: at.Add(time.Minute), Process: "node-1", Instance: "a", Stages: []ledger.MinuteLine{
			{Stage: "track", Before: ledger.Amount{Records: 2}, In: ledger.Change{Records: 10}, Out: ledger.Change{Records: 8}, Lost: map[string]ledger.Change{"evicted": {Records: 3}}},
		}},
	}
	return books[:min(last, 2)]
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"shop/cart":    "shop/cart",
		"naïve-名":      "naïve-名",
		"a\x1b[31mred": `a\u001b[31mred`,
		"a\nb\x00":     `a\u000ab\u0000`,
		"\u009b2J":     `\u009b2J`,
		"abc\u202egnp": `abc\u202egnp`,
		"bad\xffutf":   `bad\xffutf`,
		"\U000e0041":   `\U000e0041`,
		"\u2028line":   `\u2028line`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := string(cleanJSON([]byte("{\"a\":\"x\u009b\U000e0041\"}"))); got != `{"a":"x\u009b\udb40\udc41"}` {
		t.Errorf("cleanJSON = %s", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1500: "1.5 kB", 99940: "99.9 kB", 99960: "100 kB", 999499: "999 kB", 999500: "1.0 MB", 1 << 40: "1.1 TB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[0m\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range clean(s) {
			if unsafeRune(r) {
				t.Errorf("clean(%q) lets %U pass", s, r)
			}
		}
	})
}

// TestPlainClientOfTLSServer is told what to do.
func TestPlainClientOfTLSServer(t *testing.T) {
	h := httptest.NewTLSServer(http.NotFoundHandler())
	defer h.Close()
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	var out, errs bytes.Buffer
	env := Env{Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Now: time.Now}
	status := Run(t.Context(), env, []string{"weirctl", "ledger", "--server", strings.TrimPrefix(h.URL, "https://")})
	if status != ExitError || !strings.Contains(errs.String(), "speaks TLS: give the CA") {
		t.Errorf("status %d: %s", status, errs.String())
	}
	errs.Reset()
	status = Run(t.Context(), env, []string{"weirctl", "ledger", "--server", h.URL})
	if status != ExitError || !strings.Contains(errs.String(), "with --ca-file") {
		t.Errorf("status %d: %s", status, errs.String())
	}
}
