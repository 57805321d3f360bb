package enrich

import (
	"net/netip"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
)

func is(key, value string) cluster.Selector {
	return cluster.Selector{{Key: key, Op: cluster.In, Values: []string{value}}}
}

// policed is world with a policy at api that lets web in since 2000, and at 60000
// no longer does.
func policed() *cluster.Model {
	m := world()
	np := func(peer cluster.PolicyPeer) cluster.Event {
		return cluster.Event{NetworkPolicy: &cluster.NetworkPolicy{
			Namespace: "shop", Name: "api-in", UID: cluster.UID{1}, StartMs: 2000, Pods: is("app", "api-7f"), Ingress: true,
			IngressRules: []cluster.PolicyRule{{Peers: []cluster.PolicyPeer{peer}, Ports: []cluster.PolicyPort{{Proto: 6, From: 8080, To: 8080}}}},
		}}
	}
	web, other := is("app", "web-7f"), is("app", "other")
	m.Apply(2000, np(cluster.PolicyPeer{Pods: &web}))
	m.Apply(60_000, np(cluster.PolicyPeer{Pods: &other}))
	return m
}

// TestPolicies judges a connection by the policies in force when it began.
func TestPolicies(t *testing.T) {
	m := policed()
	for _, c := range []struct {
		name, conn string
		start      int64
		want       flow.PolicyEval
		why        string
	}{
		{"before the policy", "6 10.244.1.5:40000>10.244.2.5:8080", 1900, flow.PolicyEvalUnprotected, "no policy selects either end"},
		{"allowed", "6 10.244.1.5:40000>10.244.2.5:8080", 3000, flow.PolicyEvalAllowed, "ingress allowed by shop/api-in[0]"},
		{"allowed through the Service", "6 10.244.1.5:40000>10.96.0.7:80 => 10.244.2.5:8080>10.244.1.5:40000", 3000, flow.PolicyEvalAllowed, "ingress allowed by shop/api-in[0]"},
		{"another port", "6 10.244.1.5:40000>10.244.2.5:8081", 3000, flow.PolicyEvalDenied, "ingress denied by shop/api-in, nearest allow shop/api-in[0]: ports are TCP 8080"},
		{"another client", "6 10.244.1.6:40000>10.244.2.5:8080", 3000, flow.PolicyEvalDenied, "ingress denied by shop/api-in, nearest allow shop/api-in[0]: peers are app=web-7f in shop"},
		{"from outside", "6 203.0.113.50:40000>10.244.2.5:8080", 3000, flow.PolicyEvalDenied, "ingress denied by shop/api-in, nearest allow shop/api-in[0]: peers are app=web-7f in shop"},
		{"from outside, through the server's own node", "6 203.0.113.50:50000>192.0.2.2:30080 => 10.244.2.5:8080>192.0.2.2:62000", 3000, flow.PolicyEvalDenied, ""},
		{"from its own node", "6 192.0.2.2:40000>10.244.2.5:8080", 3000, flow.PolicyEvalAllowed, "ingress allowed: its own node"},
		{"after the policy changed", "6 10.244.1.5:40000>10.244.2.5:8080", 70_000, flow.PolicyEvalDenied, "ingress denied by shop/api-in, nearest allow shop/api-in[0]: peers are app=other in shop"},
		{"ICMP", "1 10.244.1.5:7>10.244.2.5:2048", 3000, flow.PolicyEvalUndefined, ""},
		{"between hosts", "6 192.0.2.1:40000>203.0.113.9:443", 3000, flow.PolicyEvalNone, ""},
	} {
		e := New(Config{Node: "n1"}, m.Index())
		var r flow.Record
		for range 2 { // the second time from memory
			e.Fill(c.start+500, &track.Export{Conn: conn(t, c.conn), StartMs: c.start, EndMs: c.start + 400}, &r)
			if r.PolicyEval != c.want || c.why != "" && r.PolicyEvalWhy != c.why {
				t.Errorf("%s: %s, %q; want %s, %q", c.name, flow.PolicyEvalWords[r.PolicyEval], r.PolicyEvalWhy, flow.PolicyEvalWords[c.want], c.why)
			}
		}
		if r.Has.Has(flow.FPolicyEval) != (c.want != flow.PolicyEvalNone) {
			t.Errorf("%s: presence %v", c.name, r.Has.Has(flow.FPolicyEval))
		}
	}
}

// TestPoliciesFollowLabels: a connection is judged by the labels that the namespaces had
// when it began, before they changed and after.
func TestPoliciesFollowLabels(t *testing.T) {
	m := world()
	ops := is("team", "ops")
	m.Apply(1500, cluster.Event{NetworkPolicy: &cluster.NetworkPolicy{
		Namespace: "shop", Name: "in", UID: cluster.UID{1}, StartMs: 1, Pods: cluster.Selector{}, Ingress: true,
		IngressRules: []cluster.PolicyRule{{Peers: []cluster.PolicyPeer{{Namespaces: &ops}}}},
	}})
	e := New(Config{Node: "n1"}, m.Index())
	steps := []struct {
		labels string
		want   flow.PolicyEval
	}{{`{"team":"dev"}`, flow.PolicyEvalDenied}, {`{"team":"ops"}`, flow.PolicyEvalAllowed}, {"{}", flow.PolicyEvalDenied}}
	for i, s := range steps {
		m.Apply(int64(3000+1000*i), cluster.Event{Namespace: &cluster.Namespace{Name: "shop", Labels: s.labels}})
		for k, was := range steps[:i+1] {
			start := int64(3000 + 1000*k)
			var r flow.Record
			x := &track.Export{Conn: conn(t, "6 10.244.1.5:40000>10.244.2.5:8080"), StartMs: start, EndMs: start + 900}
			if e.Fill(9000, x, &r); r.PolicyEval != was.want {
				t.Errorf("begun at %d, looked at after change %d: %s, want %s", start, i, flow.PolicyEvalWords[r.PolicyEval], flow.PolicyEvalWords[was.want])
			}
		}
	}
}

// TestJudgeIsBounded asks about more pairs than are remembered.
func TestJudgeIsBounded(t *testing.T) {
	m := policed()
	e := New(Config{Node: "n1"}, m.Index())
	var r flow.Record
	c := conn(t, "6 203.0.113.50:40000>10.244.2.5:8080")
	for i := range maxVerdicts + 100 {
		c.Orig.Src = netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}).As16()
		e.Fill(3500, &track.Export{Conn: c, StartMs: 3000, EndMs: 3400}, &r)
	}
	if n := len(e.judge.verdicts); n > maxVerdicts {
		t.Errorf("%d verdicts are kept", n)
	}
}

func BenchmarkFillPolicy(b *testing.B) {
	e := New(Config{Node: "n1"}, policed().Index())
	x := &track.Export{Conn: conn(b, "6 10.244.1.5:40000>10.244.2.5:8080"), StartMs: 3000, EndMs: 3400}
	var r flow.Record
	b.ReportAllocs()
	for b.Loop() {
		e.Fill(4000, x, &r)
	}
}
