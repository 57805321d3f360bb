package why

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/policy/eval"
)

// asked says steps as text, a line each; '*' decides, '~' is nearest, '-' is skipped, 'o' observed.
func asked(list []PolicyStep) string {
	var b strings.Builder
	for i := range list {
		s := &list[i]
		marks := ""
		for _, m := range []struct {
			is bool
			c  string
		}{{s.Decides, "*"}, {s.Nearest, "~"}, {s.Skipped, "-"}, {s.Observed, "o"}} {
			if m.is {
				marks += m.c
			}
		}
		fmt.Fprintf(&b, "%s %s %s[%s] %s %s: %s\n", s.Direction, s.Stage, s.Policy, s.Rule, s.Result, marks, s.Why)
	}
	return b.String()
}

// denying are the steps of a policy at the server that fits nothing.
func denying() *Policy {
	rule := func(n int) eval.Ref { return eval.Ref{Namespace: "shop", Policy: "pay-in", Rule: n} }
	return &Policy{Steps: []eval.Step{
		{Direction: eval.Egress, Rule: eval.Ref{Namespace: "shop", Rule: -1}, Result: eval.Allow, Decides: true, Why: "no policy selects the pod"},
		{Direction: eval.Ingress, Rule: rule(0), Result: eval.NoMatch, Nearest: true, Missing: []string{"ports are TCP 8080"}},
		{Direction: eval.Ingress, Rule: eval.Ref{Namespace: "shop", Rule: -1}, Result: eval.Deny, Decides: true, Why: "shop/pay-in isolates the pod"},
	}}
}

// allowing are the steps of two policies that both allow it.
func allowing() *Policy {
	step := func(policy string, decides bool) eval.Step {
		return eval.Step{Direction: eval.Ingress, Rule: eval.Ref{Namespace: "shop", Policy: policy}, Result: eval.Allow, Decides: decides}
	}
	return &Policy{Steps: []eval.Step{step("a", true), step("b", false)}}
}

func ruled(policy string, typ flow.PolicyType, action flow.RuleAction) func(*flow.Record) {
	return func(r *flow.Record) {
		r.SetIngressPolicy(policy)
		r.SetIngressPolicyNS("shop")
		r.SetIngressPolicyType(typ)
		r.SetIngressAction(action)
	}
}

func TestPolicies(t *testing.T) {
	const evaluatedDenial = "egress default [] allow *: no policy selects the pod\n" +
		"ingress network_policy shop/pay-in[0] no_match ~: ports are TCP 8080\n"
	for _, c := range []struct {
		name string
		f    Facts
		want string
	}{
		{"nothing is known", Facts{}, ""},
		{"evaluated", Facts{Policy: denying()}, evaluatedDenial + "ingress default [] deny *: shop/pay-in isolates the pod\n"},
		{
			"the record agrees",
			Facts{Policy: denying(), Conns: times(1, conn(flow.OutcomeDenied, ruled("pay-in", flow.PolicyTypeK8s, flow.RuleActionDrop)))},
			evaluatedDenial + "ingress default [] deny *o: shop/pay-in isolates the pod (shop/pay-in: drop, as the record says)\n",
		},
		{
			"Antrea's policy decides before NetworkPolicy is asked",
			Facts{Policy: denying(), Conns: times(1, conn(flow.OutcomeOK, ruled("pci", flow.PolicyTypeAntrea, flow.RuleActionAllow), func(r *flow.Record) {
				r.SetIngressRule("allow-cart")
				r.SetIngressPriority(5)
			}))},
			"egress default [] allow *: no policy selects the pod\n" +
				"ingress antrea shop/pci[allow-cart] allow *o: priority 5, as the record says\n" +
				"ingress network_policy shop/pay-in[0] no_match ~-: ports are TCP 8080\n" +
				"ingress default [] deny -: shop/pay-in isolates the pod\n",
		},
		{
			"of two that allow it the record names the second",
			Facts{Policy: allowing(), Conns: times(1, conn(flow.OutcomeOK, ruled("b", flow.PolicyTypeK8s, flow.RuleActionAllow)))},
			"ingress network_policy shop/a[0] allow : \ningress network_policy shop/b[0] allow *o: \n",
		},
		{
			"the texts say otherwise now",
			Facts{Policy: allowing(), Conns: times(1, conn(flow.OutcomeDenied, ruled("old", flow.PolicyTypeK8s, flow.RuleActionReject)))},
			"ingress network_policy shop/a[0] allow : \ningress network_policy shop/b[0] allow : \n" +
				"ingress network_policy shop/old[] deny *o: reject, as the record says, and the policies' texts say otherwise: they changed, or this cluster's CNI does not do what they say\n",
		},
		{
			"a denial goes before what is newer and was allowed",
			Facts{Conns: []flow.Record{conn(flow.OutcomeOK, ruled("a", flow.PolicyTypeAntreaCNP, flow.RuleActionAllow)), conn(flow.OutcomeDenied, func(r *flow.Record) {
				r.SetEgressRule("DROP-7")
				r.SetEgressAction(flow.RuleActionDrop)
				r.SetEvidence(flow.EvidenceNFLOG)
			}), conn(flow.OutcomeDenied, ruled("b", flow.PolicyTypeAntreaCNP, flow.RuleActionDrop))}},
			"egress node_rule [DROP-7] deny *o: drop, logged by the node's rule\n" +
				"ingress antrea shop/b[] deny *o: drop, as the record says\n",
		},
	} {
		if d := cmp.Diff(c.want, asked(Policies(&c.f))); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestBothEnds(t *testing.T) {
	one := conn(flow.OutcomeOK, counted(10, 7, 1000, 700), func(r *flow.Record) {
		r.SetRevPacketsSrc(4)
		r.SetRevPacketsDst(6)
	})
	half := conn(flow.OutcomeOK, counted(99, 0, 0, 0), func(r *flow.Record) { r.SetSeenBy(flow.SeenBySource) })
	want := &BothEnds{Conns: 2, Packets: Counted{20, 14, 6}, Bytes: Counted{2000, 1400, 600}, ReversePackets: Counted{8, 12, 4}}
	if d := cmp.Diff(want, Both([]flow.Record{one, half, one})); d != "" {
		t.Error(d)
	}
	if b := Both([]flow.Record{half}); b != nil {
		t.Errorf("one end only: %+v", b)
	}
}
