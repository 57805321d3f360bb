package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weirnet/weir/api/flow"
)

// Stats are a Model's numbers. Read them from any goroutine.
type Stats struct {
	Pods, Nodes, Services, EndpointSlices, ReplicaSets, Namespaces int
	NetworkPolicies                                                int // in force
	Spans                                                          int // claims held, open and ended
	Events                                                         uint64
	Evicted                                                        Evicted
}

// Model is the current state of the cluster, and the writer of an Index. One
// goroutine owns it.
type Model struct {
	lim   Limits
	idx   *Index
	stats atomic.Pointer[Stats]

	pods     map[string]*podState
	nodes    map[string]*nodeRef
	services map[string]*svcState
	slices   map[string]*EndpointSlice
	bySvc    map[string]map[string]*EndpointSlice // namespace/service -> slice name
	rs       map[string]Owner
	rsGone   map[string]bool                 // deleted, but pods still name it
	byRS     map[string]map[string]*podState // namespace/replicaset -> pod key
	ns       map[string]*Namespace
	n        Stats
}

type podState struct {
	pod   *Pod
	id    *Identity
	owner string // of its claims: names and UID
	addrs []key
	ports []key
}

type svcState struct {
	svc    *Service
	owner  string
	claims map[key]*ServicePort
	back   []key // backends that it has
}

// NewModel makes an empty Model.
func NewModel(lim Limits) *Model {
	m := &Model{
		lim: lim,
		idx: &Index{
			ends: newTable[Identity](lim), host: newTable[Identity](lim), services: newTable[ServicePort](lim),
			cidrs: map[netip.Prefix][]cidrHolder{}, backends: map[key][]*ServicePort{},
			pods: map[string]map[string]*PodState{}, named: map[string]*ServiceState{}, nodes: map[string]*Node{},
			policies: map[string]*policies{}, nsLabels: map[string]string{}, nsPast: map[string][]nsSpan{},
		},
		pods: map[string]*podState{}, nodes: map[string]*nodeRef{}, services: map[string]*svcState{},
		slices: map[string]*EndpointSlice{}, bySvc: map[string]map[string]*EndpointSlice{},
		rs: map[string]Owner{}, rsGone: map[string]bool{}, byRS: map[string]map[string]*podState{}, ns: map[string]*Namespace{},
	}
	m.stats.Store(&Stats{})
	return m
}

// Index gives the readers' side.
func (m *Model) Index() *Index { return m.idx }

// Stats gives the numbers as of the last Apply or Expire.
func (m *Model) Stats() Stats { return *m.stats.Load() }

// Apply takes one change into account. nowMs is the time of its arrival.
func (m *Model) Apply(nowMs int64, e Event) {
	m.n.Events++
	switch {
	case e.Pod != nil:
		m.applyPod(nowMs, e.Pod, e.Delete)
	case e.Node != nil:
		m.applyNode(nowMs, e.Node, e.Delete)
	case e.Service != nil:
		m.applyService(nowMs, e.Service, e.Delete)
	case e.Endpoints != nil:
		m.applyEndpoints(e.Endpoints, e.Delete)
	case e.ReplicaSet != nil:
		m.applyReplicaSet(e.ReplicaSet, e.Delete)
	case e.Namespace != nil:
		m.applyNamespace(nowMs, e.Namespace, e.Delete)
	case e.NetworkPolicy != nil:
		m.applyPolicy(nowMs, e.NetworkPolicy, e.Delete)
	}
	if m.n.Events&255 == 0 {
		m.Expire(nowMs)
		return
	}
	m.publish()
}

// Expire forgets what is older than the limits allow.
func (m *Model) Expire(nowMs int64) {
	h := nowMs - m.lim.AgeMs
	m.idx.ends.expire(h)
	m.idx.host.expire(h)
	m.idx.services.expire(h)
	m.expirePolicies(nowMs)
	m.publish()
}

func (m *Model) publish() {
	s := m.n
	s.Pods, s.Services, s.EndpointSlices = len(m.pods), len(m.services), len(m.slices)
	s.ReplicaSets, s.Namespaces = len(m.rs), len(m.ns)
	x := m.idx
	s.Spans = x.ends.spans + x.host.spans + x.services.spans
	for _, e := range []Evicted{x.ends.evicted, x.host.evicted, x.services.evicted} {
		s.Evicted.Age += e.Age
		s.Evicted.PerKey += e.PerKey
		s.Evicted.Total += e.Total
	}
	m.stats.Store(&s)
}

func (m *Model) applyPod(now int64, p *Pod, del bool) {
	k := p.Namespace + "/" + p.Name
	old := m.pods[k]
	// A deletion and a creation of one name may arrive as one change (the watch
	// was away): another UID is another pod.
	if old != nil && (del || old.pod.UID != p.UID) {
		end := now
		if !del && p.StartMs > 0 && p.StartMs < end {
			end = p.StartMs
		}
		m.dropPod(k, old, end)
		old = nil
	}
	if del {
		return
	}
	st := old
	if st == nil {
		st = &podState{owner: k + "\x00" + string(p.UID[:])}
		m.pods[k] = st
		m.hold(p.Node)
	} else if st.pod.Node != p.Node {
		m.letGo(st.pod.Node)
		m.hold(p.Node)
	}
	m.linkRS(k, st, p)
	st.pod, st.id = p, m.identity(p)
	m.claimPod(now, st)
}

// claimPod makes the pod's claims equal to what the pod says.
func (m *Model) claimPod(now int64, st *podState) {
	p := st.pod
	var addrs, ports []key
	if !p.Done {
		for _, a := range p.IPs {
			b := flow.Addr16(a)
			if !p.HostNetwork {
				addrs = append(addrs, key{addr: b})
				continue
			}
			for _, c := range p.Ports {
				ports = append(ports, key{b, c.Number, c.Proto})
			}
		}
	}
	from := p.StartMs
	if from == 0 {
		from = now
	}
	end := now
	if p.EndMs > 0 {
		end = min(now, p.EndMs+granularity)
	}
	reclaim(m.idx.ends, st.addrs, addrs, st, span2{from, end})
	reclaim(m.idx.host, st.ports, ports, st, span2{from, end})
	st.addrs, st.ports = addrs, ports
	m.idx.showPod(st, false)
}

type span2 struct{ from, to int64 }

func reclaim(t *table[Identity], have, want []key, st *podState, s span2) {
	for _, k := range have {
		if !slices.Contains(want, k) {
			t.release(k, st.owner, s.to)
		}
	}
	for _, k := range want {
		t.claim(k, st.owner, s.from, st.id)
	}
}

func (m *Model) dropPod(k string, st *podState, end int64) {
	if e := st.pod.EndMs; e > 0 {
		end = min(end, e+granularity)
	}
	reclaim(m.idx.ends, st.addrs, nil, st, span2{0, end})
	reclaim(m.idx.host, st.ports, nil, st, span2{0, end})
	m.idx.showPod(st, true)
	m.unlinkRS(k, st)
	m.letGo(st.pod.Node)
	delete(m.pods, k)
}

func (m *Model) identity(p *Pod) *Identity {
	id := &Identity{
		Kind: flow.EndPod, Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		Labels: p.Labels, Ports: p.Ports, Workload: m.workload(p), node: m.nodes[p.Node],
	}
	if p.HostNetwork {
		id.Kind = flow.EndHostPod
	}
	return id
}

// workload names what a person deployed: a ReplicaSet's owner where it is known,
// the ReplicaSet's name without the template's hash before that.
func (m *Model) workload(p *Pod) string {
	o := p.Owner
	if o.Kind == "" {
		return "Pod/" + p.Name
	}
	if o.Kind == "ReplicaSet" {
		if up, ok := m.rs[p.Namespace+"/"+o.Name]; ok {
			if up.Kind != "" {
				o = up
			}
		} else if base, ok := strings.CutSuffix(o.Name, "-"+p.TemplateHash); ok && p.TemplateHash != "" {
			o = Owner{Kind: "Deployment", Name: base}
		}
	}
	return o.Kind + "/" + o.Name
}

func (m *Model) linkRS(k string, st *podState, p *Pod) {
	if st.pod != nil {
		if st.pod.Owner == p.Owner {
			return
		}
		m.unlinkRS(k, st)
	}
	if p.Owner.Kind != "ReplicaSet" {
		return
	}
	r := p.Namespace + "/" + p.Owner.Name
	if m.byRS[r] == nil {
		m.byRS[r] = map[string]*podState{}
	}
	m.byRS[r][k] = st
}

func (m *Model) unlinkRS(k string, st *podState) {
	if st.pod.Owner.Kind != "ReplicaSet" {
		return
	}
	r := st.pod.Namespace + "/" + st.pod.Owner.Name
	delete(m.byRS[r], k)
	if len(m.byRS[r]) == 0 {
		delete(m.byRS, r)
		if m.rsGone[r] {
			delete(m.rs, r)
			delete(m.rsGone, r)
		}
	}
}

func (m *Model) applyReplicaSet(r *ReplicaSet, del bool) {
	k := r.Namespace + "/" + r.Name
	if del {
		// The owner goes first when a workload is deleted; its pods keep their name.
		if len(m.byRS[k]) > 0 {
			m.rsGone[k] = true
		} else {
			delete(m.rs, k)
		}
		return
	}
	delete(m.rsGone, k)
	if o, ok := m.rs[k]; ok && o == r.Owner {
		return
	}
	m.rs[k] = r.Owner
	for _, st := range m.byRS[k] {
		id := *st.id
		id.Workload = m.workload(st.pod)
		st.id = &id
		reclaim(m.idx.ends, nil, st.addrs, st, span2{})
		reclaim(m.idx.host, nil, st.ports, st, span2{})
		m.idx.showPod(st, false)
	}
}

// hold makes sure that a named node has a place, whether its object is known or not.
func (m *Model) hold(name string) *nodeRef {
	if name == "" {
		return nil
	}
	n := m.nodes[name]
	if n == nil {
		n = &nodeRef{name: name}
		n.id = &Identity{Kind: flow.EndNode, node: n}
		n.gap = &Identity{Kind: flow.EndUnknown, node: n}
		m.nodes[name] = n
	}
	n.refs++
	return n
}

func (m *Model) letGo(name string) {
	if n := m.nodes[name]; n != nil {
		if n.refs--; n.refs <= 0 {
			delete(m.nodes, name)
		}
	}
}

func nodeOwner(n *Node) string { return "node\x00" + n.Name + string(n.UID[:]) }

func (m *Model) applyNode(now int64, n *Node, del bool) {
	ref := m.nodes[n.Name]
	var old *Node
	if ref != nil && ref.present {
		old = ref.p.Load()
	}
	if old == nil {
		if del {
			return
		}
		ref = m.hold(n.Name)
		ref.present = true
		m.n.Nodes++
	}
	if old != nil && (del || old.UID != n.UID) {
		m.placeNode(now, ref, old, nil)
		old = nil
	}
	if del {
		m.n.Nodes--
		m.idx.showNode(n, true)
		ref.present = false
		m.letGo(n.Name) // flows of the recent past still find it through their spans
		return
	}
	m.placeNode(now, ref, old, n)
	ref.p.Store(n)
	m.idx.showNode(n, false)
}

// placeNode moves the node's claims from what old says to what n says.
func (m *Model) placeNode(now int64, ref *nodeRef, old, n *Node) {
	var have, want []netip.Addr
	var hadC, wantC []netip.Prefix
	if old != nil {
		have, hadC = old.Addresses, old.PodCIDRs
	}
	if n != nil {
		want, wantC = n.Addresses, n.PodCIDRs
	}
	for _, a := range have {
		if !slices.Contains(want, a) {
			m.idx.ends.release(key{addr: flow.Addr16(a)}, nodeOwner(old), now)
		}
	}
	for _, a := range want {
		from := n.StartMs
		if from == 0 {
			from = now
		}
		m.idx.ends.claim(key{addr: flow.Addr16(a)}, nodeOwner(n), from, ref.id)
	}
	if !slices.Equal(hadC, wantC) {
		var start int64
		if n != nil {
			start = n.StartMs
		}
		m.idx.setCIDRs(ref, start, hadC, wantC)
	}
}

// setCIDRs replaces the pod networks of a node. Where two nodes claim one (a node
// was replaced), the younger has it, and the name decides between twins.
func (x *Index) setCIDRs(ref *nodeRef, startMs int64, have, want []netip.Prefix) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range have {
		p = prefix16(p)
		rest := slices.DeleteFunc(x.cidrs[p], func(h cidrHolder) bool { return h.ref == ref })
		if len(rest) == 0 {
			delete(x.cidrs, p)
		} else {
			x.cidrs[p] = rest
		}
	}
	for _, p := range want {
		p = prefix16(p)
		list := append(x.cidrs[p], cidrHolder{ref, startMs})
		slices.SortFunc(list, func(a, b cidrHolder) int {
			return cmp.Or(cmp.Compare(b.startMs, a.startMs), cmp.Compare(a.ref.name, b.ref.name))
		})
		x.cidrs[p] = list
	}
	x.bits = x.bits[:0]
	for p := range x.cidrs {
		if b := uint8(p.Bits()); !slices.Contains(x.bits, b) {
			x.bits = append(x.bits, b)
		}
	}
	slices.Sort(x.bits)
	slices.Reverse(x.bits)
}

// prefix16 gives the prefix of the 16-byte form of the addresses.
func prefix16(p netip.Prefix) netip.Prefix {
	p = p.Masked()
	if p.Addr().Is4() {
		return netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), p.Bits()+96)
	}
	return p
}
