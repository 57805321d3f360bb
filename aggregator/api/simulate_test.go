package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/kube"
)

// knownCluster is a Cluster in memory.
type knownCluster struct {
	why      string
	policies map[string][]*cluster.NetworkPolicy
	labels   map[string]map[string]string
	pods     map[string][]*cluster.PodState
}

func (k *knownCluster) Unknown() string { return k.why }
func (k *knownCluster) ReadPolicies(text []byte, ns string) ([]*cluster.NetworkPolicy, error) {
	return kube.ReadPolicies("policies", text, ns)
}
func (k *knownCluster) InForce(ns string) []*cluster.NetworkPolicy  { return k.policies[ns] }
func (k *knownCluster) NamespaceLabels(ns string) map[string]string { return k.labels[ns] }
func (k *knownCluster) Pods(ns string) []*cluster.PodState          { return k.pods[ns] }

const policyHead = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"

// onlyFront lets nobody but the front reach payments.
const onlyFront = policyHead + `metadata: {name: pay-in, namespace: shop}
spec:
  podSelector: {matchLabels: {app: payments}}
  ingress: [{from: [{podSelector: {matchLabels: {app: front}}}], ports: [{port: https}]}]
`

func shopCluster(t *testing.T) *knownCluster {
	t.Helper()
	open, err := kube.ReadPolicies("open", []byte(policyHead+"metadata: {name: open, namespace: shop}\nspec: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress], ingress: [{}]}"), "")
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name, app string) *cluster.PodState {
		id := &cluster.Identity{Kind: flow.EndPod, Namespace: "shop", Name: name, Workload: "Deployment/" + app, Labels: fmt.Sprintf(`{"app":%q}`, app)}
		id.Ports = []cluster.Port{{Name: "https", Proto: 6, Number: 8443}}
		return &cluster.PodState{Identity: id}
	}
	return &knownCluster{
		policies: map[string][]*cluster.NetworkPolicy{"shop": open},
		labels:   map[string]map[string]string{"shop": {"kubernetes.io/metadata.name": "shop"}, "bank": {"kubernetes.io/metadata.name": "bank", "team": "money"}},
		pods:     map[string][]*cluster.PodState{"shop": {pod("payments-1", "payments"), pod("cart-0", "cart")}},
	}
}

// shopping is a connection of "NAMESPACE/APP" or a kind of end to another, minutes ago.
func shopping(conn uint64, src, dst string, port uint16, ago time.Duration) flow.Record {
	r := told(conn, "", "ok", 100)
	r.SetEnd(time.Now().Add(-ago).UnixMilli())
	r.SetStart(r.End - 1000)
	r.SetSince(r.Start)
	r.SetDstPort(port)
	for i, what := range []string{src, dst} {
		ns, app, pod := strings.Cut(what, "/")
		set := func(f [2]flow.FieldID, text string) {
			if err := r.SetText(f[i], text); err != nil {
				panic(err)
			}
		}
		if !pod {
			r.Has.Clear([2]flow.FieldID{flow.FSrcNS, flow.FDstNS}[i])
			r.Has.Clear([2]flow.FieldID{flow.FSrcWorkload, flow.FDstWorkload}[i])
			set([2]flow.FieldID{flow.FSrcKind, flow.FDstKind}, what)
			continue
		}
		set([2]flow.FieldID{flow.FSrcKind, flow.FDstKind}, "pod")
		set([2]flow.FieldID{flow.FSrcNS, flow.FDstNS}, ns)
		set([2]flow.FieldID{flow.FSrcWorkload, flow.FDstWorkload}, "Deployment/"+app)
		set([2]flow.FieldID{flow.FSrcPod, flow.FDstPod}, app+"-0")
		set([2]flow.FieldID{flow.FSrcLabels, flow.FDstLabels}, fmt.Sprintf(`{"app":%q}`, app))
	}
	return r
}

func post(t *testing.T, token, u, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/yaml")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// shop is a server with a day of the shop's traffic.
func shop(t *testing.T) (*Server, *httptest.Server) {
	t.Helper()
	s, h := server(t, 8)
	bird := shopping(9, "shop/cart", "shop/payments", 8443, time.Hour)
	bird.SetCanary(true)
	gone := shopping(10, "shop/job", "shop/payments", 8443, time.Hour)
	gone.Has.Clear(flow.FSrcLabels)
	s.Limits, s.Cluster = DefaultQueryLimits(), shopCluster(t)
	s.Engine = &memory{recs: []flow.Record{
		shopping(1, "shop/cart", "shop/payments", 8443, 3*time.Hour), shopping(2, "shop/cart", "shop/payments", 8443, time.Hour),
		shopping(3, "shop/front", "shop/payments", 8443, time.Hour), shopping(4, "shop/front", "shop/payments", 9090, time.Hour),
		shopping(5, "bank/audit", "shop/payments", 8443, time.Hour), shopping(6, "external", "shop/payments", 8443, time.Hour),
		shopping(7, "bank/audit", "bank/vault", 8443, time.Hour), shopping(8, "shop/payments", "shop/cart", 80, time.Hour),
		bird, gone,
	}}
	return s, h
}

func simulated(t *testing.T, a answer) (x Simulation, lines []string) {
	t.Helper()
	if a.code != http.StatusOK {
		t.Fatalf("%d %s", a.code, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &x); err != nil {
		t.Fatal(err)
	}
	for _, g := range x.Changed {
		lines = append(lines, fmt.Sprintf("%s -> %s:%d %s->%s x%d", g.Src, g.Dst, g.Port, g.Was, g.Becomes, g.Count))
	}
	return x, lines
}

func TestSimulate(t *testing.T) {
	s, h := shop(t)
	x, got := simulated(t, post(t, "", h.URL+"/api/v1/simulate?since=24h", onlyFront))
	want := []string{
		"shop/Deployment/cart -> shop/Deployment/payments:8443 unprotected->denied x2",
		"bank/Deployment/audit -> shop/Deployment/payments:8443 unprotected->denied x1",
		"external -> shop/Deployment/payments:8443 unprotected->denied x1",
		"shop/Deployment/front -> shop/Deployment/payments:9090 unprotected->denied x1",
		"shop/Deployment/front -> shop/Deployment/payments:8443 unprotected->allowed x1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if x.Denied != 5 || x.Allowed != 0 || x.Judged != 8 || x.Unchanged != 2 || x.Unjudged["a pod is gone, and its labels were not recorded"] != 1 {
		t.Errorf("%+v", x)
	}
	if d := cmp.Diff([]SimulatedPolicy{{"shop", "pay-in", PolicyAdded}}, x.Policies); d != "" {
		t.Error(d)
	}
	first, last := time.UnixMilli(x.Changed[0].FirstMs), time.UnixMilli(x.Changed[0].LastMs)
	if now := time.Now(); now.Sub(first) < 3*time.Hour || now.Sub(first) > 3*time.Hour+time.Minute || now.Sub(last) > time.Hour+time.Minute {
		t.Errorf("first %v, last %v", first, last)
	}
	if w := x.Changed[0].Why; w != "ingress denied by shop/pay-in, nearest allow shop/pay-in[0]: peers are app=front in shop" {
		t.Error(w)
	}
	// The query of a group shows its connections.
	for _, g := range x.Changed {
		if _, rows, _ := ask(t, h, g.Query+" | stats active", "since", "24h"); len(rows) != 1 || rows[0].Values[0] != float64(g.Count) {
			t.Errorf("%s gives %v, want %d", g.Query, rows, g.Count)
		}
	}
	// A condition narrows it.
	if _, got = simulated(t, post(t, "", h.URL+"/api/v1/simulate?since=24h&q=src.workload+%3D+front", onlyFront)); len(got) != 2 {
		t.Errorf("%v", got)
	}
	// What goes, and what replaces.
	x, got = simulated(t, post(t, "", h.URL+"/api/v1/simulate?since=24h&remove=shop/open", ""))
	if d := cmp.Diff([]string{"shop/Deployment/payments -> shop/Deployment/cart:80 allowed->unprotected x1"}, got); d != "" || x.Policies[0].Change != PolicyRemoved {
		t.Error(d)
	}
	x, got = simulated(t, post(t, "", h.URL+"/api/v1/simulate?since=24h&namespace=shop", policyHead+"metadata: {name: open}\nspec: {podSelector: {}, policyTypes: [Ingress]}"))
	if len(got) != 6 || x.Denied != 7 || x.Policies[0].Change != PolicyReplaced {
		t.Errorf("%v %+v", got, x)
	}
	// Blocks of addresses are looked at.
	_, got = simulated(t, post(t, "", h.URL+"/api/v1/simulate?since=24h", strings.Replace(onlyFront, "podSelector: {matchLabels: {app: front}}", "ipBlock: {cidr: 10.0.0.0/8}", 1)))
	if len(got) != 5 || strings.Count(strings.Join(got, " "), "denied") != 1 {
		t.Errorf("%v", got)
	}
	s.Engine.(*memory).recs = nil //nolint:forcetypeassert // it is one
	if x, _ := simulated(t, post(t, "", h.URL+"/api/v1/simulate", onlyFront)); x.Judged != 0 {
		t.Errorf("of nothing: %+v", x)
	}
}

func TestSimulateIsStrict(t *testing.T) {
	s, h := shop(t)
	for _, c := range []struct {
		params, body string
		code         int
		want         string
	}{
		{"", "", 400, "policies: it holds no NetworkPolicy"},
		{"", "{", 400, "policies:1: "},
		{"", strings.Replace(onlyFront, "ingress", "ingres", 1), 400, `policies:6: unknown field \"spec.ingres\"`},
		{"", strings.Replace(onlyFront, "port: https", "port: 99999", 1), 400, "policies:6: spec.ingress[0].ports[0].port"},
		{"", strings.Replace(onlyFront, "kind: NetworkPolicy", "kind: Pod", 1), 400, "policies:2: kind: "},
		{"", strings.Replace(onlyFront, ", namespace: shop", "", 1), 400, "policies:3: metadata.namespace is missing"},
		{"namespace=Shop", onlyFront, 400, "namespace: "},
		{"remove=open", "", 400, "write NAMESPACE/NAME"},
		{"remove=shop/opne", "", 400, "there is no NetworkPolicy opne in namespace shop"},
		{"remove=shop/open&remove=shop/pay-in", onlyFront, 400, "there is no NetworkPolicy pay-in"},
		{"q=outcom+%3D+ok", onlyFront, 400, `"near":"outcome"`},
		{"q=cart+|+limit+3", onlyFront, 400, "no stages"},
		{"since=1h&until=2h", onlyFront, 400, "the range is empty"},
		{"policy=x", onlyFront, 400, `unknown parameter \"policy\"`},
		{"", strings.Repeat("# too long\n", 1<<17), 400, "request body too large"},
		{"&" + strings.Repeat("remove=a/b&", 101), "", 400, "101 policies are too many"},
	} {
		if a := post(t, "", h.URL+"/api/v1/simulate?"+c.params, c.body); a.code != c.code || !strings.Contains(a.body, c.want) {
			t.Errorf("%.40s %.60s: %d %s, want %d %s", c.params, c.body, a.code, a.body, c.code, c.want)
		}
	}
	s.Cluster.(*knownCluster).why = "not read yet" //nolint:forcetypeassert // it is one
	if a := post(t, "", h.URL+"/api/v1/simulate", onlyFront); a.code != 503 || !strings.Contains(a.body, "the policies in force are not known: not read yet") {
		t.Errorf("%d %s", a.code, a.body)
	}
	s.Cluster = nil
	if a := post(t, "", h.URL+"/api/v1/simulate", onlyFront); a.code != 404 {
		t.Errorf("%d %s", a.code, a.body)
	}
}

// TestSimulateIsConfined: one who sees the shop learns what his policies do to his own,
// and nothing that rests on labels, addresses or policies of others.
func TestSimulateIsConfined(t *testing.T) {
	s, h := shop(t)
	_, keeper := withTokens(t, s)
	recs := s.Engine.(*memory).recs //nolint:forcetypeassert // it is one
	for i := range recs {
		recs[i].SetSrcIP(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	u := h.URL + "/api/v1/simulate?since=24h"
	x, got := simulated(t, post(t, keeper, u, onlyFront))
	want := []string{
		"shop/Deployment/cart -> shop/Deployment/payments:8443 unprotected->denied x2",
		"bank/ -> shop/Deployment/payments:8443 unprotected->denied x1",
		"external -> shop/Deployment/payments:8443 unprotected->denied x1",
		"shop/Deployment/front -> shop/Deployment/payments:9090 unprotected->denied x1",
		"shop/Deployment/front -> shop/Deployment/payments:8443 unprotected->allowed x1",
	}
	if d := cmp.Diff(want, got); d != "" || x.Judged != 7 {
		t.Errorf("%s %+v", d, x)
	}
	// Probes: labels of a namespace, of a pod in it, an address.
	for _, peer := range []string{
		"namespaceSelector: {matchLabels: {team: money}}", "namespaceSelector: {matchLabels: {team: nosuch}}",
		"namespaceSelector: {}, podSelector: {matchLabels: {app: audit}}", "namespaceSelector: {}, podSelector: {matchLabels: {app: nosuch}}",
		"ipBlock: {cidr: 10.0.0.4/32}", "ipBlock: {cidr: 192.0.2.0/24}",
	} {
		a := post(t, keeper, u, strings.Replace(onlyFront, "podSelector: {matchLabels: {app: front}}", peer, 1))
		x, got := simulated(t, a)
		if strings.Contains(strings.Join(got, " "), "bank") || x.Unjudged["the policies ask for what is not shown of ends in other namespaces"] == 0 || strings.Contains(a.body, "vault") {
			t.Errorf("%s tells %v %v", peer, got, x.Unjudged)
		}
	}
	for _, params := range []string{"", "&remove=bank/secret"} {
		body := strings.Replace(onlyFront, "namespace: shop", "namespace: bank", 1)
		if params != "" {
			body = ""
		}
		if a := post(t, keeper, u+params, body); a.code != 403 || !strings.Contains(a.body, "is in a namespace that keeper does not see") {
			t.Errorf("%d %s", a.code, a.body)
		}
	}
}
