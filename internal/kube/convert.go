package kube

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weirnet/weir/internal/cluster"
)

// uid gives a UID's 16 bytes; zero where it is no UUID.
func uid(u types.UID) (out cluster.UID) {
	b, err := hex.DecodeString(strings.ReplaceAll(string(u), "-", ""))
	if err == nil && len(b) == 16 && len(u) == 36 {
		copy(out[:], b)
	}
	return out
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, cluster.Clean(a))
		}
	}
	return out
}

func labels(m map[string]string) string {
	if len(m) == 0 {
		return "{}"
	}
	b, err := json.Marshal(m) // sorts the keys
	if err != nil {
		return "{}"
	}
	return string(b)
}

func owner(refs []metav1.OwnerReference) cluster.Owner {
	for _, r := range refs {
		if r.Controller != nil && *r.Controller {
			return cluster.Owner{Kind: r.Kind, Name: r.Name}
		}
	}
	return cluster.Owner{}
}

func proto(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return cluster.ProtoUDP
	case corev1.ProtocolSCTP:
		return cluster.ProtoSCTP
	case corev1.ProtocolTCP, "":
		return cluster.ProtoTCP
	}
	return 0
}

func port(n int32) uint16 {
	if n < 0 || n > 65535 {
		return 0
	}
	return uint16(n)
}

func pod(p *corev1.Pod) *cluster.Pod {
	out := &cluster.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: uid(p.UID), Node: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork,
		Owner: owner(p.OwnerReferences), TemplateHash: template(p.Labels), Labels: labels(p.Labels),
		Done: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
	}
	for _, a := range p.Status.PodIPs {
		out.IPs = append(out.IPs, addrs(a.IP)...)
	}
	if len(out.IPs) == 0 {
		out.IPs = addrs(p.Status.PodIP)
	}
	if len(out.IPs) == 0 && p.Spec.HostNetwork {
		out.IPs = addrs(p.Status.HostIP)
	}
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			for _, c := range list[i].Ports {
				out.Ports = append(out.Ports, cluster.Port{Name: c.Name, Proto: proto(c.Protocol), Number: port(c.ContainerPort)})
			}
		}
	}
	for i := range p.Spec.Containers {
		if s := p.Spec.Containers[i].Image; s != "" {
			out.Images = append(out.Images, s)
		}
	}
	for i := range p.Status.ContainerStatuses {
		out.Restarts += int(p.Status.ContainerStatuses[i].RestartCount)
	}
	out.StartMs, out.EndMs = lifetime(&p.Status)
	return out
}

// template names the revision of a workload that a pod is of.
func template(l map[string]string) string {
	if h := l["pod-template-hash"]; h != "" {
		return h
	}
	return l["controller-revision-hash"]
}

// lifetime says since when a pod can have sent packets, and until when it did.
// The first container starts right after the pod got its address, which is a
// tighter bound than status.startTime; a container that was started again forgot
// when it first was, so the pod's own time has to do then.
func lifetime(s *corev1.PodStatus) (start, end int64) {
	ended, restarted, n := true, false, 0
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range list {
			c := &list[i]
			n++
			restarted = restarted || c.RestartCount > 0
			var at *metav1.Time
			if c.State.Running != nil {
				at, ended = &c.State.Running.StartedAt, false
			} else if t := c.State.Terminated; t != nil {
				at = &t.StartedAt
				end = max(end, t.FinishedAt.UnixMilli())
			} else {
				ended = false
			}
			if at != nil && !at.IsZero() && (start == 0 || at.UnixMilli() < start) {
				start = at.UnixMilli()
			}
		}
	}
	if !ended || n == 0 {
		end = 0
	}
	if (start == 0 || restarted) && s.StartTime != nil {
		start = s.StartTime.UnixMilli()
	}
	return start, max(end, 0)
}

func node(n *corev1.Node) *cluster.Node {
	out := &cluster.Node{Name: n.Name, UID: uid(n.UID), Zone: n.Labels[corev1.LabelTopologyZone]}
	if out.Zone == "" {
		out.Zone = n.Labels[corev1.LabelFailureDomainBetaZone]
	}
	if !n.CreationTimestamp.IsZero() {
		out.StartMs = n.CreationTimestamp.UnixMilli()
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.NotReady = c.Status != corev1.ConditionTrue
		}
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			out.Addresses = append(out.Addresses, addrs(a.Address)...)
		}
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		if p, err := netip.ParsePrefix(c); err == nil {
			out.PodCIDRs = append(out.PodCIDRs, p.Masked())
		}
	}
	return out
}

func service(s *corev1.Service) *cluster.Service {
	out := &cluster.Service{Namespace: s.Namespace, Name: s.Name, UID: uid(s.UID), ClusterIPs: addrs(s.Spec.ClusterIPs...)}
	if len(s.Spec.ClusterIPs) == 0 {
		out.ClusterIPs = addrs(s.Spec.ClusterIP)
	}
	if !s.CreationTimestamp.IsZero() {
		out.StartMs = s.CreationTimestamp.UnixMilli()
	}
	out.ExternalIPs = addrs(s.Spec.ExternalIPs...)
	for _, i := range s.Status.LoadBalancer.Ingress {
		out.ExternalIPs = append(out.ExternalIPs, addrs(i.IP)...)
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		sp := cluster.Port{Name: p.Name, Proto: proto(p.Protocol), Number: port(p.Port), Node: port(p.NodePort)}
		if p.TargetPort.Type == intstr.Int {
			sp.Target = port(p.TargetPort.IntVal)
		}
		out.Ports = append(out.Ports, sp)
	}
	return out
}

func endpoints(e *discoveryv1.EndpointSlice) *cluster.EndpointSlice {
	out := &cluster.EndpointSlice{Namespace: e.Namespace, Name: e.Name, Service: e.Labels[discoveryv1.LabelServiceName]}
	for i := range e.Endpoints {
		list := addrs(e.Endpoints[i].Addresses...)
		out.Addresses = append(out.Addresses, list...)
		if r := e.Endpoints[i].Conditions.Ready; r != nil && !*r { // nil is "to be taken for ready"
			out.Unready = append(out.Unready, list...)
		}
	}
	for _, p := range e.Ports {
		if p.Port == nil {
			continue
		}
		ep := cluster.Port{Proto: cluster.ProtoTCP, Number: port(*p.Port)}
		if p.Protocol != nil {
			ep.Proto = proto(*p.Protocol)
		}
		if p.Name != nil {
			ep.Name = *p.Name
		}
		out.Ports = append(out.Ports, ep)
	}
	return out
}

func namespace(n *corev1.Namespace) *cluster.Namespace {
	return &cluster.Namespace{Name: n.Name, Labels: labels(n.Labels)}
}

func replicaSet(m *metav1.ObjectMeta) *cluster.ReplicaSet {
	return &cluster.ReplicaSet{Namespace: m.Namespace, Name: m.Name, Owner: owner(m.OwnerReferences)}
}
