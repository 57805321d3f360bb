package flow

// Outcome says what became of a connection. The zero value is unknown: an
// outcome is proven by evidence or it is not claimed.
type Outcome uint8

// The outcomes.
const (
	OutcomeUnknown    Outcome = iota
	OutcomeOK                 // data or a completed handshake in both directions
	OutcomeRefused            // the far end answered the opening packet with a reset or an ICMP error
	OutcomeReset              // an established connection ended by RST
	OutcomeTimedOut           // an established connection whose entry expired without an end
	OutcomeUnanswered         // packets left, none came back
	OutcomeDenied             // a policy verdict stopped it
	OutcomePathLoss           // lost between two observers
	OutcomeAttempt            // a socket tries, and its node has no entry: never became a connection
)

// OutcomeWords are the words of Outcome in JSON, CSV and queries.
var OutcomeWords = []string{"unknown", "ok", "refused", "reset", "timed_out", "unanswered", "denied", "path_loss", "attempt"}

// Evidence is a set of bits that names what an outcome rests on.
type Evidence uint8

// The kinds of evidence.
const (
	EvidenceConntrack Evidence = 1 << iota // state or counters of a conntrack entry
	EvidenceSocket                         // sock_diag
	EvidenceNFLOG                          // a netfilter log group
	EvidenceDatapath                       // a verdict of Weir's own datapath
	EvidenceBothEnds                       // what the observers of both nodes say, or would have said, fits together
	EvidencePacket                         // an ICMP error or a RST, as it passed a packet socket
)

// EvidenceWords are the words of the bits of Evidence, lowest bit first.
var EvidenceWords = []string{"conntrack", "socket", "nflog", "datapath", "both_ends", "packet"}

// ResetBy says who refused or reset a connection.
type ResetBy uint8

// Who did.
const (
	ResetByUnknown ResetBy = iota
	ResetBySrc             // the client's end
	ResetByDst             // the server's end
	ResetByPath            // neither: something between them, a rule of the server's node included
)

// ResetByWords are the words of ResetBy.
var ResetByWords = []string{"unknown", "src", "dst", "path"}

// SeenBy says which ends observed the connection.
type SeenBy uint8

// Who saw it.
const (
	SeenByUnknown SeenBy = iota
	SeenBySource
	SeenByDestination
	SeenByBoth
)

// SeenByWords are the words of SeenBy.
var SeenByWords = []string{"unknown", "src", "dst", "both"}

// Scope says how far the connection went.
type Scope uint8

// The scopes.
const (
	ScopeUnknown Scope = iota
	ScopeSameNode
	ScopeCrossNode
	ScopeCrossZone
	ScopeExternal
)

// ScopeWords are the words of Scope.
var ScopeWords = []string{"unknown", "same_node", "cross_node", "cross_zone", "external"}

// EndKind says what stands at one end of a connection.
type EndKind uint8

// The kinds of end.
const (
	EndUnknown  EndKind = iota
	EndPod              // a pod with its own address
	EndHostPod          // a hostNetwork pod, named by node address and port
	EndNode             // a node's address
	EndService          // a Service address that was not translated
	EndExternal         // an address outside the cluster
)

// EndKindWords are the words of EndKind.
var EndKindWords = []string{"unknown", "pod", "host_pod", "node", "service", "external"}

// NameVia says where the name of an external end comes from.
type NameVia uint8

// The sources of names.
const (
	NameNone NameVia = iota
	NameCIDR         // the operator's file of networks
	NameDNS          // an answer seen on the wire
)

// NameViaWords are the words of NameVia.
var NameViaWords = []string{"none", "cidr", "dns"}

// Rcode is a DNS response code (RFC 1035 section 4.1.1; IANA DNS RCODEs).
type Rcode uint8

// RcodeWords are the words of Rcode, its mnemonics at IANA; 12 to 15 are not assigned.
var RcodeWords = []string{
	"noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "yxdomain", "yxrrset", "nxrrset", "notauth", "notzone", "dsotypeni",
}

// EndReason is flowEndReason (IANA 136, RFC 5102 section 5.11.3).
type EndReason uint8

// The reasons a record was exported.
const (
	EndReasonNone          EndReason = 0
	EndReasonIdle          EndReason = 1
	EndReasonActive        EndReason = 2
	EndReasonEnd           EndReason = 3
	EndReasonForced        EndReason = 4
	EndReasonLackResources EndReason = 5
)

// EndReasonWords are the words of EndReason.
var EndReasonWords = []string{"none", "idle", "active", "end", "forced", "lack_of_resources"}

// FlowType is Antrea's flowType (PEN 56506, 137).
type FlowType uint8 //nolint:revive // the element is called flowType

// Antrea's flow types.
const (
	FlowTypeUnspecified  FlowType = 0
	FlowTypeIntraNode    FlowType = 1
	FlowTypeInterNode    FlowType = 2
	FlowTypeToExternal   FlowType = 3
	FlowTypeFromExternal FlowType = 4
)

// FlowTypeWords are the words of FlowType.
var FlowTypeWords = []string{"unspecified", "intra_node", "inter_node", "to_external", "from_external"}

// RuleAction is Antrea's {ingress,egress}NetworkPolicyRuleAction (139, 140).
type RuleAction uint8

// The actions of a rule.
const (
	RuleActionNone   RuleAction = 0
	RuleActionAllow  RuleAction = 1
	RuleActionDrop   RuleAction = 2
	RuleActionReject RuleAction = 3
)

// RuleActionWords are the words of RuleAction.
var RuleActionWords = []string{"none", "allow", "drop", "reject"}

// PolicyType is Antrea's {ingress,egress}NetworkPolicyType (115, 118).
type PolicyType uint8

// The types of policy.
const (
	PolicyTypeNone       PolicyType = 0
	PolicyTypeK8s        PolicyType = 1
	PolicyTypeAntrea     PolicyType = 2
	PolicyTypeAntreaCNP  PolicyType = 3
	PolicyTypeK8sCluster PolicyType = 4
)

// PolicyTypeWords are the words of PolicyType.
var PolicyTypeWords = []string{"none", "k8s", "antrea_np", "antrea_cnp", "k8s_cnp"}

// PolicyEval says what the cluster's NetworkPolicies say of a connection. It is
// evaluated from their texts, not observed: what the datapath did is the outcome.
type PolicyEval uint8

// The results of an evaluation.
const (
	PolicyEvalNone        PolicyEval = iota
	PolicyEvalUnprotected            // no policy selects either end
	PolicyEvalAllowed                // every selected end has a rule that allows it
	PolicyEvalDenied                 // a selected end has none
	PolicyEvalUndefined              // a selected end, and a protocol of which NetworkPolicy says nothing
)

// PolicyEvalWords are the words of PolicyEval.
var PolicyEvalWords = []string{"none", "unprotected", "allowed", "denied", "undefined"}

// UUID is 16 raw bytes; the zero value is absent.
type UUID = [16]byte

// RuleID is the number that a verdict stamps on a connection (ct_label: ingress
// in bits 0-31, egress in bits 32-63). Zero means no rule.
type RuleID uint32

// LimitedBy says what holds a TCP sender back.
type LimitedBy uint8

// What may hold it back.
const (
	LimitedByUnknown     LimitedBy = iota
	LimitedByApplication           // it had nothing to send for most of the time
	LimitedByReceiver              // the receiver's window was full
	LimitedBySendBuffer            // its own send buffer was full
	LimitedByCongestion            // the congestion window: what the path takes
)

// LimitedByWords are the words of LimitedBy.
var LimitedByWords = []string{"unknown", "application", "receiver", "send_buffer", "congestion"}

// Listen says who waits at a port of a server.
type Listen uint8

// Who may wait there.
const (
	ListenUnknown  Listen = iota
	ListenNone            // nobody
	ListenOpen            // a socket that takes connections to the address
	ListenLoopback        // a socket on a loopback address alone: the server for itself
	ListenOther           // a socket on another address, or of the other IP version, alone
	ListenFull            // a socket whose accept queue is full: the kernel drops SYNs
)

// ListenWords are the words of Listen.
var ListenWords = []string{"unknown", "none", "open", "loopback", "other_address", "full"}
