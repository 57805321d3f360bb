package simulate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

// anyPolicy makes policies of the shop that ask for all that can be hidden.
func anyPolicy(rng *rand.Rand, name string) *cluster.NetworkPolicy {
	np := &cluster.NetworkPolicy{Namespace: "shop", Name: name, Ingress: rng.IntN(3) > 0, Egress: rng.IntN(3) > 0}
	if rng.IntN(2) == 0 {
		np.Pods = *sel("pay")
	}
	one := func() (r cluster.PolicyRule) {
		for range rng.IntN(3) {
			var p cluster.PolicyPeer
			switch rng.IntN(5) {
			case 0:
				p.Block = netip.MustParsePrefix([]string{"10.0.0.0/8", "10.0.0.0/31", "0.0.0.0/0"}[rng.IntN(3)])
			case 1:
				p.Pods = sel("cart")
			case 2:
				p.Namespaces = &cluster.Selector{{Key: namespaceName, Op: cluster.In, Values: []string{"bank"}}}
			case 3:
				p.Namespaces, p.Pods = &cluster.Selector{{Key: namespaceName, Op: cluster.In, Values: []string{"bank"}}}, sel("cart")
			default:
				p.Namespaces = &cluster.Selector{{Key: "team", Op: cluster.Operator(1 + rng.IntN(4)), Values: []string{"a"}}}
			}
			r.Peers = append(r.Peers, p)
		}
		for range rng.IntN(3) {
			p := cluster.PolicyPort{Proto: []uint8{6, 17}[rng.IntN(2)]}
			switch rng.IntN(3) {
			case 0:
				p.From, p.To = 80, 81
			case 1:
				p.Name = "web"
			}
			r.Ports = append(r.Ports, p)
		}
		return r
	}
	for range rng.IntN(3) {
		np.IngressRules = append(np.IngressRules, one())
	}
	for range rng.IntN(3) {
		np.EgressRules = append(np.EgressRules, one())
	}
	return np
}

// foreign is another's end as it is.
func foreign(rng *rand.Rand) eval.Side {
	s := eval.Side{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(4))})}
	switch rng.IntN(4) {
	case 0:
		return s
	case 1:
		s.IsNode, s.Node = true, []string{"n1", "n2"}[rng.IntN(2)]
		return s
	}
	s.Selectable, s.Namespace, s.Name, s.Node = true, []string{"bank", "post"}[rng.IntN(2)], "x", "n1"
	s.Labels = map[string]string{"app": []string{"cart", "pay"}[rng.IntN(2)]}
	s.NamespaceLabels = map[string]string{namespaceName: s.Namespace, "team": []string{"a", "b"}[rng.IntN(2)]}
	if rng.IntN(2) == 0 {
		s.Ports = []cluster.Port{{Name: "web", Proto: 6, Number: 80}}
	}
	return s
}

// TestHiddenNeverGuesses: whoever does not see an end is told nothing that depends on it,
// and of the rest the truth.
func TestHiddenNeverGuesses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	known, told := 0, 0
	const rounds = 20000
	for i := range rounds {
		var policies Policies = map[string][]*cluster.NetworkPolicy{}
		for k := range 1 + rng.IntN(2) {
			policies["shop"] = append(policies["shop"], anyPolicy(rng, fmt.Sprint("p", k)))
		}
		own := eval.Side{
			Selectable: true, Namespace: "shop", Name: "pay-0", Node: "n1", Addr: netip.MustParseAddr("10.0.0.9"),
			Labels: map[string]string{"app": "pay"}, NamespaceLabels: map[string]string{namespaceName: "shop"},
			Ports: []cluster.Port{{Name: "web", Proto: 6, Number: 80}},
		}
		whole := eval.Packet{Src: own, Dst: foreign(rng), Proto: []uint8{6, 17, 1}[rng.IntN(3)], Port: []uint16{80, 443}[rng.IntN(2)]}
		shown := whole
		c := &Conns{}
		hide := func(s *eval.Side) {
			*s = eval.Side{Selectable: s.Selectable, Namespace: s.Namespace, IsNode: s.IsNode}
		}
		if rng.IntN(2) == 0 {
			hide(&shown.Dst)
			c.Hidden = Hidden{Dst: true, Port: rng.IntN(2) == 0, Names: true}
			if c.Hidden.Port {
				shown.Port = 8080
			}
		} else {
			whole.Src, whole.Dst = whole.Dst, whole.Src
			shown = whole
			hide(&shown.Src)
			c.Hidden = Hidden{Src: true}
		}
		c.Packet = shown
		want := eval.Evaluate(policies[whole.Src.Namespace], policies[whole.Dst.Namespace], &whole)
		got, ok := judge(policies, c)
		if !ok {
			continue
		}
		known++
		if len(got.Ingress.By)+len(got.Egress.By) > 0 {
			told++
		}
		if got.Verdict != want.Verdict {
			t.Fatalf("round %d: %s, the truth is %s\n%+v\n%+v", i, got.String(), want.String(), whole, policies["shop"])
		}
	}
	if known < rounds/4 || known > rounds*9/10 || told == 0 {
		t.Errorf("%d of %d were known, %d by a policy: this proves little", known, rounds, told)
	}
}

func TestHiddenIsUnjudged(t *testing.T) {
	np := policy("pay-in", "pay")
	np.IngressRules = []cluster.PolicyRule{{Peers: []cluster.PolicyPeer{{Block: netip.MustParsePrefix("10.0.0.0/8")}}}}
	c := conns("cart pay 1 80", 3, 1, 2)
	c.Packet.Src = eval.Side{Selectable: true, Namespace: "bank"}
	c.SrcOwner, c.Hidden = "bank/", Hidden{Src: true}
	got := run(Policies{}, []*cluster.NetworkPolicy{np}, nil, c)
	if got.Judged != 0 || got.Unjudged["the policies ask for what is not shown of ends in other namespaces"] != 3 {
		t.Errorf("%+v", got)
	}
	np.IngressRules = nil
	got = run(Policies{}, []*cluster.NetworkPolicy{np}, nil, c)
	if got.Judged != 3 || got.Denied != 3 || got.Changed[0].Why != "ingress denied by shop/pay-in, no rule allows anything" {
		t.Errorf("%+v", got)
	}
}
