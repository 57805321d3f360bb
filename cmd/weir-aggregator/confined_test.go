package main

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/api/apitest"
	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/kube"
)

const shopToken, teamToken, wholeToken = "token-of-the-shop-people", "token-of-the-seventh-team", "token-of-the-administrator"

// otherwise gives a world in which everything is otherwise that one who sees shop must
// not see: other connections elsewhere, other ends and other numbers of them.
func otherwise(rng *rand.Rand, recs []flow.Record) (out []flow.Record) {
	other := map[uint64]flow.Record{}
	for i := range recs {
		r := recs[i]
		src, dst := r.SrcNS == "shop", r.DstNS == "shop"
		if _, ok := other[r.ConnID]; !ok {
			other[r.ConnID] = flowtest.Random(rng)
		}
		x := other[r.ConnID]
		if !src && !dst {
			for range rng.IntN(4) {
				y := flowtest.Random(rng)
				y.SetSrcNS("bank")
				y.SetDstNS("kube-system")
				y.SetEnd(r.End)
				out = append(out, y)
			}
			continue
		}
		for f := range flow.FieldID(flow.NumFields) {
			e := flow.Exposures[f]
			if e == flow.ExposeSource && !src || e == flow.ExposeTarget && !dst || e == flow.ExposeBoth && (!src || !dst) || f == flow.FID {
				if x.Has.Has(f) {
					r.Copy(f, &x)
				} else {
					r.Has.Clear(f)
				}
			}
		}
		if !dst && r.Has.Has(flow.FSvcPort) {
			r.SetDstPort(x.DstPort)
		}
		if r.Has.Has(flow.FConnID) {
			r.SetConnID(r.ConnID*0x9E3779B97F4A7C15 + 1)
		}
		out = append(out, r)
	}
	return out
}

// site is an aggregator's API over a history with recs.
func site(t *testing.T, recs []flow.Record) http.Handler {
	t.Helper()
	return server(t, recs, recs, 30).Handler()
}

// server has kept in its history, and recs in the stream and, the first of them up to
// untold of the shop, in what is not told yet.
func server(t *testing.T, recs, kept []flow.Record, untold int) *api.Server {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Dir = t.TempDir()
	history, err := store.New(cfg, store.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = history.Close() })
	live := api.NewLive(1000)
	hub := api.NewHub(1 << 12)
	hub.Publish(recs)
	for n := 0; n < len(kept); n += 100 {
		if err := history.Write(t.Context(), kept[n:min(len(kept), n+100)]); err != nil {
			t.Fatal(err)
		}
	}
	held := 0
	for i := range recs { // some are held back, of those in the shop as many in both worlds
		r := recs[i]
		if r.SrcNS == "shop" || r.DstNS == "shop" {
			held++
		}
		if held < untold {
			r.Has.Clear(flow.FRecords)
			live.Publish([]flow.Record{r}, time.Now())
		}
	}
	file := filepath.Join(t.TempDir(), "tokens")
	text := shopToken + " name=shopkeeper namespaces=shop\n" + teamToken + " name=team namespaces=team-07,team-11\n" + wholeToken + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := api.LoadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	limits := api.DefaultQueryLimits()
	s := &api.Server{
		Auth: api.AuthToken, Tokens: tokens, MaxClients: 10, Log: slog.New(slog.DiscardHandler), Hub: hub, Live: live, Limits: limits,
		Caller: api.CallerLimits{Queries: 4, Streams: 4, Rate: 1e9, Burst: 1e9},
		Engine: &answers{history, live, limits.Answer}, OwnBegins: history.Begins, NotReady: func() []string { return nil },
		Cluster: shopPolicies(t),
		Changes: func(q api.ChangeQuery) (c api.Changes) {
			all := []cluster.Change{
				{TimeMs: querytest.Base + 1, Namespace: "shop", Object: "Deployment/cart", Kind: cluster.ChangeRollout, What: "rolled out"},
				{TimeMs: querytest.Base + 2, Object: "Node/" + recs[0].SrcNode, Kind: cluster.ChangeNode, What: "is not ready"},
			}
			for i := range len(recs) % 7 {
				all = append(all, cluster.Change{TimeMs: querytest.Base + 3, Namespace: "bank", Object: fmt.Sprint("Deployment/", i), Kind: cluster.ChangeRollout})
			}
			for i := range all {
				if q.Wants(&all[i]) {
					c.Changes, c.Total = append(c.Changes, all[i]), c.Total+1
				}
			}
			return c
		},
	}
	return s
}

var took = regexp.MustCompile(`"took_(ms|ns)":[0-9.e+-]+`)

// described is the API's own description, to hold answers against.
var described = sync.OnceValue(func() *apitest.Document {
	d, err := apitest.Parse(api.Document())
	if err != nil {
		panic(err)
	}
	return d
})

// shopPolicies is a cluster with a policy of the shop, and one of the bank.
func shopPolicies(t *testing.T) api.Cluster {
	t.Helper()
	w := &world{model: cluster.NewModel(cluster.DefaultLimits())}
	for _, text := range []string{"metadata: {name: a, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}", "metadata: {name: b, namespace: bank}\nspec: {podSelector: {}}"} {
		list, err := kube.ReadPolicies("test", []byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"+text), "")
		if err != nil {
			t.Fatal(err)
		}
		w.model.Apply(1, cluster.Event{NetworkPolicy: list[0]})
	}
	return synced{w}
}

// synced is a world whose source was read.
type synced struct{ *world }

func (synced) Unknown() string { return "" }

// call asks for path; a member body of v is posted.
func call(t *testing.T, h http.Handler, token, path string, v url.Values) (int, string) {
	t.Helper()
	method, body := http.MethodGet, v.Get("body")
	if v.Has("body") {
		method, v = http.MethodPost, maps.Clone(v)
		v.Del("body")
	}
	req := httptest.NewRequest(method, "/api/v1/"+path+"?"+v.Encode(), strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if err := described().Check(req.Method, req.URL.String(), w.Code, w.Header(), w.Body.Bytes()); err != nil {
		t.Error(err)
	}
	return w.Code, took.ReplaceAllString(w.Body.String(), `"took":0`)
}

// simulations asks for changes of policies whose rules probe what is hidden.
func simulations(add func(url.Values)) {
	for _, peer := range []string{
		"", "{podSelector: {}}", "{namespaceSelector: {}}", "{namespaceSelector: {}, podSelector: {matchLabels: {app: cart}}}", "{ipBlock: {cidr: 10.0.0.0/9}}",
		"{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bank}}}", "{namespaceSelector: {matchLabels: {team: a}}}",
	} {
		for _, types := range []string{"ingress: [{from: [%s]}]", "egress: [{to: [%s], ports: [{port: 443}]}]", "egress: [{to: [%s]}, {ports: [{port: https}]}]"} {
			rules := fmt.Sprintf(types, peer)
			kind := strings.ToUpper(types[:1]) + rules[1:strings.IndexByte(rules, ':')]
			add(url.Values{"body": {"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: shop}\nspec: {podSelector: {}, policyTypes: [" + kind + "], " + rules + "}"}})
		}
	}
	add(url.Values{"body": {""}, "remove": {"shop/a"}})
	add(url.Values{"body": {""}, "remove": {"bank/b"}})
}

// TestConfinedCallersLearnNothing tries to get round the confinement: whatever is asked,
// worlds that differ only in what must not be seen give the same answer, byte for byte.
func TestConfinedCallersLearnNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	recs := querytest.Records(rng, 900)
	learnNothing(t, rng, site(t, recs), site(t, otherwise(rng, recs)), 300)
}

// learnNothing asks two worlds the same, with so many generated queries.
func learnNothing(t *testing.T, rng *rand.Rand, a, b http.Handler, queries int) {
	t.Helper()
	rangeOf := func(v url.Values) url.Values {
		v.Set("since", fmt.Sprint(int64(querytest.Base+rng.IntN(querytest.Span/2))))
		v.Set("until", fmt.Sprint(int64(querytest.Base+querytest.Span/2+rng.IntN(querytest.Span))))
		return v
	}
	type request struct {
		path string
		v    url.Values
	}
	var list []request
	add := func(path string, v url.Values) { list = append(list, request{path, v}) }
	for range queries {
		add("query", rangeOf(url.Values{"q": {query.Format(querytest.Query(rng))}}))
		add("flows", url.Values{"last": {"50"}, "query": {query.FormatExpr(querytest.Expr(rng, 3))}})
	}
	// What a spy would ask.
	for _, q := range []string{
		"", "bank", "ns = bank", "src.ip = 0.0.0.0/0 | stats conns", "has conn_id | fields conn_id, id, src.ip, dst.ip", "not has src.ip | stats conns by dst.node",
		"| stats uniq(src.ip), uniq(dst.pod), max(src.port), uniq(conn_id)", "| stats conns by src.pod, dst.pod, src.node, dst.node, observer | top 3", "| sort src.ip | fields src.ip, src.name",
		"ns != shop | stats conns, sum(bytes)", "| stats conns by ingress.policy, egress.policy, scope every 1m", "| stats conns by src.label.app, dst.label.app", "dst.port > 0 | stats conns by dst.port, port",
	} {
		add("query", rangeOf(url.Values{"q": {q}}))
	}
	for _, text := range []string{"src.ip = ", "dst.pod = ", "ns = ", "dst.workload = ", "node = ", "src.label.app = ", "service = ", "bank dst.node = ", "observer = ", "ingress.policy = "} {
		add("complete", rangeOf(url.Values{"text": {text}}))
	}
	for _, level := range []string{"namespace", "workload", "pod"} {
		add("map", rangeOf(url.Values{"level": {level}, "compare": {"true"}}))
		add("map", rangeOf(url.Values{"level": {level}, "q": {"src.ip = 10.0.0.0/8 or dst.node = node-1"}}))
	}
	add("findings", rangeOf(url.Values{}))
	add("differences", rangeOf(url.Values{"q": {"outcome != ok"}}))
	add("differences", rangeOf(url.Values{"q": {"cart"}, "against": {"previous"}}))
	add("differences", url.Values{"from": {fmt.Sprint(querytest.Base + querytest.Span/4)}, "to": {fmt.Sprint(querytest.Base + querytest.Span/2)}, "since": {fmt.Sprint(querytest.Base)}, "until": {fmt.Sprint(querytest.Base + querytest.Span)}})
	add("differences", rangeOf(url.Values{"q": {"dst.node = node-1 or src.ip = 10.0.0.0/9"}}))
	for _, pair := range [][2]string{{"shop/cart", "bank/payments"}, {"bank/payments", "shop/cart"}, {"cart", "payments"}, {"bank/cart", "kube-system/dns"}, {"shop/cart", "shop/cart"}} {
		add("why", rangeOf(url.Values{"src": {pair[0]}, "dst": {pair[1]}}))
	}
	simulated := 0
	simulations(func(v url.Values) {
		if simulated++; queries >= 100 || simulated%4 == 1 { // each costs a slow history much
			add("simulate", rangeOf(v))
			// All of it, too: only one connection in hundreds is told of by half.
			v = maps.Clone(v)
			v.Set("since", fmt.Sprint(int64(querytest.Base)))
			v.Set("until", fmt.Sprint(int64(querytest.Base+2*querytest.Span)))
			add("simulate", v)
		}
	})
	add("openapi.json", nil)
	add("changes", url.Values{"since": {"2025-01-01T00:00:00Z"}})
	for _, path := range []string{"health", "ledger", "ledger/minutes", "coverage", "canaries", "fields", "version"} {
		add(path, nil)
	}
	answered, told, judged := map[string]int{}, 0, 0
	for _, r := range list {
		code, x := call(t, a, shopToken, r.path, r.v)
		code2, y := call(t, b, shopToken, r.path, r.v)
		if code != code2 || x != y {
			t.Fatalf("%s %s: %d and %d\n%s", r.path, r.v, code, code2, cmp.Diff(x, y))
		}
		if code == http.StatusOK {
			answered[r.path]++
		}
		if r.path == "simulate" && strings.Contains(x, `"conns":`) && strings.Contains(x, "not shown") {
			judged++
		}
		if strings.Contains(x, "bank") {
			told++ // namespaces of other ends are not hidden
		}
		if secret := "10.1.2.3"; strings.Contains(x, secret) {
			t.Errorf("%s %s tells %s", r.path, r.v, secret)
		}
	}
	if answered["query"] < queries*2/3 || answered["flows"] < queries*2/3 || told == 0 || judged == 0 {
		t.Errorf("of %d requests %v were answered, %d with another namespace, %d simulations judged some: this proves little", len(list), answered, told, judged)
	}
	for _, path := range []string{"complete", "map", "findings", "differences", "why", "changes", "simulate", "openapi.json"} {
		if answered[path] == 0 {
			t.Errorf("%s was never answered: this proves nothing of it", path)
		}
	}
	// The worlds do differ, for those who may see it.
	v := rangeOf(url.Values{"q": {"| stats conns by src.ip"}})
	_, x := call(t, a, wholeToken, "query", v)
	_, y := call(t, b, wholeToken, "query", v)
	if x == y {
		t.Error("both worlds are the same for the administrator: this proves nothing")
	}
}
