// Package coverage decides what an observer of one node can see at all.
//
// Idea: the books say what was lost of what came in; coverage says what never comes
// in, because this kernel, its rules or the CNI do not let it be seen. Decide is a
// pure function: facts about the node in (exporter/inspect gathers them), a table
// out with one row for each class of traffic and address family, each with its
// reason and the remedy. What could not be found out is unknown, never yes.
//
// It reads nothing and keeps nothing. What it says is about the node, not about one
// connection; whether a connection really arrives everywhere, verify shows.
package coverage

// Class is a kind of traffic by where its two ends are.
type Class uint8

// The classes, as a node sees them.
const (
	SameNode  Class = iota // pod to pod on this node
	CrossNode              // pod here, pod on another node
	Service                // pod to a Service's address, by the endpoint that answers
	Host                   // the node's own processes
	External               // pod here, address outside the cluster
	numClasses
)

// ClassWords names the classes.
var ClassWords = [...]string{"same-node", "cross-node", "service", "host", "external"}

func (c Class) String() string { return ClassWords[c] }

// Family is an address family.
type Family uint8

// The families.
const (
	V4 Family = iota
	V6
	numFamilies
)

// FamilyWords names the families.
var FamilyWords = [...]string{"v4", "v6"}

func (f Family) String() string { return FamilyWords[f] }

// Tri is an answer that may be missing.
type Tri uint8

// The answers.
const (
	Unknown Tri = iota
	No
	Yes
)

// Facts is what was found out about a node.
type Facts struct {
	Node   string
	Source string // kernel, ovs or replay: where connections are read
	// Denied says why connections cannot be read at all; empty where they can.
	Denied string
	// Missing names the capabilities that are not in the process's effective set.
	Missing []string

	Accounting, Timestamps bool
	Events                 uint64   // nf_conntrack_events: 0 off, 1 on, 2 while somebody listens
	Zones                  []uint16 // the only zones that are read; empty for all
	Count, Max             uint64   // entries in the table, and how many fit
	// Since the last look of this process, or since the boot where it is the first.
	Dropped, EarlyDropped, InsertFailed uint64

	Families [numFamilies]FamilyFacts

	RulesKnown bool     // the rules could be listed
	Tracking   []string // tables with a rule that uses conntrack or NAT

	Bridges    []Bridge          // Linux bridges with ports of pods
	BridgeNF   [numFamilies]bool // bridge-nf-call-iptables, bridge-nf-call-ip6tables
	BridgeCT   bool              // conntrack of the bridge family is in use
	EBPF       []string          // programs that may forward past netfilter, and where
	OVS        bool              // an Open vSwitch kernel datapath is here
	OVSZones   bool              // and its conntrack zones have entries
	Bypass     []string          // CNI plugins whose pods do not pass this namespace
	BypassFrom string            // the file that names them

	Evidence []Evidence
}

// FamilyFacts is what is known of one address family in the namespace.
type FamilyFacts struct {
	Present  Tri      // an address beyond loopback
	Tracked  Tri      // a connection opened on purpose had an entry
	Why      string   // why that is not known
	Counters Tri      // and the entry had counters
	NoTrack  []string // chains that exempt packets of it from tracking
}

// Bridge is a Linux bridge with veth ports.
type Bridge struct {
	Name  string
	Ports int
}

// Evidence is one source of evidence besides conntrack: sockets, nflog, dns.
type Evidence struct {
	Name   string `json:"name"`
	On     bool   `json:"on"`
	Why    string `json:"why,omitempty"`    // what it does, or why it is off
	Remedy string `json:"remedy,omitempty"` // how to switch it on
}
