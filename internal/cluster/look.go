package cluster

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// PodState is a pod as it is now. It never changes.
type PodState struct {
	*Identity
	IPs  []netip.Addr
	Done bool // it gave its addresses back
}

// ServiceState is a Service as it is now, with what its EndpointSlices say. It never
// changes.
type ServiceState struct {
	Namespace, Name string
	ClusterIPs      []netip.Addr
	Ports           []Port
	Ready, Unready  int      // addresses of endpoints
	EndpointPorts   []uint16 // where endpoints are said to listen, sorted
}

// Namespaces gives the names of the cluster's namespaces, sorted.
func (x *Index) Namespaces() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]string, 0, len(x.nsLabels))
	for n := range x.nsLabels {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Pods gives the pods of a namespace by name.
func (x *Index) Pods(namespace string) []*PodState {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]*PodState, 0, len(x.pods[namespace]))
	for _, p := range x.pods[namespace] {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *PodState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Nodes gives the nodes whose objects are known, by name.
func (x *Index) Nodes() []*Node {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := slices.Collect(maps.Values(x.nodes))
	slices.SortFunc(out, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Services gives the Services of a namespace by name.
func (x *Index) Services(namespace string) (out []*ServiceState) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, s := range x.named {
		if s.Namespace == namespace {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *ServiceState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// ServiceNamed gives a Service; nil where there is none.
func (x *Index) ServiceNamed(namespace, name string) *ServiceState {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.named[namespace+"/"+name]
}

// showNode keeps what Nodes gives; gone takes it away.
func (x *Index) showNode(n *Node, gone bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if gone {
		delete(x.nodes, n.Name)
		return
	}
	x.nodes[n.Name] = n
}

// showPod keeps what Pods gives; gone takes it away.
func (x *Index) showPod(st *podState, gone bool) {
	p := st.pod
	x.mu.Lock()
	defer x.mu.Unlock()
	if gone {
		delete(x.pods[p.Namespace], p.Name)
		if len(x.pods[p.Namespace]) == 0 {
			delete(x.pods, p.Namespace)
		}
		return
	}
	if x.pods[p.Namespace] == nil {
		x.pods[p.Namespace] = map[string]*PodState{}
	}
	x.pods[p.Namespace][p.Name] = &PodState{Identity: st.id, IPs: p.IPs, Done: p.Done}
}

// showService keeps what ServiceNamed gives; without a Service it takes it away.
func (m *Model) showService(k string) {
	x := m.idx
	st := m.services[k]
	if st == nil || st.svc == nil {
		x.mu.Lock()
		delete(x.named, k)
		x.mu.Unlock()
		return
	}
	s := &ServiceState{Namespace: st.svc.Namespace, Name: st.svc.Name, ClusterIPs: st.svc.ClusterIPs, Ports: st.svc.Ports}
	for _, e := range m.bySvc[k] {
		s.Unready += len(e.Unready)
		s.Ready += len(e.Addresses) - len(e.Unready)
		for _, p := range e.Ports {
			if !slices.Contains(s.EndpointPorts, p.Number) {
				s.EndpointPorts = append(s.EndpointPorts, p.Number)
			}
		}
	}
	slices.Sort(s.EndpointPorts)
	x.mu.Lock()
	x.named[k] = s
	x.mu.Unlock()
}
