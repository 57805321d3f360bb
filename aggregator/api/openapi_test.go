package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/aggregator/api/apitest"
	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/aggregator/why"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/version"
)

// described is the document, strict.
func described(t *testing.T) *apitest.Document {
	t.Helper()
	d, err := apitest.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDocumentIsOpenAPI(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	if !doc.IsOpenAPI31OrLater() {
		t.Errorf("it says that it is %s", doc.OpenAPI)
	}
	// A schema that says nothing of an object's members lets everything through.
	for name, s := range doc.Components.Schemas {
		if s.Value.Type.Is("object") && len(s.Value.Properties) == 0 && s.Value.AdditionalProperties.Schema == nil {
			t.Errorf("schema %s is a bare object", name)
		}
	}
}

// TestDocumentHasEveryRoute holds routes, who may ask, and parameters against the
// document, both ways.
func TestDocumentHasEveryRoute(t *testing.T) {
	d := described(t)
	have := map[string]bool{}
	for _, r := range (&Server{}).routes() {
		have[r.method+" "+r.path] = r.whole
		params := strings.Fields(strings.ReplaceAll(r.params, "-", ""))
		slices.Sort(params)
		if diff := cmp.Diff(params, d.Parameters(r.method, r.path)); diff != "" {
			t.Errorf("%s %s: the route's parameters are not the document's:\n%s", r.method, r.path, diff)
		}
	}
	if diff := cmp.Diff(have, d.Operations()); diff != "" {
		t.Error(diff)
	}
}

// TestDocumentHasEveryField holds the schema of a flow against the table.
func TestDocumentHasEveryField(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas struct {
				Flow struct {
					Properties map[string]json.RawMessage
				}
			}
		}
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	props := doc.Components.Schemas.Flow.Properties
	for _, f := range flow.Fields {
		if props[f.Name] == nil {
			t.Errorf("no field %s: run make generate", f.Name)
		}
	}
	if len(props) != len(flow.Fields) {
		t.Errorf("%d fields, the table has %d", len(props), len(flow.Fields))
	}
}

// everything is a server that has an answer to all, with every field in some answer.
func everything(t *testing.T) *Server {
	t.Helper()
	s, _ := server(t, 1024)
	rng := rand.New(rand.NewPCG(1, 2))
	n := uint64(8)
	now := time.Now()
	recs := append(incident(), payments(900, "ok", time.Minute), payments(901, "ok", 90*time.Minute))
	s.Hub.Publish(recs)
	for range 200 {
		r := flowtest.Random(rng)
		s.Hub.Publish([]flow.Record{r})
	}
	amount := ledger.Amount{Records: 3, Connections: 1, Bytes: 200}
	s.Version = version.Info{Version: "v0.1.0", Revision: "abc", Time: "now", Modified: true, Go: "go1.26", Platform: "linux/amd64"}
	s.Limits, s.Engine, s.Cluster = DefaultQueryLimits(), &memory{recs: recs}, shopCluster(t)
	line := ledger.Line{Stage: "collect", In: amount, Out: amount, Lost: map[string]ledger.Amount{"queue_full": amount}}
	s.Books = func() Books {
		return Books{Time: now, Stages: []ledger.Line{line}, Former: []ledger.Line{line}, Canaries: &n, Agents: []AgentBooks{{Agent: "node-1", Instance: "a", Time: now, Stages: []ledger.Line{line}}}}
	}
	s.Minutes = func(int) []ledger.MinuteBook {
		change := ledger.Change{Records: -1}
		return []ledger.MinuteBook{{Time: now, Process: "node-1", Instance: "a", First: true, Stages: []ledger.MinuteLine{{Stage: "track", In: change, Lost: map[string]ledger.Change{"evicted": change}}}}}
	}
	s.Coverage = func() Coverage {
		f := coverage.Facts{Node: "node-1"}
		table := coverage.Decide(&f)
		table.Pressure = &pressure.State{Count: 3, Max: 5, Clients: []pressure.Owner{{Name: "shop/cart", Entries: 3}}, Servers: []pressure.Owner{{Name: "shop/payments", Entries: 3}}}
		return NewCoverage(now, []NodeCoverage{{Table: table, At: now.Add(-time.Hour)}}, 3)
	}
	s.Canaries = func() canary.View {
		mark := canary.Mark{Stage: "track", AtMs: 1, StartMs: 1, Records: 1, Counted: true, Outcome: "ok", Src: "a", Dst: "b", SrcNode: "n", DstNode: "n", To: "x"}
		return canary.View{
			NowMs: 1, Connected: true, Held: 1, Traces: []canary.Trace{{Key: "k", Marks: []canary.Mark{mark}}},
			Sinks: []canary.SinkView{{Name: "file", Filtered: true, Error: "full", Held: 1}},
		}
	}
	s.Verify = func() []canary.NodeRuns {
		sent := canary.Sent{Kind: canary.Refused, Family: "v4", Key: "k", Kernel: &canary.Numbers{}, KernelWhy: "w", Denied: true, Path: canary.Self("n")}
		return []canary.NodeRuns{{
			Node: "n", Result: canary.ResultFailed, BeganMs: 1, LastOKMs: 1,
			Verdict: &canary.Verdict{Canaries: []canary.Sent{sent}, Hops: []canary.Hop{{Name: "send", States: []canary.State{canary.After}, Why: "w", Remedy: "r"}}, Broken: "send", Why: "w", Remedy: "r"},
		}}
	}
	change := cluster.Change{ID: 1, TimeMs: 1, Kind: cluster.ChangePolicy, Namespace: "shop", Object: "NetworkPolicy/in", What: "changed", Bad: true}
	s.Changes = func(ChangeQuery) Changes { return Changes{Changes: []cluster.Change{change}, Total: 1, Source: "test"} }
	s.Nodes = func() []findings.Node { return []findings.Node{{Name: "node-9", Silent: true}} }
	s.Gather = func(f *why.Facts, _, _ End, _ *flow.Visibility) { f.Changes = []cluster.Change{change} }
	return s
}

// failing is an Engine that cannot answer.
type failing struct{}

func (f *failing) Answer(context.Context, *query.Answer) error { return errors.New("too many groups") }

// good is what each operation answers with 200, by path.
var good = map[string][]string{
	"flows": {"last=500", "last=3&follow=false&where=port=443&query=has+end&since=5h"},
	"query": {
		"q=cart",
		"q=|+stats+conns,sum(bytes),p95(rtt),uniq(dst.pod)+by+dst.workload,outcome+every+1m&since=2h&until=0s&limit=2",
		"q=|+stats+min(rtt),max(rtt)+by+src.ns+|+top+1",
		"q=cart&part=true",
		"q=cart&part=true&facet=src.ns&facet=dst.port",
		"q=cart&limit=11000",
		"q=|+stats+sum(bytes),p50(rtt),uniq(src.pod)+by+dst.port&part=true&visible=shop&visible=bank",
	},
	"complete": {"text=src.workload+%3D+", "text=outc&cursor=2&since=1h&until=0s", "text=%7C+"},
	"findings": {"", "since=1h&until=0s"},
	"map": {
		"level=pod&compare=true&since=1h&until=0s",
		"q=cart",
	},
	"why": {"src=shop/cart&dst=shop/payments&port=8443&since=1h&until=0s", "src=nobody&dst=nothing"},
	"differences": {
		"q=outcome+!%3D+ok&since=2h&until=0s",
		"q=nobody",
	},
	"changes":        {"kind=policy&kind=node&ns=shop&ns=bank&limit=3&since=1h&until=0s"},
	"ledger/minutes": {"last=3", ""},
	"simulate":       {"", "q=cart&since=2h&until=0s&namespace=shop&remove=shop/open"},
}

// asker asks a server, and holds what it answers against the document.
func asker(t *testing.T, s *Server, d *apitest.Document) func(token, method, target, accept string) int {
	t.Helper()
	return func(token, method, target, accept string) int {
		var body *strings.Reader
		path, form, _ := strings.Cut(target, "?")
		switch {
		case method == http.MethodGet:
			path, body = target, strings.NewReader("")
		case path == "simulate":
			path, body = target, strings.NewReader(onlyFront)
		default:
			body = strings.NewReader(form)
		}
		req := httptest.NewRequest(method, "/api/v1/"+path, body)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		if err := d.Check(method, "/api/v1/"+path, w.Code, w.Header(), w.Body.Bytes()); err != nil {
			t.Error(err)
		}
		return w.Code
	}
}

// TestAnswersAreAsDescribed asks every operation for every form of its answers, from
// real handlers, and holds each against the document.
func TestAnswersAreAsDescribed(t *testing.T) {
	d := described(t)
	s := everything(t)
	whole, shop := withTokens(t, s)
	s.Caller = CallerLimits{Queries: 4, Streams: 4, Rate: 1e9, Burst: 1e9}
	gone := httptest.NewServer(nil)
	gone.Close()
	ask := asker(t, s, d)
	for _, r := range s.routes() {
		for _, params := range append(good[r.path], "") {
			if params == "" && (good[r.path] != nil && !slices.Contains(good[r.path], "")) {
				continue
			}
			for _, accept := range []string{"", jsonMedia, "text/event-stream", csvMedia, partsMedia} {
				if accept == jsonMedia && strings.Contains(params, "limit=11000") {
					continue
				}
				if code := ask(whole, r.method, r.path+"?"+params, accept); code != http.StatusOK {
					t.Errorf("%s %s?%s answers %d", r.method, r.path, params, code)
				}
			}
		}
		ask(whole, r.method, r.path+"?nosuch=1", "")
		ask("nobody-knows-this-token", r.method, r.path, "")
		if code := ask(shop, r.method, r.path, ""); r.whole != (code == http.StatusForbidden) {
			t.Errorf("%s answers %d to one who sees a namespace", r.path, code)
		}
	}
	ask(whole, http.MethodGet, "query?q=outcom+%3D+ok", "")
	s.Peers = []Peer{{Name: "gone", URL: gone.URL, Client: gone.Client()}}
	ask(whole, http.MethodGet, "query?q=cart", "application/json")
	ask(whole, http.MethodGet, "query?q=cart", "")
	s.Peers = nil
	s.NotReady = func() []string { return []string{"collect"} }
	ask(whole, http.MethodGet, "health", "")
	full := []string{"complete", "fields", "version", "health", "openapi.json", "flows", "ledger", "ledger/minutes"} // never 404 or 422
	s.Engine = &failing{}
	for _, r := range s.routes() {
		if params := good[r.path]; params != nil && !slices.Contains(full, r.path) {
			ask(whole, r.method, r.path+"?"+params[0], "")
		}
	}
	s.Engine, s.Cluster, s.Changes, s.Coverage, s.Canaries, s.Verify = nil, nil, nil, nil, nil, nil
	for _, r := range s.routes() {
		params := ""
		if good[r.path] != nil {
			params = good[r.path][0]
		}
		ask(whole, r.method, r.path+"?"+params, "")
	}
	s.Engine = &memory{wait: true}
	s.Limits.Timeout = time.Millisecond
	ask(whole, http.MethodGet, "query?q=cart", "")
	s.Caller.Rate, s.Caller.Burst = 0, 0
	s.usage = usage{}
	ask(whole, http.MethodGet, "version", "")

	for _, form := range d.Forms() {
		status := strings.Fields(form)[2]
		if (status == "200" || status == "404" || status == "422" || status == "400") && !d.Seen(form) {
			t.Errorf("described and not seen: %s", form)
		}
	}
}

// TestCheckIsStrict: what the document does not describe is found.
func TestCheckIsStrict(t *testing.T) {
	d := described(t)
	h := http.Header{"Content-Type": {"application/json"}}
	for _, c := range []struct{ path, body, want string }{
		{"version", `{"version":"v1","go":"go1","platform":"x"}`, ""},
		{"version", `{"version":"v1","go":"go1","platform":"x","more":1}`, "additional properties 'more' not allowed"},
		{"version", `{"version":1,"go":"go1","platform":"x"}`, "want string"},
		{"version", `{"go":"go1","platform":"x"}`, "missing property 'version'"},
		{"changes", `{"changes":[{"id":"00000000000000a1","time_ms":1,"kind":"war","object":"a","what":"b"}],"total":1,"source":""}`, "value must be one of"},
		{"changes", `{"changes":[{"id":1,"time_ms":1,"kind":"node","object":"a","what":"b"}],"total":1,"source":""}`, "want string"},
		{"changes", `{"changes":null,"total":1,"source":""}`, "want array"},
		{"nosuch", `{}`, "no such operation"},
	} {
		err := d.Check(http.MethodGet, "/api/v1/"+c.path, http.StatusOK, h, []byte(c.body))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.path, c.body, err, c.want)
		}
	}
	h.Set("Content-Type", "application/x-ndjson")
	for line, want := range map[string]string{
		`{"src.ip":"10.0.0.1","outcome":"ok","evidence":["socket","bit7"],"conn_id":"00c0ffee00c0ffee"}`: "",
		`{"weir":{"end":true}}`:   "",
		`{"outcome":"200"}`:       "",
		`{"outcome":"fine"}`:      "'oneOf' failed",
		`{"src.ipp":"10.0.0.1"}`:  "'oneOf' failed",
		`{"conn_id":7}`:           "'oneOf' failed",
		`{"dst.port":70000}`:      "'oneOf' failed",
		`{"start":"yesterday"}`:   "'oneOf' failed",
		`{"weir":{"skipped":-1}}`: "'oneOf' failed",
	} {
		err := d.Check(http.MethodGet, "/api/v1/flows", http.StatusOK, h, []byte(line+"\n"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// TestEveryRecordIsAsDescribed: whatever a record holds, its JSON is a Flow.
func TestEveryRecordIsAsDescribed(t *testing.T) {
	d := described(t)
	rng := rand.New(rand.NewPCG(3, 4))
	h := http.Header{"Content-Type": {"application/x-ndjson"}}
	seen := map[flow.FieldID]bool{}
	for i := range 300 {
		r := flowtest.Random(rng)
		if err := d.Check(http.MethodGet, "/api/v1/flows", http.StatusOK, h, append(flow.AppendJSON(nil, &r), '\n')); err != nil {
			t.Fatal(fmt.Errorf("record %d: %w", i, err))
		}
		for f := range flow.FieldID(flow.NumFields) {
			seen[f] = seen[f] || r.Has.Has(f)
		}
	}
	for f := range flow.FieldID(flow.NumFields) {
		if !seen[f] {
			t.Errorf("no record had %s: this proves little", f)
		}
	}
}
