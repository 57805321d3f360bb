package why

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/policy/eval"
)

// PolicyStep is one thing that was looked at to decide about a connection.
type PolicyStep struct {
	Direction string `json:"direction"` // egress, of the client, which comes first; or ingress, of the server
	// Stage is what it belongs to. Antrea evaluates its tiers first, then NetworkPolicy,
	// then its Baseline tier, and what is left is allowed.
	Stage  PolicyStage  `json:"stage"`
	Policy string       `json:"policy,omitempty"` // namespace/name, or the name of a cluster's policy; "" of none in particular
	Rule   string       `json:"rule,omitempty"`   // its name, or its number from 0 as kubectl counts
	Result PolicyResult `json:"result"`
	Why    string       `json:"why,omitempty"` // in words
	// Observed is what a record says that a datapath or a node's rule did; all else was
	// evaluated from the texts of the policies that were in force.
	Observed bool `json:"observed,omitempty"`
	Decides  bool `json:"decides,omitempty"`
	Nearest  bool `json:"nearest,omitempty"` // of the rules that do not fit the one that lacks least
	Skipped  bool `json:"skipped,omitempty"` // an earlier one had decided already
}

// PolicyStage is where in the order of evaluation a step stands.
type PolicyStage string

// The stages, in the order in which they decide.
const (
	StageAntrea    PolicyStage = "antrea"         // a policy of crd.antrea.io, in its tier
	StageAdmin     PolicyStage = "cluster_policy" // policy.networking.k8s.io
	StageRule      PolicyStage = "node_rule"      // a rule of the node that logs: which policy it is made of it says by its name alone
	StageNetwork   PolicyStage = "network_policy" // networking.k8s.io
	StageIsolation PolicyStage = "default"        // what holds where no rule of them fits
)

// PolicyResult is what a step says of the connection.
type PolicyResult string

// The results.
const (
	PolicyAllow       PolicyResult = "allow"
	PolicyDeny        PolicyResult = "deny"
	PolicyNoMatch     PolicyResult = "no_match"     // the rule is for other connections
	PolicyNotSelected PolicyResult = "not_selected" // the policy is for other pods
	PolicyUndefined   PolicyResult = "undefined"    // NetworkPolicy does not say
)

var results = map[eval.Result]PolicyResult{
	eval.Allow: PolicyAllow, eval.Deny: PolicyDeny, eval.NoMatch: PolicyNoMatch, eval.NotSelected: PolicyNotSelected, eval.Undefined: PolicyUndefined,
}

// Policies gives what decided about the pair, in the order in which it is asked: what the
// newest record that names a policy says was done, and what the policies' texts say.
func Policies(f *Facts) (out []PolicyStep) {
	for _, d := range []eval.Direction{eval.Egress, eval.Ingress} {
		var list []PolicyStep
		if f.Policy != nil {
			list = evaluated(d, f.Policy.Steps)
		}
		if o := observed(d, f.Conns); o != nil {
			list = o.into(list)
		}
		out = append(out, list...)
	}
	return out
}

func evaluated(d eval.Direction, steps []eval.Step) (out []PolicyStep) {
	for i := range steps {
		s := &steps[i]
		if s.Direction != d {
			continue
		}
		x := PolicyStep{Direction: d.String(), Stage: StageNetwork, Result: results[s.Result], Decides: s.Decides, Nearest: s.Nearest, Why: s.Why}
		if s.Rule.Policy != "" {
			x.Policy = s.Rule.Namespace + "/" + s.Rule.Policy
		} else if s.Decides {
			x.Stage = StageIsolation
		}
		if s.Rule.Rule >= 0 {
			x.Rule = fmt.Sprint(s.Rule.Rule)
		}
		if len(s.Missing) > 0 {
			x.Why = strings.Join(s.Missing, ", ")
		}
		out = append(out, x)
	}
	return out
}

// observation is what a record says of the policy that decided in one direction.
type observation struct {
	step PolicyStep
	own  bool // of NetworkPolicy: one of the evaluated policies
}

// observed reads the newest record that names a policy or an action: of denied ones, if
// there are any.
func observed(d eval.Direction, conns []flow.Record) *observation {
	var found *observation
	for i := range conns {
		o := observedIn(d, &conns[i])
		if o == nil {
			continue
		}
		if o.step.Result == PolicyDeny {
			return o
		}
		if found == nil {
			found = o
		}
	}
	return found
}

func observedIn(d eval.Direction, r *flow.Record) *observation {
	policy, ns, rule, action, typ, prio, hasPrio := r.IngressPolicy, r.IngressPolicyNS, r.IngressRule, r.IngressAction, r.IngressPolicyType, r.IngressPriority, r.Has.Has(flow.FIngressPriority)
	if d == eval.Egress {
		policy, ns, rule, action, typ, prio, hasPrio = r.EgressPolicy, r.EgressPolicyNS, r.EgressRule, r.EgressAction, r.EgressPolicyType, r.EgressPriority, r.Has.Has(flow.FEgressPriority)
	}
	if policy == "" && rule == "" && action == flow.RuleActionNone {
		return nil
	}
	o := &observation{step: PolicyStep{Direction: d.String(), Stage: StageRule, Policy: policy, Rule: rule, Observed: true, Decides: true, Result: PolicyAllow}}
	s := &o.step
	if ns != "" {
		s.Policy = ns + "/" + policy
	}
	var words []string
	switch action {
	case flow.RuleActionDrop, flow.RuleActionReject:
		s.Result = PolicyDeny
		words = append(words, flow.RuleActionWords[action])
	case flow.RuleActionNone: // a record that names a policy without what it did
		if r.Outcome == flow.OutcomeDenied {
			s.Result = PolicyDeny
		}
	case flow.RuleActionAllow:
	}
	switch typ {
	case flow.PolicyTypeK8s:
		s.Stage, o.own = StageNetwork, true
	case flow.PolicyTypeAntrea, flow.PolicyTypeAntreaCNP:
		s.Stage = StageAntrea
	case flow.PolicyTypeK8sCluster:
		s.Stage = StageAdmin
	case flow.PolicyTypeNone:
	}
	if hasPrio {
		words = append(words, fmt.Sprintf("priority %d", prio))
	}
	if r.Evidence&flow.EvidenceNFLOG != 0 && s.Result == PolicyDeny {
		words = append(words, "logged by the node's rule")
	} else {
		words = append(words, "as the record says")
	}
	s.Why = strings.Join(words, ", ")
	return o
}

// into puts what was observed where it stands in the order. What it decided was not
// decided again further down.
func (o *observation) into(list []PolicyStep) []PolicyStep {
	if o.own {
		for i := range list {
			if x := &list[i]; x.Policy == o.step.Policy && x.Result == PolicyAllow && o.step.Result == PolicyAllow {
				for k := range list { // of several that allow it, this one did
					list[k].Decides = k == i
				}
				x.Observed = true
				return list
			}
		}
		// A denial is no rule's but that of all policies that isolate the pod.
		if n := len(list) - 1; n >= 0 && o.step.Result == PolicyDeny && list[n].Result == PolicyDeny {
			list[n].Observed, list[n].Why = true, list[n].Why+" ("+o.step.Policy+": "+o.step.Why+")"
			return list
		}
		return append(list, o.contradicts(list))
	}
	for i := range list {
		list[i].Decides, list[i].Skipped = false, true
	}
	return append([]PolicyStep{o.step}, list...)
}

// contradicts is the step of a NetworkPolicy that decided otherwise than the texts say now.
func (o *observation) contradicts(list []PolicyStep) PolicyStep {
	for i := range list {
		list[i].Decides = false
	}
	s := o.step
	if len(list) > 0 {
		s.Why += ", and the policies' texts say otherwise: they changed, or this cluster's CNI does not do what they say"
	}
	return s
}

// BothEnds is what the nodes of both ends counted of the same connections, since their
// start, and by how much they differ: what was lost between them.
type BothEnds struct {
	Conns          int     `json:"conns"` // of which both nodes told
	Packets        Counted `json:"packets"`
	Bytes          Counted `json:"bytes"`
	ReversePackets Counted `json:"reverse_packets"`
	ReverseBytes   Counted `json:"reverse_bytes"`
}

// Counted is one sum at both ends.
type Counted struct {
	Src     uint64 `json:"src"`     // at the client's node
	Dst     uint64 `json:"dst"`     // at the server's node
	Missing int64  `json:"missing"` // sent and not received: src - dst, of what the server sent dst - src
}

func (c *Counted) add(src, dst uint64, reverse bool) {
	c.Src += src
	c.Dst += dst
	if c.Missing = int64(c.Src - c.Dst); reverse {
		c.Missing = -c.Missing
	}
}

// Both sums up the connections that both ends counted; nil where there are none. Those
// that are live may differ by what is under way.
func Both(conns []flow.Record) *BothEnds {
	var b BothEnds
	for i := range conns {
		r := &conns[i]
		if r.SeenBy != flow.SeenByBoth || !r.Has.Has(flow.FPacketsSrc) || !r.Has.Has(flow.FPacketsDst) {
			continue
		}
		b.Conns++
		b.Packets.add(r.PacketsSrc, r.PacketsDst, false)
		b.Bytes.add(r.BytesSrc, r.BytesDst, false)
		b.ReversePackets.add(r.RevPacketsSrc, r.RevPacketsDst, true)
		b.ReverseBytes.add(r.RevBytesSrc, r.RevBytesDst, true)
	}
	if b.Conns == 0 {
		return nil
	}
	return &b
}
