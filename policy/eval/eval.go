// Package eval says what networking.k8s.io/v1 NetworkPolicies say of a connection.
//
// Idea: it is the specification, written to be read next to the API's own text:
// no index, no cache, one loop over policies, rules and peers. Whatever enforces
// policy, or predicts what a policy would do, has to agree with it.
//
// In: the policies of both ends' namespaces that are in force, and a Packet (both
// ends with labels, protocol, port after translation). Out: a Decision: for each
// direction allowed by which rules, denied by which policies and how near the
// nearest allow was, or unprotected. It observes nothing: what a datapath really
// did is another question, and its answer is another field.
//
// What the API leaves open is answered as undefined: protocols other than TCP, UDP
// and SCTP at a pod that a policy isolates. Blocks of addresses match pods' addresses
// too, as in the implementations that see them. It keeps no state, so it has none to lose.
package eval

import (
	"net/netip"
	"strconv"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

// Side is one end of a packet, as policies see it.
type Side struct {
	Addr            netip.Addr
	Selectable      bool // a pod with an address of its own; policies leave hostNetwork pods alone
	Namespace, Name string
	Node            string
	Labels          map[string]string
	NamespaceLabels map[string]string
	Ports           []cluster.Port // of its containers, for named ports
	IsNode          bool           // the address of a node, or of a hostNetwork pod
}

// Packet opens a connection. Port is the server's after translation.
type Packet struct {
	Src, Dst Side
	Proto    uint8
	Port     uint16
}

// Direction of a rule.
type Direction uint8

// The directions.
const (
	Ingress Direction = iota + 1
	Egress
)

func (d Direction) String() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// Ref names a rule: the policy and its position in spec.ingress or spec.egress,
// from 0 as kubectl counts; -1 for the policy as a whole.
type Ref struct {
	Namespace, Policy string
	Rule              int
}

func (r Ref) String() string {
	if r.Rule < 0 {
		return r.Namespace + "/" + r.Policy
	}
	return r.Namespace + "/" + r.Policy + "[" + strconv.Itoa(r.Rule) + "]"
}

// Near is the rule that came nearest to allowing a connection that is denied.
type Near struct {
	Rule    Ref
	Missing []string // what would have to be otherwise, in words
}

// Finding is the answer of one direction.
type Finding struct {
	Direction Direction
	Verdict   flow.PolicyEval
	Exempt    string // why policies do not matter here, where they would
	By        []Ref  // the rules that allow it, or the policies that deny it
	Near      *Near  // of a denial; nil where no policy has a rule
}

// Decision is the answer of both directions. A connection is allowed only if both
// ends allow it.
type Decision struct {
	Verdict         flow.PolicyEval
	Egress, Ingress Finding
}

// Evaluate judges p. src are the policies of the client's namespace, dst those of
// the server's; either may be empty.
func Evaluate(src, dst []*cluster.NetworkPolicy, p *Packet) Decision {
	d := Decision{
		Egress:  direction(Egress, src, p, &p.Src, &p.Dst),
		Ingress: direction(Ingress, dst, p, &p.Dst, &p.Src),
	}
	d.Verdict = flow.PolicyEvalUnprotected
	for _, v := range []flow.PolicyEval{flow.PolicyEvalAllowed, flow.PolicyEvalUndefined, flow.PolicyEvalDenied} {
		if d.Egress.Verdict == v || d.Ingress.Verdict == v {
			d.Verdict = v
		}
	}
	return d
}

// direction judges one direction: self is the pod whose policies are asked.
func direction(dir Direction, policies []*cluster.NetworkPolicy, p *Packet, self, peer *Side) Finding {
	f := Finding{Direction: dir, Verdict: flow.PolicyEvalUnprotected}
	if !self.Selectable {
		return f
	}
	isolated := false
	var allows, isolates []Ref
	var near *Near
	for _, np := range policies {
		if np.Namespace != self.Namespace || !applies(np, dir) || !np.Pods.Matches(self.Labels) {
			continue
		}
		isolated = true
		isolates = append(isolates, Ref{np.Namespace, np.Name, -1})
		rules := np.IngressRules
		if dir == Egress {
			rules = np.EgressRules
		}
		for i := range rules {
			ref := Ref{np.Namespace, np.Name, i}
			missing := misses(np, &rules[i], p, peer)
			if len(missing) == 0 {
				allows = append(allows, ref)
			} else if near == nil || len(missing) < len(near.Missing) {
				near = &Near{ref, missing}
			}
		}
	}
	switch {
	case !isolated:
	case exempt(self, peer) != "":
		f.Verdict, f.Exempt = flow.PolicyEvalAllowed, exempt(self, peer)
	case len(allows) > 0:
		f.Verdict, f.By = flow.PolicyEvalAllowed, allows
	case !hasPorts(p.Proto):
		f.Verdict, f.By = flow.PolicyEvalUndefined, isolates
	default:
		f.Verdict, f.By, f.Near = flow.PolicyEvalDenied, isolates, near
	}
	return f
}

func applies(np *cluster.NetworkPolicy, dir Direction) bool {
	if dir == Egress {
		return np.Egress
	}
	return np.Ingress
}

// exempt says why no policy can deny a connection: a pod cannot be cut off from
// itself, nor from the node on which it runs.
func exempt(self, peer *Side) string {
	switch {
	case peer.Selectable && peer.Namespace == self.Namespace && peer.Name == self.Name:
		return "a pod always reaches itself"
	case peer.IsNode && peer.Node == self.Node && self.Node != "":
		return "its own node"
	}
	return ""
}

// misses says what of a rule does not fit; nothing where it allows p.
func misses(np *cluster.NetworkPolicy, r *cluster.PolicyRule, p *Packet, peer *Side) []string {
	var out []string
	if !fitsPeers(np, r.Peers, peer) {
		out = append(out, "peers are "+peersText(np, r.Peers))
	}
	if !fitsPorts(r.Ports, p) {
		out = append(out, "ports are "+portsText(r.Ports))
	}
	return out
}

func fitsPeers(np *cluster.NetworkPolicy, peers []cluster.PolicyPeer, peer *Side) bool {
	for i := range peers {
		if fitsPeer(np, &peers[i], peer) {
			return true
		}
	}
	return len(peers) == 0
}

func fitsPeer(np *cluster.NetworkPolicy, pp *cluster.PolicyPeer, peer *Side) bool {
	if pp.Block.IsValid() {
		if !pp.Block.Contains(peer.Addr.Unmap()) {
			return false
		}
		for _, e := range pp.Except {
			if e.Contains(peer.Addr.Unmap()) {
				return false
			}
		}
		return true
	}
	if !peer.Selectable {
		return false
	}
	if pp.Namespaces == nil {
		if peer.Namespace != np.Namespace {
			return false
		}
	} else if !pp.Namespaces.Matches(peer.NamespaceLabels) {
		return false
	}
	return pp.Pods == nil || pp.Pods.Matches(peer.Labels)
}

func fitsPorts(ports []cluster.PolicyPort, p *Packet) bool {
	for i := range ports {
		if fitsPort(&ports[i], p) {
			return true
		}
	}
	return len(ports) == 0
}

func fitsPort(pp *cluster.PolicyPort, p *Packet) bool {
	if pp.Proto != p.Proto {
		return false
	}
	if pp.Name == "" {
		return pp.From == 0 && pp.To == 0 || pp.From <= p.Port && p.Port <= pp.To
	}
	// A name is that of a container's port at the server, in both directions.
	for _, c := range p.Dst.Ports {
		if c.Name == pp.Name && c.Proto == p.Proto && c.Number == p.Port {
			return true
		}
	}
	return false
}

// hasPorts says whether NetworkPolicy defines what it does to a protocol.
func hasPorts(proto uint8) bool {
	return proto == cluster.ProtoTCP || proto == cluster.ProtoUDP || proto == cluster.ProtoSCTP
}
