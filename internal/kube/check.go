package kube

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// An API server checks what it stores; a directory is checked here, as far as
// flows are named by it.

func checkAddr(field, s string) error {
	if _, err := netip.ParseAddr(s); err != nil {
		return fmt.Errorf("%s: %q is no IP address", field, s)
	}
	return nil
}

func checkPort(field string, n int32) error {
	if n < 1 || n > 65535 {
		return fmt.Errorf("%s: %d is no port: 1 to 65535", field, n)
	}
	return nil
}

func checkProto(field string, p corev1.Protocol) error {
	if proto(p) == 0 {
		return fmt.Errorf("%s: %q is no protocol: TCP, UDP or SCTP", field, p)
	}
	return nil
}

// first gives the first error of a list.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkPod(p *corev1.Pod) error {
	for i, a := range p.Status.PodIPs {
		if err := checkAddr(fmt.Sprintf("status.podIPs[%d].ip", i), a.IP); err != nil {
			return err
		}
	}
	if s := p.Status.PodIP; s != "" {
		if err := checkAddr("status.podIP", s); err != nil {
			return err
		}
	}
	for i := range p.Spec.Containers {
		for j, c := range p.Spec.Containers[i].Ports {
			f := fmt.Sprintf("spec.containers[%d].ports[%d].", i, j)
			if err := first(checkPort(f+"containerPort", c.ContainerPort), checkProto(f+"protocol", c.Protocol)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkNode(n *corev1.Node) error {
	for i, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		if err := checkAddr(fmt.Sprintf("status.addresses[%d].address", i), a.Address); err != nil {
			return err
		}
	}
	for i, c := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
		if c == "" && i == 0 {
			continue
		}
		if _, err := netip.ParsePrefix(c); err != nil {
			return fmt.Errorf("spec.podCIDRs: %q is no CIDR", c)
		}
	}
	return nil
}

func checkService(s *corev1.Service) error {
	for i, a := range append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...) {
		if a == corev1.ClusterIPNone || a == "" && i == 0 {
			continue
		}
		if err := checkAddr("spec.clusterIPs", a); err != nil {
			return err
		}
	}
	for i, a := range s.Spec.ExternalIPs {
		if err := checkAddr(fmt.Sprintf("spec.externalIPs[%d]", i), a); err != nil {
			return err
		}
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		f := fmt.Sprintf("spec.ports[%d].", i)
		if err := first(checkPort(f+"port", p.Port), checkProto(f+"protocol", p.Protocol)); err != nil {
			return err
		}
		if p.NodePort != 0 {
			if err := checkPort(f+"nodePort", p.NodePort); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSlice(s *discoveryv1.EndpointSlice) error {
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	for i := range s.Endpoints {
		for j, a := range s.Endpoints[i].Addresses {
			if err := checkAddr(fmt.Sprintf("endpoints[%d].addresses[%d]", i, j), a); err != nil {
				return err
			}
		}
	}
	for i, p := range s.Ports {
		if p.Port != nil {
			if err := checkPort(fmt.Sprintf("ports[%d].port", i), *p.Port); err != nil {
				return err
			}
		}
	}
	return nil
}
