package cluster

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func named(ns, name string, uid byte, start int64, sel string) *NetworkPolicy {
	return &NetworkPolicy{Namespace: ns, Name: name, UID: UID{uid}, StartMs: start, Ingress: true, Pods: Selector{{Key: sel, Op: Exists}}}
}

func inForce(x *Index, ns string, ms int64) string {
	s := x.Policies(ns, ms)
	if s == nil {
		return ""
	}
	var out []string
	for _, p := range s.Policies {
		out = append(out, p.Name+":"+p.Pods.String())
	}
	return strings.Join(out, " ")
}

// TestPoliciesAtATime asks for the policies of a moment.
func TestPoliciesAtATime(t *testing.T) {
	m := NewModel(DefaultLimits())
	type step struct {
		now int64
		e   Event
	}
	for _, s := range []step{
		{5000, Event{NetworkPolicy: named("shop", "b", 1, 3000, "v1")}}, // created before we came
		{5000, Event{NetworkPolicy: named("shop", "a", 2, 1000, "v1")}},
		{7000, Event{NetworkPolicy: named("shop", "a", 2, 1000, "v2")}}, // changed
		{8000, Event{Delete: true, NetworkPolicy: named("shop", "b", 1, 0, "")}},
		{9000, Event{NetworkPolicy: named("shop", "a", 3, 8900, "v3")}}, // deleted and made again, seen as one change
		{9500, Event{NetworkPolicy: named("mon", "a", 4, 0, "v1")}},     // no creation time: since we know it
	} {
		m.Apply(s.now, s.e)
	}
	got := map[string]string{}
	for _, q := range []struct {
		ns string
		ms int64
	}{{"shop", 500}, {"shop", 1000}, {"shop", 2999}, {"shop", 3000}, {"shop", 6999}, {"shop", 7000}, {"shop", 8000}, {"shop", 8950}, {"shop", 99999}, {"mon", 9499}, {"mon", 9500}, {"none", 9500}} {
		got[fmt.Sprintf("%s at %d", q.ns, q.ms)] = inForce(m.Index(), q.ns, q.ms)
	}
	want := map[string]string{
		"shop at 500": "", "shop at 1000": "a:v1", "shop at 2999": "a:v1", "shop at 3000": "a:v1 b:v1", "shop at 6999": "a:v1 b:v1",
		"shop at 7000": "a:v2 b:v1", "shop at 8000": "a:v2", "shop at 8950": "a:v2 a:v3", "shop at 99999": "a:v3",
		"mon at 9499": "", "mon at 9500": "a:v1", "none at 9500": "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := m.Stats().NetworkPolicies; n != 2 {
		t.Errorf("%d policies in force, want 2", n)
	}
	// What ended long ago is forgotten, what is in force is not.
	m.Expire(9_000 + DefaultLimits().AgeMs + 1)
	if s := inForce(m.Index(), "shop", 7500); s != "" {
		t.Errorf("at 7500, after the history's end: %q", s)
	}
	if s := inForce(m.Index(), "shop", 1e12); s != "a:v3" {
		t.Errorf("in force: %q", s)
	}
	if m.Stats().Evicted.Age == 0 {
		t.Error("what was forgotten was not counted")
	}
}

// TestPolicyHistoryIsBounded changes one policy more often than is remembered.
func TestPolicyHistoryIsBounded(t *testing.T) {
	m := NewModel(DefaultLimits())
	for i := range int64(2 * maxPolicySpans) {
		m.Apply(i, Event{NetworkPolicy: named("shop", "a", 1, 1, fmt.Sprint("v", i))})
	}
	if n := len(m.idx.policies["shop"].spans); n > maxPolicySpans {
		t.Errorf("%d spans", n)
	}
	if s := inForce(m.Index(), "shop", 1e12); s != fmt.Sprint("a:v", 2*maxPolicySpans-1) {
		t.Errorf("in force: %q", s)
	}
	if m.Stats().Evicted.PerKey == 0 {
		t.Error("what was forgotten was not counted")
	}
}

// TestPoliciesInAnyOrder: what a moment's policies are depends on what is known,
// not on the order in which it came.
func TestPoliciesInAnyOrder(t *testing.T) {
	list := []*NetworkPolicy{named("n", "a", 1, 100, "x"), named("n", "b", 2, 50, "y"), named("n", "c", 3, 200, "z"), named("n", "d", 4, 150, "w")}
	var want []string
	for seed := range uint64(24) {
		m := NewModel(DefaultLimits())
		for _, i := range rand.New(rand.NewPCG(seed, 1)).Perm(len(list)) {
			m.Apply(1000, Event{NetworkPolicy: list[i]})
		}
		var got []string
		for ms := int64(0); ms < 300; ms += 25 {
			got = append(got, inForce(m.Index(), "n", ms))
		}
		if want == nil {
			want = got
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("order %d: %s", seed, d)
		}
	}
}

func TestSelectorText(t *testing.T) {
	s := Selector{{"app", In, []string{"a"}}, {"app", NotIn, []string{"b"}}, {"t", In, []string{"x", "y"}}, {"t", NotIn, []string{"p", "q"}}, {"k", Exists, nil}, {"l", DoesNotExist, nil}}
	if got := s.String(); got != "app=a,app!=b,t in (x,y),t notin (p,q),k,!l" {
		t.Error(got)
	}
	if (Selector{{Key: "a"}}).Matches(map[string]string{"a": "b"}) {
		t.Error("an operator that does not exist selects")
	}
	if ParseLabels("[1]") != nil || ParseLabels(`{"a":"b"}`)["a"] != "b" {
		t.Error("labels are not parsed")
	}
}

// TestNamespaceLabelsAtATime asks for the labels of a moment, and how many are kept.
func TestNamespaceLabelsAtATime(t *testing.T) {
	m := NewModel(DefaultLimits())
	put := func(now int64, labels string) {
		m.Apply(now, Event{Namespace: &Namespace{Name: "shop", Labels: labels}})
	}
	put(1000, "a")
	put(2000, "a") // told again
	put(3000, "b")
	m.Apply(4000, Event{Delete: true, Namespace: &Namespace{Name: "shop"}})
	put(5000, "c")
	x := m.Index()
	for ms, want := range map[int64]string{0: "a", 1000: "a", 2999: "a", 3000: "b", 3999: "b", 5000: "c", 9000: "c"} {
		if got := x.NamespaceLabelsAt("shop", ms); got != want {
			t.Errorf("at %d: %q, want %q", ms, got, want)
		}
	}
	for i := range int64(100) {
		put(6000+i, fmt.Sprint("v", i))
	}
	if n := len(x.nsPast["shop"]); n > maxNSPast || x.NamespaceLabelsAt("shop", 6098) != "v98" {
		t.Errorf("%d are kept, at 6098 %q", n, x.NamespaceLabelsAt("shop", 6098))
	}
	m.Expire(7000 + DefaultLimits().AgeMs)
	if len(x.nsPast) != 0 || x.NamespaceLabelsAt("shop", 1e12) != "v99" {
		t.Errorf("kept after their time: %v", x.nsPast)
	}
}
