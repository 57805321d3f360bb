package cluster

import "net/netip"

// UID is a Kubernetes object's UID as 16 raw bytes; zero where it is no UUID.
type UID = [16]byte

// Protocol numbers of the ports that Kubernetes knows.
const (
	ProtoTCP  = 6
	ProtoUDP  = 17
	ProtoSCTP = 132
)

// Owner is the controller of an object.
type Owner struct{ Kind, Name string }

// Port is a named port of a container, a Service or an endpoint.
type Port struct {
	Name   string
	Proto  uint8
	Number uint16
	Node   uint16 // nodePort of a Service; 0 for none
	Target uint16 // numeric targetPort of a Service; 0 where it is a name
}

// Pod is the part of a Pod that names flows.
type Pod struct {
	Namespace, Name string
	UID             UID
	Node            string
	IPs             []netip.Addr
	HostNetwork     bool
	Ports           []Port
	Owner           Owner
	TemplateHash    string // label pod-template-hash, or controller-revision-hash
	Images          []string
	Restarts        int    // of its containers, together
	Labels          string // JSON object with sorted keys; "{}" for none
	StartMs         int64  // first container's start, else status.startTime; 0 unknown (seconds in the API)
	EndMs           int64  // last container's end, once all have ended; 0 while it lives
	Done            bool   // phase Succeeded or Failed: the address is released
}

// Namespace is the part of a Namespace that is kept.
type Namespace struct {
	Name   string
	Labels string
}

// Node is the part of a Node that names flows.
type Node struct {
	Name      string
	UID       UID
	Zone      string // topology.kubernetes.io/zone
	Addresses []netip.Addr
	PodCIDRs  []netip.Prefix
	NotReady  bool  // its condition Ready says False or Unknown
	StartMs   int64 // creation
}

// Service is the part of a Service that names flows.
type Service struct {
	Namespace, Name string
	UID             UID
	ClusterIPs      []netip.Addr
	ExternalIPs     []netip.Addr // externalIPs and load balancer addresses
	Ports           []Port
	StartMs         int64 // creation
}

// EndpointSlice is the part of an EndpointSlice that names flows.
type EndpointSlice struct {
	Namespace, Name string
	Service         string // label kubernetes.io/service-name
	Addresses       []netip.Addr
	Unready         []netip.Addr // those of Addresses that are not ready
	Ports           []Port
}

// ReplicaSet is a ReplicaSet's metadata: who owns it.
type ReplicaSet struct {
	Namespace, Name string
	Owner           Owner
}

// Event is one change of one object: exactly one pointer is set. With Delete, only
// the object's names have to be filled.
type Event struct {
	Delete        bool
	Pod           *Pod
	Namespace     *Namespace
	Node          *Node
	Service       *Service
	Endpoints     *EndpointSlice
	ReplicaSet    *ReplicaSet
	NetworkPolicy *NetworkPolicy
}
