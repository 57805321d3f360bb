package kube

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/weirnet/weir/internal/cluster"
)

// HostNode describes this machine as a node, for hosts without Kubernetes: its
// own addresses are then told from the outside. Loopback and link-local addresses
// are left out.
func HostNode(name string) (cluster.Event, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return cluster.Event{}, fmt.Errorf("list the addresses of this host: %w", err)
	}
	n := &cluster.Node{Name: name, StartMs: 1}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := cluster.Clean(p.Addr()); !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			n.Addresses = append(n.Addresses, ip)
		}
	}
	return cluster.Event{Node: n}, nil
}
