package eval

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

// Step is one thing that Evaluate looked at. NetworkPolicies have no order among
// themselves: what one rule allows is allowed. They are looked at by name, a policy's rules
// as they stand in it, and what no rule allows is decided at last.
type Step struct {
	Direction Direction
	// Rule is the policy with the number of its rule, or with -1 what holds for the policy
	// as a whole, or for all of them, whose Policy is "".
	Rule   Ref
	Result Result
	// Decides is set in one step of a direction. Of several rules that allow it is the first.
	Decides bool
	Nearest bool     // of the rules that do not fit the one that lacks least, where all is denied
	Missing []string // what would have to be otherwise for the rule to fit
	Why     string   // in words, of what is no rule
}

// Result is what a Step says.
type Result uint8

// The results.
const (
	NotSelected Result = iota + 1 // the policy is for other pods
	NoMatch                       // the rule is for other connections
	Allow
	Deny
	Undefined // NetworkPolicy does not say
)

// Trace gives what Evaluate looks at, and in which order: the client's egress, then the
// server's ingress. Its deciding steps say what the Decision says (TestTrace).
func Trace(src, dst []*cluster.NetworkPolicy, p *Packet) []Step {
	d := Evaluate(src, dst, p)
	return append(steps(&d.Egress, src, p, &p.Src, &p.Dst), steps(&d.Ingress, dst, p, &p.Dst, &p.Src)...)
}

// steps are those of a direction; f is what they come to.
func steps(f *Finding, policies []*cluster.NetworkPolicy, p *Packet, self, peer *Side) (out []Step) {
	if !self.Selectable {
		return nil
	}
	var others []string
	for _, np := range policies {
		if np.Namespace != self.Namespace || !applies(np, f.Direction) {
			continue
		}
		if !np.Pods.Matches(self.Labels) {
			others = append(others, np.Name)
			continue
		}
		out = append(out, rules(f, np, p, peer)...)
	}
	if len(others) > 0 {
		first := Step{Direction: f.Direction, Rule: Ref{self.Namespace, "", -1}, Result: NotSelected, Why: notSelected(others)}
		out = append([]Step{first}, out...)
	}
	last := Step{Direction: f.Direction, Rule: Ref{self.Namespace, "", -1}, Decides: true}
	switch {
	case f.Verdict == flow.PolicyEvalUnprotected:
		last.Result, last.Why = Allow, "no policy selects the pod for "+f.Direction.String()+": all is allowed"
	case f.Verdict == flow.PolicyEvalAllowed && f.Exempt != "":
		last.Result, last.Why = Allow, f.Exempt+": no policy can deny it"
	case f.Verdict == flow.PolicyEvalAllowed:
		return out // a rule decides
	case f.Verdict == flow.PolicyEvalUndefined:
		last.Result, last.Why = Undefined, "NetworkPolicy says nothing of this protocol, and "+refs(f.By)+" isolate the pod"
	default:
		last.Result, last.Why = Deny, refs(f.By)+" isolate the pod: what no rule allows is denied"
	}
	return append(out, last)
}

// rules are the steps of a policy that selects the pod.
func rules(f *Finding, np *cluster.NetworkPolicy, p *Packet, peer *Side) (out []Step) {
	list := np.IngressRules
	if f.Direction == Egress {
		list = np.EgressRules
	}
	for i := range list {
		s := Step{Direction: f.Direction, Rule: Ref{np.Namespace, np.Name, i}, Result: NoMatch, Missing: misses(np, &list[i], p, peer)}
		if len(s.Missing) == 0 {
			s.Result = Allow
			s.Decides = f.Exempt == "" && len(f.By) > 0 && f.By[0] == s.Rule
		}
		s.Nearest = f.Near != nil && f.Near.Rule == s.Rule
		out = append(out, s)
	}
	if len(list) == 0 {
		out = append(out, Step{Direction: f.Direction, Rule: Ref{np.Namespace, np.Name, -1}, Result: NoMatch, Why: "it isolates the pod and allows nothing"})
	}
	return out
}

func notSelected(names []string) string {
	n := min(len(names), maxRefs)
	s := strings.Join(names[:n], ", ")
	if len(names) > n {
		s += fmt.Sprintf(" and %d more", len(names)-n)
	}
	if len(names) == 1 {
		return s + " is for other pods"
	}
	return s + " are for other pods"
}
