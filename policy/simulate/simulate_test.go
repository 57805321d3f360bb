package simulate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

func sel(app string) *cluster.Selector {
	return &cluster.Selector{{Key: "app", Op: cluster.In, Values: []string{app}}}
}

func policy(name, app string, peers ...string) *cluster.NetworkPolicy {
	np := &cluster.NetworkPolicy{Namespace: "shop", Name: name, Pods: *sel(app), Ingress: true}
	for _, p := range peers {
		np.IngressRules = append(np.IngressRules, cluster.PolicyRule{Peers: []cluster.PolicyPeer{{Pods: sel(p)}}})
	}
	return np
}

func side(app string, n int) eval.Side {
	return eval.Side{Selectable: true, Namespace: "shop", Name: fmt.Sprint(app, n), Labels: map[string]string{"app": app}}
}

// conns are count connections of "CLIENT SERVER NUMBER-OF-THE-PODS PORT" in a time.
func conns(what string, count uint64, first, last int64) *Conns {
	var n int
	var port uint16
	src, rest, _ := strings.Cut(what, " ")
	dst, rest, _ := strings.Cut(rest, " ")
	if _, err := fmt.Sscan(rest, &n, &port); err != nil {
		panic(err)
	}
	return &Conns{
		Packet:   eval.Packet{Src: side(src, n), Dst: side(dst, n), Proto: 6, Port: port},
		SrcOwner: "shop/Deployment/" + src, DstOwner: "shop/Deployment/" + dst, Count: count, FirstMs: first, LastMs: last,
	}
}

func run(before Policies, apply, remove []*cluster.NetworkPolicy, list ...*Conns) Report {
	return Run(before, before.With(apply, remove), func(yield func(*Conns) bool) {
		for _, c := range list {
			if !yield(c) {
				return
			}
		}
	})
}

func lines(r Report) (out []string) {
	for _, g := range r.Changed {
		out = append(out, fmt.Sprintf("%s -> %s:%d %s->%s x%d %d-%d (%s)", g.Src, g.Dst, g.Port, g.Was, g.Becomes, g.Count, g.FirstMs, g.LastMs, g.Why))
	}
	return out
}

func TestRun(t *testing.T) {
	before := Policies{"shop": {policy("pay-in", "pay", "cart", "front")}}
	list := []*Conns{
		conns("cart pay 1 8443", 10, 100, 200),
		conns("front pay 1 8443", 5, 50, 300), // two pods of one owner are one group
		conns("front pay 2 8443", 7, 20, 250),
		conns("bot pay 1 8443", 3, 1, 2),
		conns("cart db 1 5432", 4, 1, 9),
		{Unknown: "pod is gone and its labels were not recorded", Count: 6},
	}
	got := run(before, []*cluster.NetworkPolicy{policy("pay-in", "pay", "cart"), policy("db-in", "db", "cart")}, nil, list...)
	want := []string{
		"shop/Deployment/front -> shop/Deployment/pay:8443 allowed->denied x12 20-300 (ingress denied by shop/pay-in, nearest allow shop/pay-in[0]: peers are app=cart in shop)",
		"shop/Deployment/cart -> shop/Deployment/db:5432 unprotected->allowed x4 1-9 (ingress allowed by shop/db-in[0])",
	}
	if d := cmp.Diff(want, lines(got)); d != "" {
		t.Error(d)
	}
	if got.Judged != 29 || got.Unchanged != 13 || got.Denied != 12 || got.Allowed != 0 || got.Unjudged["pod is gone and its labels were not recorded"] != 6 {
		t.Errorf("%+v", got)
	}
	// Nothing of what was given has changed.
	if len(before["shop"]) != 1 || len(before["shop"][0].IngressRules) != 2 {
		t.Error("the policies that are were written to")
	}
}

func TestRemove(t *testing.T) {
	before := Policies{"shop": {policy("pay-in", "pay", "cart")}}
	got := run(before, nil, []*cluster.NetworkPolicy{{Namespace: "shop", Name: "pay-in"}}, conns("bot pay 1 80", 2, 1, 2), conns("cart pay 1 80", 2, 1, 2))
	want := []string{
		"shop/Deployment/bot -> shop/Deployment/pay:80 denied->unprotected x2 1-2 (no policy selects either end)",
		"shop/Deployment/cart -> shop/Deployment/pay:80 allowed->unprotected x2 1-2 (no policy selects either end)",
	}
	if d := cmp.Diff(want, lines(got)); d != "" || got.Allowed != 2 {
		t.Errorf("%s %+v", d, got)
	}
	if got := run(before, nil, nil, conns("bot pay 1 80", 2, 1, 2)); got.Unchanged != 2 || got.Changed != nil {
		t.Errorf("no change: %+v", got)
	}
}
