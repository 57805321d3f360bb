package kube

import (
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weirnet/weir/internal/cluster"
)

// networkPolicy takes what an API server has accepted, or checkPolicy has.
func networkPolicy(p *networkingv1.NetworkPolicy) *cluster.NetworkPolicy {
	out := &cluster.NetworkPolicy{
		Namespace: p.Namespace, Name: p.Name, UID: uid(p.UID), Pods: selector(&p.Spec.PodSelector),
		Ingress: slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress),
		Egress:  slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress),
	}
	if len(p.Spec.PolicyTypes) == 0 { // what the API server's defaulting writes
		out.Ingress, out.Egress = true, len(p.Spec.Egress) > 0
	}
	if !p.CreationTimestamp.IsZero() {
		out.StartMs = p.CreationTimestamp.UnixMilli()
	}
	for i := range p.Spec.Ingress {
		out.IngressRules = append(out.IngressRules, policyRule(p.Spec.Ingress[i].From, p.Spec.Ingress[i].Ports))
	}
	for i := range p.Spec.Egress {
		out.EgressRules = append(out.EgressRules, policyRule(p.Spec.Egress[i].To, p.Spec.Egress[i].Ports))
	}
	return out
}

func policyRule(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) cluster.PolicyRule {
	var r cluster.PolicyRule
	for i := range peers {
		p := &peers[i]
		var pp cluster.PolicyPeer
		if b := p.IPBlock; b != nil {
			if pp.Block = cidr(b.CIDR); !pp.Block.IsValid() {
				continue // such a peer selects nothing; without any peer the rule must not select all
			}
			for _, e := range b.Except {
				if x := cidr(e); x.IsValid() {
					pp.Except = append(pp.Except, x)
				}
			}
		}
		if p.PodSelector != nil {
			s := selector(p.PodSelector)
			pp.Pods = &s
		}
		if p.NamespaceSelector != nil {
			s := selector(p.NamespaceSelector)
			pp.Namespaces = &s
		}
		r.Peers = append(r.Peers, pp)
	}
	if len(peers) > 0 && len(r.Peers) == 0 {
		r.Peers = []cluster.PolicyPeer{{Block: netip.PrefixFrom(netip.IPv6Unspecified(), 128)}}
	}
	for i := range ports {
		r.Ports = append(r.Ports, policyPort(&ports[i]))
	}
	return r
}

func policyPort(p *networkingv1.NetworkPolicyPort) cluster.PolicyPort {
	out := cluster.PolicyPort{Proto: cluster.ProtoTCP}
	if p.Protocol != nil {
		out.Proto = proto(*p.Protocol)
	}
	if p.Port == nil {
		return out
	}
	if p.Port.Type == intstr.String {
		out.Name = p.Port.StrVal
		return out
	}
	out.From = port(p.Port.IntVal)
	out.To = out.From
	if p.EndPort != nil {
		out.To = port(*p.EndPort)
	}
	return out
}

// cidr is not valid where s is none.
func cidr(s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}
	}
	return p.Masked()
}

// selector orders its requirements, so that equal selectors are equal values.
func selector(s *metav1.LabelSelector) cluster.Selector {
	out := make(cluster.Selector, 0, len(s.MatchLabels)+len(s.MatchExpressions))
	for k, v := range s.MatchLabels {
		out = append(out, cluster.Requirement{Key: k, Op: cluster.In, Values: []string{v}})
	}
	slices.SortFunc(out, func(a, b cluster.Requirement) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	for _, e := range s.MatchExpressions {
		out = append(out, cluster.Requirement{Key: e.Key, Op: operator(e.Operator), Values: e.Values})
	}
	return out
}

// operator is 0 for one that does not exist, which selects nothing.
func operator(o metav1.LabelSelectorOperator) cluster.Operator {
	switch o {
	case metav1.LabelSelectorOpIn:
		return cluster.In
	case metav1.LabelSelectorOpNotIn:
		return cluster.NotIn
	case metav1.LabelSelectorOpExists:
		return cluster.Exists
	case metav1.LabelSelectorOpDoesNotExist:
		return cluster.DoesNotExist
	}
	return 0
}

func checkPolicy(p *networkingv1.NetworkPolicy) error {
	if err := checkSelector("spec.podSelector", &p.Spec.PodSelector); err != nil {
		return err
	}
	for i, t := range p.Spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			return fmt.Errorf("spec.policyTypes[%d]: %q is unknown: use Ingress or Egress", i, t)
		}
	}
	for i := range p.Spec.Ingress {
		f := fmt.Sprintf("spec.ingress[%d].", i)
		if err := first(checkPeers(f+"from", p.Spec.Ingress[i].From), checkPolicyPorts(f+"ports", p.Spec.Ingress[i].Ports)); err != nil {
			return err
		}
	}
	for i := range p.Spec.Egress {
		f := fmt.Sprintf("spec.egress[%d].", i)
		if err := first(checkPeers(f+"to", p.Spec.Egress[i].To), checkPolicyPorts(f+"ports", p.Spec.Egress[i].Ports)); err != nil {
			return err
		}
	}
	return nil
}

func checkSelector(field string, s *metav1.LabelSelector) error {
	for i, e := range s.MatchExpressions {
		f := fmt.Sprintf("%s.matchExpressions[%d]", field, i)
		switch operator(e.Operator) {
		case cluster.In, cluster.NotIn:
			if len(e.Values) == 0 {
				return fmt.Errorf("%s.values: operator %s needs at least one value", f, e.Operator)
			}
		case cluster.Exists, cluster.DoesNotExist:
			if len(e.Values) > 0 {
				return fmt.Errorf("%s.values: operator %s takes none", f, e.Operator)
			}
		default:
			return fmt.Errorf("%s.operator: %q is unknown: use In, NotIn, Exists or DoesNotExist", f, e.Operator)
		}
	}
	return nil
}

func checkPeers(field string, peers []networkingv1.NetworkPolicyPeer) error {
	for i := range peers {
		p, f := &peers[i], fmt.Sprintf("%s[%d]", field, i)
		if p.IPBlock == nil && p.PodSelector == nil && p.NamespaceSelector == nil {
			return fmt.Errorf("%s: a peer needs ipBlock, podSelector or namespaceSelector", f)
		}
		if b := p.IPBlock; b != nil {
			if p.PodSelector != nil || p.NamespaceSelector != nil {
				return fmt.Errorf("%s: ipBlock and selectors exclude each other: make them two peers", f)
			}
			outer := cidr(b.CIDR)
			if !outer.IsValid() {
				return fmt.Errorf("%s.ipBlock.cidr: %q is no CIDR: write it like 10.0.0.0/16", f, b.CIDR)
			}
			for j, e := range b.Except {
				x := cidr(e)
				if !x.IsValid() || !outer.Contains(x.Addr()) || x.Bits() <= outer.Bits() {
					return fmt.Errorf("%s.ipBlock.except[%d]: %q is no CIDR within %s", f, j, e, b.CIDR)
				}
			}
		}
		for _, s := range []struct {
			name string
			sel  *metav1.LabelSelector
		}{{".podSelector", p.PodSelector}, {".namespaceSelector", p.NamespaceSelector}} {
			if s.sel != nil {
				if err := checkSelector(f+s.name, s.sel); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkPolicyPorts(field string, ports []networkingv1.NetworkPolicyPort) error {
	for i := range ports {
		p, f := &ports[i], fmt.Sprintf("%s[%d].", field, i)
		if p.Protocol != nil {
			if err := checkProto(f+"protocol", *p.Protocol); err != nil {
				return err
			}
		}
		switch {
		case p.Port == nil:
			if p.EndPort != nil {
				return fmt.Errorf("%sendPort: it needs port", f)
			}
		case p.Port.Type == intstr.String:
			if p.Port.StrVal == "" || p.EndPort != nil {
				return fmt.Errorf("%sport: a named port needs a name, and takes no endPort", f)
			}
		default:
			if err := checkPort(f+"port", p.Port.IntVal); err != nil {
				return err
			}
			if p.EndPort != nil {
				if err := checkPort(f+"endPort", *p.EndPort); err != nil {
					return err
				}
				if *p.EndPort < p.Port.IntVal {
					return fmt.Errorf("%sendPort: %d is below port %d", f, *p.EndPort, p.Port.IntVal)
				}
			}
		}
	}
	return nil
}
