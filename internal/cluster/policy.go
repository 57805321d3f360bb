package cluster

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
)

// Operator of a label requirement (metav1.LabelSelectorOperator).
type Operator uint8

// The operators. As in Kubernetes, NotIn holds where the label is missing.
const (
	In Operator = iota + 1
	NotIn
	Exists
	DoesNotExist
)

// Requirement is one condition on labels.
type Requirement struct {
	Key    string
	Op     Operator
	Values []string
}

// Selector is a label selector: all of its requirements hold. The empty one
// selects everything.
type Selector []Requirement

// Matches says whether the selector selects something with these labels.
func (s Selector) Matches(labels map[string]string) bool {
	for i := range s {
		r := &s[i]
		v, has := labels[r.Key]
		ok := false
		switch r.Op {
		case In:
			ok = has && slices.Contains(r.Values, v)
		case NotIn:
			ok = !has || !slices.Contains(r.Values, v)
		case Exists:
			ok = has
		case DoesNotExist:
			ok = !has
		}
		if !ok {
			return false
		}
	}
	return true
}

// String writes the selector as kubectl's -l takes it; "" selects everything.
func (s Selector) String() string {
	var b strings.Builder
	for i := range s {
		r := &s[i]
		if i > 0 {
			b.WriteByte(',')
		}
		switch {
		case r.Op == Exists:
			b.WriteString(r.Key)
		case r.Op == DoesNotExist:
			b.WriteString("!" + r.Key)
		case r.Op == In && len(r.Values) == 1:
			b.WriteString(r.Key + "=" + r.Values[0])
		case r.Op == NotIn && len(r.Values) == 1:
			b.WriteString(r.Key + "!=" + r.Values[0])
		case r.Op == In:
			b.WriteString(r.Key + " in (" + strings.Join(r.Values, ",") + ")")
		default:
			b.WriteString(r.Key + " notin (" + strings.Join(r.Values, ",") + ")")
		}
	}
	return b.String()
}

// ParseLabels reads labels as Pod.Labels and Namespace.Labels keep them; nil where
// the text is no JSON object of strings.
func ParseLabels(text string) map[string]string {
	var m map[string]string
	if json.Unmarshal([]byte(text), &m) != nil {
		return nil
	}
	return m
}

// NetworkPolicy is a networking.k8s.io/v1 NetworkPolicy.
type NetworkPolicy struct {
	Namespace, Name string
	UID             UID
	StartMs         int64    // creation; 0 unknown
	Pods            Selector // of its namespace
	Ingress, Egress bool     // policyTypes
	IngressRules    []PolicyRule
	EgressRules     []PolicyRule
}

// PolicyRule allows what comes from (ingress) or goes to (egress) one of Peers at
// one of Ports. No peers are all peers, no ports all ports.
type PolicyRule struct {
	Peers []PolicyPeer
	Ports []PolicyPort
}

// PolicyPeer is either a block of addresses or pods by selectors. Without
// Namespaces the pods are those of the policy's namespace, without Pods all of them.
type PolicyPeer struct {
	Pods, Namespaces *Selector
	Block            netip.Prefix // not valid: none
	Except           []netip.Prefix
}

// PolicyPort is a protocol with a name (of a container's port), a range, or, with
// neither, all ports.
type PolicyPort struct {
	Proto    uint8
	Name     string
	From, To uint16 // both 0: all ports
}

// PolicySet is the NetworkPolicies of one namespace in force at one time, ordered
// by name. It never changes.
type PolicySet struct {
	Policies []*NetworkPolicy
}

// maxPolicySpans bounds the history of one namespace's policies; what is in force
// is kept whatever its number.
const maxPolicySpans = 1024

// policySpan is the time for which a policy had a certain text.
type policySpan struct {
	from, to int64
	p        *NetworkPolicy
}

// policies are one namespace's, with what readers asked of them lately.
type policies struct {
	spans []policySpan
	eras  []policyEra
}

// policyEra is a time [from, to) in which one set was in force.
type policyEra struct {
	from, to int64
	set      *PolicySet
}

// maxEras bounds what is kept for readers; they ask about few times between two changes.
const maxEras = 16

// applyPolicy begins and ends spans. A text that is first seen holds since the
// policy's creation, a changed one since now.
func (m *Model) applyPolicy(now int64, p *NetworkPolicy, del bool) {
	x := m.idx
	x.mu.Lock()
	defer x.mu.Unlock()
	ps := x.policies[p.Namespace]
	if ps == nil {
		ps = &policies{}
		x.policies[p.Namespace] = ps
	}
	from := p.StartMs
	if from == 0 {
		from = now
	}
	for i := range ps.spans {
		if s := &ps.spans[i]; s.to == open && s.p.Name == p.Name {
			s.to = max(now, s.from)
			m.n.NetworkPolicies--
			if !del && s.p.UID == p.UID {
				from = s.to
			}
		}
	}
	if !del {
		ps.spans = append(ps.spans, policySpan{from, open, p})
		m.n.NetworkPolicies++
	}
	m.trimPolicies(now, p.Namespace, ps)
}

// expirePolicies forgets what ended too long ago.
func (m *Model) expirePolicies(now int64) {
	x := m.idx
	x.mu.Lock()
	defer x.mu.Unlock()
	m.expireNamespaces(now)
	for ns, ps := range x.policies {
		if slices.ContainsFunc(ps.spans, func(s policySpan) bool { return s.to < now-m.lim.AgeMs }) {
			m.trimPolicies(now, ns, ps)
		}
	}
}

// trimPolicies drops what the limits do not allow, the oldest first, and what
// readers were told. The index is locked.
func (m *Model) trimPolicies(now int64, ns string, ps *policies) {
	h := now - m.lim.AgeMs
	over := len(ps.spans) - maxPolicySpans
	ps.spans = slices.DeleteFunc(ps.spans, func(s policySpan) bool {
		switch {
		case s.to == open || s.to >= h && over <= 0:
			return false
		case s.to >= h:
			m.n.Evicted.PerKey++
		default:
			m.n.Evicted.Age++
		}
		over--
		return true
	})
	ps.eras = nil
	m.idx.policyGen++
	if len(ps.spans) == 0 {
		delete(m.idx.policies, ns)
	}
}

// at finds or makes the era of a time.
func (ps *policies) at(ms int64) policyEra {
	e := policyEra{from: 0, to: open}
	set := &PolicySet{}
	for i := range ps.spans {
		s := &ps.spans[i]
		for _, cut := range [2]int64{s.from, s.to} {
			if cut <= ms {
				e.from = max(e.from, cut)
			} else {
				e.to = min(e.to, cut)
			}
		}
		if s.from <= ms && ms < s.to {
			set.Policies = append(set.Policies, s.p)
		}
	}
	slices.SortFunc(set.Policies, func(a, b *NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
	if len(set.Policies) > 0 {
		e.set = set
	}
	if len(ps.eras) >= maxEras {
		ps.eras = nil
	}
	ps.eras = append(ps.eras, e)
	return e
}

// PolicyReader is the part of Index that judging flows by policies needs.
type PolicyReader interface {
	// Policies gives those of a namespace that were in force at ms; nil for none.
	Policies(namespace string, ms int64) *PolicySet
	// NamespaceLabelsAt gives the labels that a namespace had at ms, as JSON.
	NamespaceLabelsAt(namespace string, ms int64) string
	// PolicyGeneration changes with every policy and namespace.
	PolicyGeneration() uint64
}

var _ PolicyReader = (*Index)(nil)

// Policies implements PolicyReader.
func (x *Index) Policies(namespace string, ms int64) *PolicySet {
	x.mu.RLock()
	ps := x.policies[namespace]
	if ps == nil {
		x.mu.RUnlock()
		return nil
	}
	for i := range ps.eras {
		if e := &ps.eras[i]; e.from <= ms && ms < e.to {
			set := e.set
			x.mu.RUnlock()
			return set
		}
	}
	x.mu.RUnlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if ps = x.policies[namespace]; ps == nil {
		return nil
	}
	return ps.at(ms).set
}

// NamespaceLabels gives the labels that a namespace has now, as JSON.
func (x *Index) NamespaceLabels(namespace string) string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.nsLabels[namespace]
}

// maxNSPast bounds the history of one namespace's labels, which change seldom.
const maxNSPast = 16

// nsSpan are the labels that a namespace had until then.
type nsSpan struct {
	to     int64
	labels string
}

// NamespaceLabelsAt implements PolicyReader. Labels that were there when the namespace was
// first seen hold for the time before, too.
func (x *Index) NamespaceLabelsAt(namespace string, ms int64) string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, s := range x.nsPast[namespace] {
		if ms < s.to {
			return s.labels
		}
	}
	return x.nsLabels[namespace]
}

// endNamespace notes what the labels were until now. The index is locked.
func (m *Model) endNamespace(now int64, name string) {
	x := m.idx
	labels, ok := x.nsLabels[name]
	if !ok {
		return
	}
	past := append(x.nsPast[name], nsSpan{now, labels})
	if n := len(past) - maxNSPast; n > 0 {
		past = slices.Delete(past, 0, n)
		m.n.Evicted.PerKey += uint64(n)
	}
	x.nsPast[name] = past
}

// expireNamespaces forgets labels that ended too long ago. The index is locked.
func (m *Model) expireNamespaces(now int64) {
	for name, past := range m.idx.nsPast {
		past = slices.DeleteFunc(past, func(s nsSpan) bool { return s.to < now-m.lim.AgeMs })
		if m.idx.nsPast[name] = past; len(past) == 0 {
			delete(m.idx.nsPast, name)
		}
	}
}

// PolicyGeneration implements PolicyReader.
func (x *Index) PolicyGeneration() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.policyGen
}

func (m *Model) applyNamespace(now int64, n *Namespace, del bool) {
	x := m.idx
	x.mu.Lock()
	defer x.mu.Unlock()
	x.policyGen++
	if del || x.nsLabels[n.Name] != n.Labels {
		m.endNamespace(now, n.Name)
	}
	if del {
		delete(m.ns, n.Name)
		delete(x.nsLabels, n.Name)
		return
	}
	m.ns[n.Name] = n
	x.nsLabels[n.Name] = n.Labels
}
