package simulate

import (
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

// Hidden is what is not known of a kind of connection. A verdict that would be another
// one if it were known is none.
type Hidden struct {
	// Src and Dst say that an end is another's: its namespace and what it is are known,
	// its labels, address and node are not, and its policies are not asked.
	Src, Dst bool
	// Port says that Packet.Port is what was dialled, and the port after translation,
	// which policies mean, is not known.
	Port bool
	// Names says that the names of the server's ports are not known.
	Names bool
}

// String says why there is no verdict.
func (h Hidden) String() string {
	if h.Src || h.Dst || h.Port {
		return "the policies ask for what is not shown of ends in other namespaces"
	}
	return "the policies name a port, and the pod that had it is gone"
}

// judge gives the verdict by policies; false where it rests on what is hidden. Rules
// only ever allow, so that there are two extremes: what is hidden fits no rule, or every
// rule that asks for it.
func judge(policies Policies, c *Conns) (eval.Decision, bool) {
	p := c.Packet
	if c.Hidden == (Hidden{}) {
		return eval.Evaluate(policies[p.Src.Namespace], policies[p.Dst.Namespace], &p), true
	}
	src, dst := policies[p.Src.Namespace], policies[p.Dst.Namespace]
	if c.Hidden.Src {
		src, p.Src.NamespaceLabels = nil, map[string]string{namespaceName: p.Src.Namespace}
	}
	if c.Hidden.Dst {
		dst, p.Dst.NamespaceLabels = nil, map[string]string{namespaceName: p.Dst.Namespace}
	}
	var found [2]eval.Decision
	for i, fits := range []bool{false, true} {
		q := p
		if c.Hidden.Src && q.Src.IsNode {
			q.Src.Node = nodeOf(&q.Dst, fits)
		}
		if c.Hidden.Dst && q.Dst.IsNode {
			q.Dst.Node = nodeOf(&q.Src, fits)
		}
		found[i] = eval.Evaluate(extreme(src, c, fits), extreme(dst, c, fits), &q)
	}
	known := found[0].Verdict == found[1].Verdict
	if found[0].Verdict == flow.PolicyEvalDenied {
		return found[1], known // denied though everything fits: its reasons are what is known
	}
	return found[0], known
}

func nodeOf(s *eval.Side, same bool) string {
	if same {
		return s.Node
	}
	return ""
}

// extreme gives the policies in which what is hidden fits, or does not.
func extreme(list []*cluster.NetworkPolicy, c *Conns, fits bool) []*cluster.NetworkPolicy {
	out := make([]*cluster.NetworkPolicy, 0, len(list))
	for _, np := range list {
		x := *np
		x.IngressRules = rules(np.IngressRules, &c.Packet.Src, c.Hidden.Src, c.Hidden, fits)
		x.EgressRules = rules(np.EgressRules, &c.Packet.Dst, c.Hidden.Dst, c.Hidden, fits)
		out = append(out, &x)
	}
	return out
}

// rules are those of one direction, peer being its other end, which is foreign or not.
// A rule that nothing can fit keeps its place, so that its number stays true.
func rules(list []cluster.PolicyRule, peer *eval.Side, foreign bool, h Hidden, fits bool) []cluster.PolicyRule {
	out := slices.Clone(list)
	for i := range out {
		r := &out[i]
		if foreign {
			r.Peers = peers(r.Peers, peer, fits)
		}
		r.Ports = ports(r.Ports, h, fits)
	}
	return out
}

// nobody is a peer that fits no end: a block without its addresses.
func nobody(p cluster.PolicyPeer) cluster.PolicyPeer {
	none := cluster.Selector{{Key: "", Op: cluster.Exists}}
	return cluster.PolicyPeer{Namespaces: &none, Pods: p.Pods}
}

func peers(list []cluster.PolicyPeer, end *eval.Side, fits bool) []cluster.PolicyPeer {
	out := slices.Clone(list)
	for i := range out {
		switch p := &out[i]; {
		case !asks(p, end):
		case fits:
			return nil // all peers
		default:
			*p = nobody(*p)
		}
	}
	return out
}

// namespaceName is the label that every namespace has, with its name.
const namespaceName = "kubernetes.io/metadata.name"

// asks says whether a peer asks for what is hidden of an end in another namespace than
// the policy's.
func asks(p *cluster.PolicyPeer, end *eval.Side) bool {
	if p.Block.IsValid() {
		return true
	}
	if p.Namespaces == nil || !end.Selectable {
		return false
	}
	for _, r := range *p.Namespaces {
		if r.Key != namespaceName {
			return true
		}
	}
	return p.Namespaces.Matches(map[string]string{namespaceName: end.Namespace}) && p.Pods != nil && len(*p.Pods) > 0
}

func ports(list []cluster.PolicyPort, h Hidden, fits bool) []cluster.PolicyPort {
	if len(list) == 0 || !h.Port && !h.Names {
		return list
	}
	out := slices.Clone(list)
	for i := range out {
		switch p := &out[i]; {
		case p.Name == "" && (!h.Port || p.From == 0 && p.To == 0):
		case fits:
			*p = cluster.PolicyPort{Proto: p.Proto} // all ports
		default:
			*p = cluster.PolicyPort{Proto: 255} // reserved: nothing has it
		}
	}
	return out
}
