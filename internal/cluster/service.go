package cluster

import (
	"net/netip"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

func (m *Model) applyService(now int64, s *Service, del bool) {
	k := s.Namespace + "/" + s.Name
	st := m.services[k]
	if st == nil {
		if del {
			return
		}
		st = &svcState{}
		m.services[k] = st
	}
	want := map[key]*ServicePort{}
	from := s.StartMs
	if from == 0 {
		from = now
	}
	if st.svc != nil && (del || st.svc.UID != s.UID) {
		m.claimService(now, st, want)
		m.setBackends(st, nil)
	}
	if del {
		delete(m.services, k)
		m.showService(k)
		return
	}
	st.svc, st.owner = s, k+"\x00"+string(s.UID[:])
	for i := range s.Ports {
		p := &s.Ports[i]
		sp := servicePort(s, p)
		for _, a := range s.ClusterIPs {
			want[key{flow.Addr16(a), p.Number, p.Proto}] = sp
		}
		for _, a := range s.ExternalIPs {
			want[key{flow.Addr16(a), p.Number, p.Proto}] = sp
		}
		if p.Node != 0 {
			want[key{port: p.Node, proto: p.Proto}] = sp
		}
	}
	m.claimService(now, st, want)
	for key, sp := range want {
		m.idx.services.claim(key, st.owner, from, sp)
	}
	m.rebuildBackends(k)
}

// claimService ends the claims that are not wanted any more.
func (m *Model) claimService(now int64, st *svcState, want map[key]*ServicePort) {
	for key := range st.claims {
		if want[key] == nil {
			m.idx.services.release(key, st.owner, now)
		}
	}
	st.claims = want
}

func servicePort(s *Service, p *Port) *ServicePort {
	sp := &ServicePort{
		Namespace: s.Namespace, Name: s.Name, Port: p.Name, UID: s.UID,
		Number: p.Number, NodePort: p.Node, Ref: s.Namespace + "/" + s.Name, ClusterIPs: s.ClusterIPs,
	}
	if p.Name != "" {
		sp.Ref += ":" + p.Name
	}
	return sp
}

func (m *Model) applyEndpoints(e *EndpointSlice, del bool) {
	k := e.Namespace + "/" + e.Name
	if old := m.slices[k]; old != nil {
		svc := old.Namespace + "/" + old.Service
		delete(m.bySvc[svc], k)
		if len(m.bySvc[svc]) == 0 {
			delete(m.bySvc, svc)
		}
		delete(m.slices, k)
		if del || old.Service != e.Service {
			m.rebuildBackends(svc)
		}
	}
	if del || e.Service == "" {
		return
	}
	m.slices[k] = e
	svc := e.Namespace + "/" + e.Service
	if m.bySvc[svc] == nil {
		m.bySvc[svc] = map[string]*EndpointSlice{}
	}
	m.bySvc[svc][k] = e
	m.rebuildBackends(svc)
}

// rebuildBackends says anew which endpoints a Service has, from the Service and
// all of its slices.
func (m *Model) rebuildBackends(svc string) {
	m.showService(svc)
	st := m.services[svc]
	if st == nil {
		return
	}
	want := map[key][]*ServicePort{}
	for i := range st.svc.Ports {
		p := &st.svc.Ports[i]
		sp := servicePort(st.svc, p)
		for _, s := range m.bySvc[svc] {
			for _, ep := range s.Ports {
				if ep.Name != p.Name || ep.Proto != p.Proto {
					continue
				}
				for _, a := range s.Addresses {
					k := key{flow.Addr16(a), ep.Number, ep.Proto}
					want[k] = append(want[k], sp)
				}
			}
		}
	}
	m.setBackends(st, want)
}

func (m *Model) setBackends(st *svcState, want map[key][]*ServicePort) {
	x := m.idx
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range st.back {
		rest := slices.DeleteFunc(x.backends[k], func(s *ServicePort) bool {
			return s.Namespace == st.svc.Namespace && s.Name == st.svc.Name
		})
		if len(rest) == 0 {
			delete(x.backends, k)
		} else {
			x.backends[k] = rest
		}
	}
	st.back = st.back[:0]
	for k, ports := range want {
		x.backends[k] = append(x.backends[k], ports...)
		st.back = append(st.back, k)
	}
}

// Clean gives an address in the one form that the index compares: unmapped, with
// no zone.
func Clean(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
