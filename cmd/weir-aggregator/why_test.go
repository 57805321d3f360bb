package main

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/journal"
	"github.com/weirnet/weir/aggregator/why"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

// TestGather: a Service without endpoints, a policy that denies and what changed are found
// for the pair, and only by one who may see them.
func TestGather(t *testing.T) {
	now := time.Now()
	j, err := journal.Open(t.TempDir(), journal.DefaultConfig(), slog.New(slog.DiscardHandler), now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	w := &world{model: cluster.NewModel(cluster.DefaultLimits()), journal: j}
	ms := now.UnixMilli() - 60_000
	pod := func(name, ip string) {
		w.model.Apply(ms, cluster.Event{Pod: &cluster.Pod{Namespace: "shop", Name: name, IPs: []netip.Addr{netip.MustParseAddr(ip)}, Labels: `{"app":"` + name + `"}`, StartMs: ms}})
	}
	w.model.Apply(ms, cluster.Event{Namespace: &cluster.Namespace{Name: "shop", Labels: "{}"}})
	pod("cart", "10.0.0.1")
	pod("pay", "10.0.0.2")
	w.model.Apply(ms, cluster.Event{Service: &cluster.Service{Namespace: "shop", Name: "pay", Ports: []cluster.Port{{Proto: cluster.ProtoTCP, Number: 8443}}}})
	w.model.Apply(ms, cluster.Event{NetworkPolicy: &cluster.NetworkPolicy{Namespace: "shop", Name: "deny-all", Ingress: true, StartMs: ms}})
	changes := []cluster.Change{
		{TimeMs: ms, Kind: cluster.ChangeEndpoints, Namespace: "shop", Object: "Service/pay", What: "has no ready endpoint (had 2)", Bad: true},
		{TimeMs: ms, Kind: cluster.ChangeRollout, Namespace: "shop", Object: "Deployment/other", What: "rolled out"},
	}
	for i := range changes {
		changes[i].Identify()
	}
	j.Add(changes)
	cart, pay := api.End{Namespace: "shop", Name: "cart"}, api.End{Namespace: "shop", Name: "pay"}
	facts := func(namespaces ...string) *why.Facts {
		f := &why.Facts{Src: cart.String(), Dst: pay.String(), Port: 8443, FromMs: ms - 1000, ToMs: now.UnixMilli() + 1000}
		w.gather(collector{})(f, cart, pay, flow.Confine(namespaces))
		return f
	}
	f := facts("shop")
	if f.Service == nil || f.Service.Ready != 0 || f.Policy == nil || f.Policy.Decision.Verdict != flow.PolicyEvalDenied || len(f.Changes) != 1 {
		t.Errorf("shop's people: service %+v, policy %+v, changes %+v", f.Service, f.Policy, f.Changes)
	}
	var causes []why.Cause
	for _, x := range why.Why(f) {
		causes = append(causes, x.Cause)
	}
	if len(causes) < 2 || causes[0] != why.CauseNoEndpoint || causes[1] != why.CausePolicyDenies {
		t.Errorf("causes %v", causes)
	}
	if s := why.Policies(f); len(s) != 3 || !s[2].Decides || s[2].Direction != "ingress" || s[2].Result != why.PolicyDeny {
		t.Errorf("the policies were asked so: %+v", s)
	}
	// A range that is over is judged by the policies of its end, before this one came.
	old := &why.Facts{Src: cart.String(), Dst: pay.String(), Port: 8443, FromMs: ms - 2000, ToMs: ms - 1000}
	old.Policy = w.policy(w.model.Index(), old, cart, pay)
	if s := why.Policies(old); len(s) != 2 || s[1].Result != why.PolicyAllow {
		t.Errorf("before the policy came: %+v", s)
	}
	// An end outside is judged by its address.
	w.model.Apply(ms, cluster.Event{NetworkPolicy: &cluster.NetworkPolicy{Namespace: "shop", Name: "out", Egress: true, StartMs: ms}})
	bank := api.End{Name: "bank.example.com"}
	out := &why.Facts{Src: cart.String(), Dst: bank.String(), FromMs: ms - 1000, ToMs: now.UnixMilli() + 1000}
	var r flow.Record
	r.SetDstIP(netip.MustParseAddr("203.0.113.7"))
	r.SetDstKind(flow.EndExternal)
	r.SetDstPort(443)
	r.SetProto(cluster.ProtoTCP)
	out.Conns = []flow.Record{r}
	out.Policy = w.policy(w.model.Index(), out, cart, bank)
	if s := why.Policies(out); len(s) == 0 || s[len(s)-1].Direction != "egress" || s[len(s)-1].Result != why.PolicyDeny {
		t.Errorf("to an address outside: %+v", s)
	}
	if f := facts("bank"); f.Service != nil || f.Policy != nil || len(f.Changes) != 0 {
		t.Errorf("bank's people learn of shop: %+v", f)
	}
}
