package cluster

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/api/flow"
)

// Limits bound what an Index remembers.
type Limits struct {
	AgeMs   int64 // ended claims are kept this long
	PerKey  int   // claims per address (or address and port)
	Ended   int   // ended claims in each of the three tables
	SlackMs int64 // how far outside a claim a time may lie if nobody else has the address
}

// DefaultLimits keep ten minutes of history.
func DefaultLimits() Limits {
	return Limits{AgeMs: 10 * 60_000, PerKey: 64, Ended: 200_000, SlackMs: 5000}
}

// Evicted counts what was forgotten, by reason.
type Evicted struct{ Age, PerKey, Total uint64 }

// Identity is who holds an address. It never changes.
type Identity struct {
	Kind            flow.EndKind // EndPod, EndHostPod, EndNode; EndUnknown for an unclaimed address of a node's pod network
	Namespace, Name string       // of the pod
	UID             UID          // of the pod
	Workload        string       // Kind/name
	Labels          string       // JSON
	Ports           []Port       // of the pod's containers
	node            *nodeRef
}

// Node is the name of the node, "" where it is not known.
func (i *Identity) Node() string {
	if i.node == nil {
		return ""
	}
	return i.node.name
}

// NodeInfo is what is known of the node: nil where no Node object was seen.
func (i *Identity) NodeInfo() *Node {
	if i.node == nil {
		return nil
	}
	return i.node.p.Load()
}

// Zone is the zone of the node, "" where it has none.
func (i *Identity) Zone() string {
	if n := i.NodeInfo(); n != nil {
		return n.Zone
	}
	return ""
}

// ServicePort is one port of a Service. It never changes.
type ServicePort struct {
	Namespace, Name, Port string
	Ref                   string // namespace/name:port, or namespace/name where the port has no name
	UID                   UID
	ClusterIPs            []netip.Addr
	Number, NodePort      uint16
}

// nodeRef is a node that something names, whether or not its object is known yet.
type nodeRef struct {
	name string
	p    atomic.Pointer[Node]
	id   *Identity // of the node itself
	gap  *Identity // of an unclaimed address of its pod network
	// The writer's: how many objects name it, and whether its own is among them.
	refs    int
	present bool
}

// cidrHolder is a node that claims a pod network.
type cidrHolder struct {
	ref     *nodeRef
	startMs int64
}

// Reader is the part of Index that naming flows needs.
type Reader interface {
	// Lookup says who held an address at ms; nil for nobody of the cluster.
	// proto and port tell hostNetwork pods apart on a node's address.
	Lookup(addr [16]byte, proto uint8, port uint16, ms int64) *Identity
	// Service says which Service answered at an address and port at ms.
	Service(addr [16]byte, proto uint8, port uint16, ms int64) *ServicePort
	// Backend says which Service an endpoint serves, reached through port
	// (its port or node port); nil unless exactly one does.
	Backend(addr [16]byte, proto uint8, port, through uint16) *ServicePort
}

// Index answers who had an address. One writer (its Model), many readers.
type Index struct {
	ends     *table[Identity]    // pods and nodes by address
	host     *table[Identity]    // hostNetwork pods by address, protocol and port
	services *table[ServicePort] // by address, protocol and port; NodePorts by address zero

	mu       sync.RWMutex
	cidrs    map[netip.Prefix][]cidrHolder
	bits     []uint8 // prefix lengths in cidrs, longest first, of the 16-byte form
	backends map[key][]*ServicePort
	pods     map[string]map[string]*PodState // namespace -> name
	named    map[string]*ServiceState        // by namespace/name
	nodes    map[string]*Node

	policies  map[string]*policies // by namespace
	nsLabels  map[string]string
	nsPast    map[string][]nsSpan // what their labels were, oldest first
	policyGen uint64
}

var _ Reader = (*Index)(nil)

// Lookup implements Reader.
func (x *Index) Lookup(addr [16]byte, proto uint8, port uint16, ms int64) *Identity {
	id := x.ends.at(key{addr: addr}, ms)
	if id == nil {
		// A hostNetwork pod names its node's address even without a Node object.
		if h := x.host.at(key{addr, port, proto}, ms); h != nil {
			return h
		}
		return x.byCIDR(addr)
	}
	if id.Kind != flow.EndNode {
		return id
	}
	if h := x.host.at(key{addr, port, proto}, ms); h != nil {
		return h
	}
	if n := id.NodeInfo(); n != nil && len(n.Addresses) > 1 {
		for _, a := range n.Addresses {
			if b := flow.Addr16(a); b != addr {
				if h := x.host.at(key{b, port, proto}, ms); h != nil {
					return h
				}
			}
		}
	}
	return id
}

// byCIDR places an address that nobody claims: the first two addresses of a pod
// network are the node's own (gateway and tunnel), the rest are unknown pods.
func (x *Index) byCIDR(addr [16]byte) *Identity {
	a := netip.AddrFrom16(addr)
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, b := range x.bits {
		p, err := a.Prefix(int(b))
		if err != nil {
			continue
		}
		if list := x.cidrs[p]; len(list) > 0 {
			n := list[0].ref
			base := p.Addr()
			if a == base || a == base.Next() {
				return n.id
			}
			return n.gap
		}
	}
	return nil
}

// Service implements Reader.
func (x *Index) Service(addr [16]byte, proto uint8, port uint16, ms int64) *ServicePort {
	if s := x.services.at(key{addr, port, proto}, ms); s != nil {
		return s
	}
	s := x.services.at(key{port: port, proto: proto}, ms)
	if s == nil {
		return nil
	}
	if id := x.ends.at(key{addr: addr}, ms); id != nil && id.Kind == flow.EndNode {
		return s
	}
	return nil
}

// Backend implements Reader.
func (x *Index) Backend(addr [16]byte, proto uint8, port, through uint16) *ServicePort {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var found *ServicePort
	for _, s := range x.backends[key{addr, port, proto}] {
		if s.Number != through && s.NodePort != through {
			continue
		}
		if found != nil {
			return nil
		}
		found = s
	}
	return found
}
