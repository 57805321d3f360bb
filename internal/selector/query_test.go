package selector

import (
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
)

// TestQuery: the language says of generated records what the terms say.
func TestQuery(t *testing.T) {
	values := map[string][]string{
		"pod": {"cart", "shop/cart", "bank/", "payments-0", "odd name"}, "namespace": {"shop", "bank"}, "workload": {"cart", "daemonset/cart"},
		"ip": {"10.0.1.7", "10.0.0.0/16", "fd00::/8"}, "port": {"53", "443", "30001"}, "node": {"node-1"}, "zone": {"a"},
		"name": {"*.example", "cart"}, "label": {"app", "app=cart", "a.b/c=x"}, "service": {"payments", "bank/payments:https", "shop/cart"},
		"protocol": {"tcp", "UDP", "1"}, "node-name": {"node-2"}, "outcome": {"refused", "timed-out", "unknown"}, "scope": {"external", "unknown"},
		"seen-by": {"src", "both"},
	}
	rng := rand.New(rand.NewPCG(1, 1))
	recs := querytest.Records(rng, 300)
	for i := range recs {
		if rng.IntN(2) == 0 {
			recs[i].SetObserver("node-2")
		}
		if rng.IntN(3) == 0 {
			recs[i].SetSvcIP(recs[(i+7)%300].SrcIP)
		}
	}
	hits := 0
	for range 1500 {
		var terms []Term
		for range 1 + rng.IntN(3) {
			k := Keys[rng.IntN(len(Keys))].Name
			what := k
			for _, p := range []string{"from-", "to-"} {
				if len(k) > len(p) && k[:len(p)] == p {
					what = k[len(p):]
				}
			}
			list := values[what]
			if list == nil {
				t.Fatalf("no values for the key %s", k)
			}
			terms = append(terms, Term{k, list[rng.IntN(len(list))], rng.IntN(4) == 0})
		}
		set, err := New(terms)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Query(terms)
		if err != nil {
			t.Fatalf("%v: %v", terms, err)
		}
		match, err := query.Predicate(e)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			r := &recs[rng.IntN(len(recs))]
			if got, want := match(r), set.Match(r); got != want {
				t.Fatalf("%v\n%s = %v, want %v\n%s", terms, query.FormatExpr(e), got, want, flow.AppendJSON(nil, r))
			} else if got {
				hits++
			}
		}
	}
	if hits < 1000 {
		t.Errorf("only %d records fit: the test says little", hits)
	}
}
