package selector

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

func record() *flow.Record {
	r := &flow.Record{}
	r.SetSrcIP(netip.MustParseAddr("10.0.1.7"))
	r.SetDstIP(netip.MustParseAddr("10.0.2.9"))
	r.SetSrcPort(40000)
	r.SetDstPort(8443)
	r.SetProto(6)
	r.SetSrcPod("cart-6f")
	r.SetSrcNS("shop")
	r.SetDstPod("payments-0")
	r.SetDstNS("bank")
	r.SetSrcWorkload("Deployment/cart")
	r.SetDstWorkload("StatefulSet/payments")
	r.SetSrcNode("n1")
	r.SetDstNode("n2")
	r.SetSvcPortName("bank/payments:https")
	r.SetSvcPort(443)
	r.SetSvcIP(netip.MustParseAddr("10.96.0.20"))
	r.SetOutcome(flow.OutcomeRefused)
	r.SetScope(flow.ScopeCrossNode)
	r.SetSrcLabels(`{"app":"cart","tier":"web"}`)
	return r
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		terms string
		want  bool
	}{
		{"", true},
		{"pod=cart", true},
		{"pod=shop/cart", true},
		{"pod=bank/cart", false},
		{"from-pod=shop/", true},
		{"to-pod=cart", false},
		{"to-pod=bank/payments", true},
		{"namespace=bank", true},
		{"from-namespace=bank", false},
		{"from-namespace=bank from-namespace=shop", true},
		{"from-namespace=shop to-namespace=shop", false},
		{"ip=10.0.2.0/24", true},
		{"from-ip=10.0.2.0/24", false},
		{"ip=10.96.0.20", true},
		{"to-ip=10.0.2.9", true},
		{"port=8443", true},
		{"port=443", true},
		{"from-port=443", false},
		{"port=40000", true},
		{"protocol=TCP", true},
		{"protocol=17", false},
		{"service=payments", true},
		{"service=bank/payments:https", true},
		{"service=bank/payments:http", false},
		{"workload=cart", true},
		{"workload=deployment/cart", true},
		{"to-workload=cart", false},
		{"node-name=n2", true},
		{"from-node=n2", false},
		{"outcome=refused", true},
		{"outcome=ok outcome=refused", true},
		{"scope=cross-node", true},
		{"!port=8443", false},
		{"!port=80 outcome=refused", true},
		{"!namespace=kube-system", true},
		{"label=app=cart", true},
		{"to-label=app=cart", false},
		{"label=tier", true},
		{"label=ti", false},
	} {
		s := parse(t, c.terms)
		if got := s.Match(record()); got != c.want {
			t.Errorf("%q = %v, want %v", c.terms, got, c.want)
		}
		// Nothing is known of the ends: no positive term on names may fit.
		if c.terms != "" && !strings.HasPrefix(c.terms, "!") && s.Match(&flow.Record{}) {
			t.Errorf("%q fits an empty record", c.terms)
		}
	}
}

func parse(t *testing.T, text string) *Set {
	t.Helper()
	var terms []Term
	for f := range strings.FieldsSeq(text) {
		term, err := ParseTerm(f)
		if err != nil {
			t.Fatal(err)
		}
		if term.String() != f {
			t.Errorf("%q reads back as %q", f, term)
		}
		terms = append(terms, term)
	}
	s, err := New(terms)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		term Term
		want string
	}{
		{Term{Key: "color", Value: "red"}, "the selectors are"},
		{Term{Key: "ip", Value: "10.0.0"}, "write it like"},
		{Term{Key: "port", Value: "http"}, "from 0 to 65535"},
		{Term{Key: "protocol", Value: "tpc"}, "use tcp"},
		{Term{Key: "outcome", Value: "bad"}, "use one of unknown, ok"},
		{Term{Key: "pod", Value: ""}, "empty"},
		{Term{Key: "label", Value: `a="`}, "key=value"},
	} {
		if _, err := New([]Term{c.term}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.term, err, c.want)
		}
	}
	if _, err := ParseTerm("abc"); err == nil {
		t.Error("abc is a term")
	}
}

func BenchmarkMatch(b *testing.B) {
	r := record()
	s, err := New([]Term{{Key: "ip", Value: "10.0.0.0/8"}, {Key: "namespace", Value: "bank"}, {Key: "port", Value: "80", Not: true}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !s.Match(r) {
			b.Fatal("no match")
		}
	}
}
