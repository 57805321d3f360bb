package flow

// Enterprise numbers of the elements Weir speaks.
const (
	PENIANA    = 0
	PENReverse = 29305 // RFC 5103 section 6.1
	PENAntrea  = 56506
	PENWeir    = 32473 // see docs/adr/0001: the number for documentation (RFC 5612) until one is assigned
)

// Type is the type of a field's value.
type Type uint8

// The types. The comment gives the Go type of the Record's field.
const (
	TypeU8     Type = iota + 1 // uint8, or a named enum of it
	TypeU16                    // uint16
	TypeU32                    // uint32
	TypeU64                    // uint64
	TypeI32                    // int32
	TypeI64                    // int64
	TypeBool                   // bool
	TypeMillis                 // int64, milliseconds since the Unix epoch
	TypeString                 // string
	TypeAddr                   // netip.Addr
	TypeUUID                   // UUID
)

// Encoding is the abstract data type of an IPFIX element (RFC 7012 section 3.1).
type Encoding uint8

// The encodings.
const (
	EncUnsigned Encoding = iota + 1 // big endian, Len bytes
	EncSigned
	EncBool    // 1 true, 2 false
	EncSeconds // dateTimeSeconds
	EncMillis  // dateTimeMilliseconds
	EncString
	EncIPv4
	EncIPv6
	EncOctets // octetArray of Len bytes
)

// Element is one IPFIX information element that carries a field.
type Element struct {
	PEN  uint32
	ID   uint16
	Name string
	Enc  Encoding
	Len  uint16 // bytes on the wire; 65535 for variable length
}

// Field is one row of the schema.
type Field struct {
	Name   string    // name in JSON, CSV headers, queries and the docs
	Go     string    // name of the Record's struct field
	Type   Type      //
	Enum   string    // Go type of an enum, with its words in <Enum>Words
	Unit   string    // "" for pure names and numbers
	Elems  []Element // the preferred element first; more where IPFIX has several (families, seconds)
	Doc    string    // what it says
	Absent string    // what absence means
}

func el(pen uint32, id uint16, name string, enc Encoding, n uint16) Element {
	return Element{pen, id, name, enc, n}
}

func u(pen uint32, id uint16, name string, n uint16) []Element {
	return []Element{el(pen, id, name, EncUnsigned, n)}
}

func s(pen uint32, id uint16, name string) []Element {
	return []Element{el(pen, id, name, EncString, 65535)}
}

func ip(pen uint32, id4 uint16, n4 string, id6 uint16, n6 string) []Element {
	return []Element{el(pen, id4, n4, EncIPv4, 4), el(pen, id6, n6, EncIPv6, 16)}
}

func uuid(id uint16, name string) []Element {
	return []Element{el(PENAntrea, id, name, EncOctets, 16)}
}

const (
	absentCounter = "the kernel kept no counters for this entry (accounting was off when it began)"
	absentEnd     = "that end's node did not report"
	absentPod     = "the end is no pod of this cluster, or was not known at the time of the flow"
	absentPolicy  = "no policy decided, or the datapath does not say which"
	absentSock    = "no socket was read for this connection"
	absentListen  = "its node did not read the sockets of that address, the looks before and after differ, or the connection went well"
)

// Fields is the one table of fields. The position in it is the FieldID; append
// new rows at the end, then run `make generate`.
var Fields = []Field{
	// time and end
	{"start", "Start", TypeMillis, "", "ms", []Element{el(0, 152, "flowStartMilliseconds", EncMillis, 8), el(0, 150, "flowStartSeconds", EncSeconds, 4)}, "when the connection began", "the kernel keeps no timestamps and the start was not seen"},
	{"end", "End", TypeMillis, "", "ms", []Element{el(0, 153, "flowEndMilliseconds", EncMillis, 8), el(0, 151, "flowEndSeconds", EncSeconds, 4)}, "last packet known at this export", "never"},
	{"end_reason", "EndReason", TypeU8, "EndReason", "", u(0, 136, "flowEndReason", 1), "why this record was exported", "an exporter that gives no reason"},
	// tuple
	{"src.ip", "SrcIP", TypeAddr, "", "", ip(0, 8, "sourceIPv4Address", 27, "sourceIPv6Address"), "client address", "never"},
	{"dst.ip", "DstIP", TypeAddr, "", "", ip(0, 12, "destinationIPv4Address", 28, "destinationIPv6Address"), "server address after translation (the endpoint)", "never"},
	{"src.port", "SrcPort", TypeU16, "", "", u(0, 7, "sourceTransportPort", 2), "client port", "protocol without ports"},
	{"dst.port", "DstPort", TypeU16, "", "", u(0, 11, "destinationTransportPort", 2), "server port after translation", "protocol without ports"},
	{"proto", "Proto", TypeU8, "", "", u(0, 4, "protocolIdentifier", 1), "IP protocol number", "never"},
	{"icmp", "ICMP", TypeU16, "", "type*256+code", append(u(0, 32, "icmpTypeCodeIPv4", 2), u(0, 139, "icmpTypeCodeIPv6", 2)...), "ICMP type and code", "not ICMP"},
	// counters, common
	{"packets", "Packets", TypeU64, "", "packets", u(0, 86, "packetTotalCount", 8), "client to server since the start", absentCounter},
	{"bytes", "Bytes", TypeU64, "", "bytes", u(0, 85, "octetTotalCount", 8), "client to server since the start, IP total length", absentCounter},
	{"packets_delta", "PacketsDelta", TypeU64, "", "packets", u(0, 2, "packetDeltaCount", 8), "client to server since the last record", absentCounter},
	{"bytes_delta", "BytesDelta", TypeU64, "", "bytes", u(0, 1, "octetDeltaCount", 8), "client to server since the last record", absentCounter},
	{"reverse.packets", "RevPackets", TypeU64, "", "packets", u(PENReverse, 86, "reversePacketTotalCount", 8), "server to client since the start", absentCounter},
	{"reverse.bytes", "RevBytes", TypeU64, "", "bytes", u(PENReverse, 85, "reverseOctetTotalCount", 8), "server to client since the start", absentCounter},
	{"reverse.packets_delta", "RevPacketsDelta", TypeU64, "", "packets", u(PENReverse, 2, "reversePacketDeltaCount", 8), "server to client since the last record", absentCounter},
	{"reverse.bytes_delta", "RevBytesDelta", TypeU64, "", "bytes", u(PENReverse, 1, "reverseOctetDeltaCount", 8), "server to client since the last record", absentCounter},
	// identity (PEN 56506)
	{"src.pod", "SrcPod", TypeString, "", "", s(PENAntrea, 101, "sourcePodName"), "pod of the client", absentPod},
	{"src.ns", "SrcNS", TypeString, "", "", s(PENAntrea, 100, "sourcePodNamespace"), "namespace of the client", absentPod},
	{"src.node", "SrcNode", TypeString, "", "", s(PENAntrea, 104, "sourceNodeName"), "node of the client", absentPod},
	{"dst.pod", "DstPod", TypeString, "", "", s(PENAntrea, 103, "destinationPodName"), "pod of the server", absentPod},
	{"dst.ns", "DstNS", TypeString, "", "", s(PENAntrea, 102, "destinationPodNamespace"), "namespace of the server", absentPod},
	{"dst.node", "DstNode", TypeString, "", "", s(PENAntrea, 105, "destinationNodeName"), "node of the server", absentPod},
	{"service.port", "SvcPort", TypeU16, "", "", u(PENAntrea, 108, "destinationServicePort", 2), "port that the client dialled, before translation", "no Service was dialled"},
	{"service", "SvcPortName", TypeString, "", "", s(PENAntrea, 109, "destinationServicePortName"), "Service as namespace/name:port-name", "no Service was dialled"},
	{"ingress.policy", "IngressPolicy", TypeString, "", "", s(PENAntrea, 110, "ingressNetworkPolicyName"), "policy that decided at the server", absentPolicy},
	{"ingress.policy_ns", "IngressPolicyNS", TypeString, "", "", s(PENAntrea, 111, "ingressNetworkPolicyNamespace"), "its namespace", absentPolicy},
	{"ingress.policy_type", "IngressPolicyType", TypeU8, "PolicyType", "", u(PENAntrea, 115, "ingressNetworkPolicyType", 1), "its type", absentPolicy},
	{"ingress.rule", "IngressRule", TypeString, "", "", s(PENAntrea, 141, "ingressNetworkPolicyRuleName"), "rule that decided at the server", absentPolicy},
	{"ingress.action", "IngressAction", TypeU8, "RuleAction", "", u(PENAntrea, 139, "ingressNetworkPolicyRuleAction", 1), "what the rule said", absentPolicy},
	{"egress.policy", "EgressPolicy", TypeString, "", "", s(PENAntrea, 112, "egressNetworkPolicyName"), "policy that decided at the client", absentPolicy},
	{"egress.policy_ns", "EgressPolicyNS", TypeString, "", "", s(PENAntrea, 113, "egressNetworkPolicyNamespace"), "its namespace", absentPolicy},
	{"egress.policy_type", "EgressPolicyType", TypeU8, "PolicyType", "", u(PENAntrea, 118, "egressNetworkPolicyType", 1), "its type", absentPolicy},
	{"egress.rule", "EgressRule", TypeString, "", "", s(PENAntrea, 142, "egressNetworkPolicyRuleName"), "rule that decided at the client", absentPolicy},
	{"egress.action", "EgressAction", TypeU8, "RuleAction", "", u(PENAntrea, 140, "egressNetworkPolicyRuleAction", 1), "what the rule said", absentPolicy},
	{"tcp_state", "TCPState", TypeString, "", "", s(PENAntrea, 136, "tcpState"), "conntrack's TCP state, as the kernel names it", "not TCP"},
	{"flow_type", "FlowType", TypeU8, "FlowType", "", u(PENAntrea, 137, "flowType", 1), "Antrea's flow type", "an end could not be placed"},
	{"egress.name", "EgressName", TypeString, "", "", s(PENAntrea, 153, "egressName"), "Egress that steers the connection", "none does"},
	{"egress.ip", "EgressIP", TypeString, "", "", s(PENAntrea, 154, "egressIP"), "source address outside the cluster", "not translated, or not seen"},
	{"egress.node", "EgressNode", TypeString, "", "", s(PENAntrea, 157, "egressNodeName"), "node through which it leaves", "no Egress steers it"},
	{"proxy_snat.port", "ProxySNATPort", TypeU16, "", "", u(PENAntrea, 172, "proxySnatPort", 2), "client port after the entry node's translation", "the client was not translated"},
	{"proxy_snat.ip", "ProxySNATIP", TypeAddr, "", "", ip(PENAntrea, 170, "proxySnatIPv4", 171, "proxySnatIPv6"), "client address after the entry node's translation", "the client was not translated"},
	{"cluster_ip", "ClusterIP", TypeAddr, "", "", ip(PENAntrea, 106, "destinationClusterIPv4", 107, "destinationClusterIPv6"), "ClusterIP that the client dialled (Antrea keeps it beside service.ip)", "no ClusterIP was dialled"},
	{"service.ip", "SvcIP", TypeAddr, "", "", ip(PENAntrea, 168, "destinationServiceIPv4", 169, "destinationServiceIPv6"), "address that the client dialled, before translation", "it dialled the endpoint itself"},
	{"ingress.policy_uid", "IngressPolicyUID", TypeString, "", "", s(PENAntrea, 114, "ingressNetworkPolicyUID"), "UID of the policy", absentPolicy},
	{"egress.policy_uid", "EgressPolicyUID", TypeString, "", "", s(PENAntrea, 117, "egressNetworkPolicyUID"), "UID of the policy", absentPolicy},
	{"ingress.priority", "IngressPriority", TypeI32, "", "", []Element{el(PENAntrea, 116, "ingressNetworkPolicyRulePriority", EncSigned, 4)}, "priority of the rule", absentPolicy},
	{"egress.priority", "EgressPriority", TypeI32, "", "", []Element{el(PENAntrea, 119, "egressNetworkPolicyRulePriority", EncSigned, 4)}, "priority of the rule", absentPolicy},
	// both ends' counters
	{"src.packets", "PacketsSrc", TypeU64, "", "packets", u(PENAntrea, 120, "packetTotalCountFromSourceNode", 8), "packets as the client's node counted", absentEnd},
	{"src.bytes", "BytesSrc", TypeU64, "", "bytes", u(PENAntrea, 121, "octetTotalCountFromSourceNode", 8), "bytes as the client's node counted", absentEnd},
	{"src.packets_delta", "PacketsDeltaSrc", TypeU64, "", "packets", u(PENAntrea, 122, "packetDeltaCountFromSourceNode", 8), "since the last record, client's node", absentEnd},
	{"src.bytes_delta", "BytesDeltaSrc", TypeU64, "", "bytes", u(PENAntrea, 123, "octetDeltaCountFromSourceNode", 8), "since the last record, client's node", absentEnd},
	{"src.reverse.packets", "RevPacketsSrc", TypeU64, "", "packets", u(PENAntrea, 124, "reversePacketTotalCountFromSourceNode", 8), "server to client, client's node", absentEnd},
	{"src.reverse.bytes", "RevBytesSrc", TypeU64, "", "bytes", u(PENAntrea, 125, "reverseOctetTotalCountFromSourceNode", 8), "server to client, client's node", absentEnd},
	{"src.reverse.packets_delta", "RevPacketsDeltaSrc", TypeU64, "", "packets", u(PENAntrea, 126, "reversePacketDeltaCountFromSourceNode", 8), "server to client since the last record, client's node", absentEnd},
	{"src.reverse.bytes_delta", "RevBytesDeltaSrc", TypeU64, "", "bytes", u(PENAntrea, 127, "reverseOctetDeltaCountFromSourceNode", 8), "server to client since the last record, client's node", absentEnd},
	{"dst.packets", "PacketsDst", TypeU64, "", "packets", u(PENAntrea, 128, "packetTotalCountFromDestinationNode", 8), "packets as the server's node counted", absentEnd},
	{"dst.bytes", "BytesDst", TypeU64, "", "bytes", u(PENAntrea, 129, "octetTotalCountFromDestinationNode", 8), "bytes as the server's node counted", absentEnd},
	{"dst.packets_delta", "PacketsDeltaDst", TypeU64, "", "packets", u(PENAntrea, 130, "packetDeltaCountFromDestinationNode", 8), "since the last record, server's node", absentEnd},
	{"dst.bytes_delta", "BytesDeltaDst", TypeU64, "", "bytes", u(PENAntrea, 131, "octetDeltaCountFromDestinationNode", 8), "since the last record, server's node", absentEnd},
	{"dst.reverse.packets", "RevPacketsDst", TypeU64, "", "packets", u(PENAntrea, 132, "reversePacketTotalCountFromDestinationNode", 8), "server to client, server's node", absentEnd},
	{"dst.reverse.bytes", "RevBytesDst", TypeU64, "", "bytes", u(PENAntrea, 133, "reverseOctetTotalCountFromDestinationNode", 8), "server to client, server's node", absentEnd},
	{"dst.reverse.packets_delta", "RevPacketsDeltaDst", TypeU64, "", "packets", u(PENAntrea, 134, "reversePacketDeltaCountFromDestinationNode", 8), "server to client since the last record, server's node", absentEnd},
	{"dst.reverse.bytes_delta", "RevBytesDeltaDst", TypeU64, "", "bytes", u(PENAntrea, 135, "reverseOctetDeltaCountFromDestinationNode", 8), "server to client since the last record, server's node", absentEnd},
	{"tcp_state_prev", "TCPStatePrev", TypeString, "", "", s(PENAntrea, 138, "tcpStatePrevList"), "earlier TCP states", "not kept"},
	{"src.labels", "SrcLabels", TypeString, "", "JSON", s(PENAntrea, 143, "sourcePodLabels"), "labels of the client's pod as JSON", absentPod},
	{"dst.labels", "DstLabels", TypeString, "", "JSON", s(PENAntrea, 144, "destinationPodLabels"), "labels of the server's pod as JSON", absentPod},
	{"throughput", "Throughput", TypeU64, "", "bit/s", u(PENAntrea, 145, "throughput", 8), "client to server over the time since the last record", "no counters, or no time has passed"},
	{"reverse.throughput", "RevThroughput", TypeU64, "", "bit/s", u(PENAntrea, 146, "reverseThroughput", 8), "server to client over the time since the last record", "no counters, or no time has passed"},
	{"src.throughput", "ThroughputSrc", TypeU64, "", "bit/s", u(PENAntrea, 147, "throughputFromSourceNode", 8), "client to server, client's node", absentEnd},
	{"dst.throughput", "ThroughputDst", TypeU64, "", "bit/s", u(PENAntrea, 148, "throughputFromDestinationNode", 8), "client to server, server's node", absentEnd},
	{"src.reverse.throughput", "RevThroughputSrc", TypeU64, "", "bit/s", u(PENAntrea, 149, "reverseThroughputFromSourceNode", 8), "server to client, client's node", absentEnd},
	{"dst.reverse.throughput", "RevThroughputDst", TypeU64, "", "bit/s", u(PENAntrea, 150, "reverseThroughputFromDestinationNode", 8), "server to client, server's node", absentEnd},
	{"src.end", "EndSrc", TypeMillis, "", "ms", []Element{el(PENWeir, 10, "flowEndMillisecondsFromSourceNode", EncMillis, 8), el(PENAntrea, 151, "flowEndSecondsFromSourceNode", EncSeconds, 4)}, "last packet as the client's node saw it", absentEnd},
	{"dst.end", "EndDst", TypeMillis, "", "ms", []Element{el(PENWeir, 11, "flowEndMillisecondsFromDestinationNode", EncMillis, 8), el(PENAntrea, 152, "flowEndSecondsFromDestinationNode", EncSeconds, 4)}, "last packet as the server's node saw it", absentEnd},
	{"app", "AppProtocol", TypeString, "", "", s(PENAntrea, 155, "appProtocolName"), "application protocol", "not inspected"},
	{"http", "HTTPVals", TypeString, "", "JSON", s(PENAntrea, 156, "httpVals"), "HTTP transactions as JSON", "not inspected"},
	{"cluster", "ClusterID", TypeString, "", "", s(PENAntrea, 158, "clusterId"), "cluster that observed it", "not configured"},
	{"src.pod_uid", "SrcPodUID", TypeUUID, "", "", uuid(159, "sourcePodUUID"), "UID of the client's pod", absentPod},
	{"dst.pod_uid", "DstPodUID", TypeUUID, "", "", uuid(160, "destinationPodUUID"), "UID of the server's pod", absentPod},
	{"src.node_uid", "SrcNodeUID", TypeUUID, "", "", uuid(161, "sourceNodeUUID"), "UID of the client's node", absentPod},
	{"dst.node_uid", "DstNodeUID", TypeUUID, "", "", uuid(162, "destinationNodeUUID"), "UID of the server's node", absentPod},
	{"service.uid", "SvcUID", TypeUUID, "", "", uuid(163, "destinationServiceUUID"), "UID of the Service", "no Service was dialled"},
	{"ingress.policy_uuid", "IngressPolicyUUID", TypeUUID, "", "", uuid(164, "ingressNetworkPolicyUUID"), "UID of the policy, raw", absentPolicy},
	{"egress.policy_uuid", "EgressPolicyUUID", TypeUUID, "", "", uuid(165, "egressNetworkPolicyUUID"), "UID of the policy, raw", absentPolicy},
	{"egress.uid", "EgressUID", TypeUUID, "", "", uuid(166, "egressUUID"), "UID of the Egress", "no Egress steers it"},
	{"egress.node_uid", "EgressNodeUID", TypeUUID, "", "", uuid(167, "egressNodeUUID"), "UID of the Egress node", "no Egress steers it"},
	// proxy mode
	{"original.domain", "OriginalDomain", TypeU32, "", "", u(0, 405, "originalObservationDomainId", 4), "observation domain that first exported it", "not re-exported"},
	{"original.exporter", "OriginalExporter", TypeAddr, "", "", ip(0, 403, "originalExporterIPv4Address", 404, "originalExporterIPv6Address"), "exporter that first exported it", "not re-exported"},
	{"direction", "Direction", TypeU8, "", "0 ingress, 1 egress, 255 unknown", u(0, 61, "flowDirection", 1), "direction at the observer", "both ends are merged"},
	// Weir's own
	{"outcome", "Outcome", TypeU8, "Outcome", "", u(PENWeir, 20, "weirOutcome", 1), "what became of the connection", "nothing has proven an outcome (yet)"},
	{"evidence", "Evidence", TypeU8, "Evidence", "bit set", u(PENWeir, 21, "weirEvidence", 1), "what the outcome rests on", "no outcome"},
	{"seen_by", "SeenBy", TypeU8, "SeenBy", "", u(PENWeir, 22, "weirSeenBy", 1), "which ends observed it", "it cannot be told which end the observer was"},
	{"scope", "Scope", TypeU8, "Scope", "", u(PENWeir, 23, "weirScope", 1), "same node, cross node, cross zone, external", "an end could not be placed"},
	{"src.kind", "SrcKind", TypeU8, "EndKind", "", u(PENWeir, 24, "weirSourceKind", 1), "what the client is", "not enriched"},
	{"dst.kind", "DstKind", TypeU8, "EndKind", "", u(PENWeir, 25, "weirDestinationKind", 1), "what the server is", "not enriched"},
	{"src.zone", "SrcZone", TypeString, "", "", s(PENWeir, 26, "weirSourceZone"), "topology.kubernetes.io/zone of the client's node", "the node has no such label"},
	{"dst.zone", "DstZone", TypeString, "", "", s(PENWeir, 27, "weirDestinationZone"), "topology.kubernetes.io/zone of the server's node", "the node has no such label"},
	{"src.workload", "SrcWorkload", TypeString, "", "", s(PENWeir, 28, "weirSourceWorkload"), "owner of the client's pod as Kind/name", absentPod},
	{"dst.workload", "DstWorkload", TypeString, "", "", s(PENWeir, 29, "weirDestinationWorkload"), "owner of the server's pod as Kind/name", absentPod},
	{"src.name", "SrcName", TypeString, "", "", s(PENWeir, 30, "weirSourceName"), "name of an external client", "no name is known for the address"},
	{"dst.name", "DstName", TypeString, "", "", s(PENWeir, 31, "weirDestinationName"), "name of an external server", "no name is known for the address"},
	{"src.name_via", "SrcNameVia", TypeU8, "NameVia", "", u(PENWeir, 32, "weirSourceNameVia", 1), "where src.name comes from", "no name"},
	{"dst.name_via", "DstNameVia", TypeU8, "NameVia", "", u(PENWeir, 33, "weirDestinationNameVia", 1), "where dst.name comes from", "no name"},
	{"ct.zone", "CTZone", TypeU16, "", "", u(PENWeir, 34, "weirConntrackZone", 2), "conntrack zone of the entry", "not read from conntrack"},
	{"ct.mark", "CTMark", TypeU32, "", "", u(PENWeir, 35, "weirConntrackMark", 4), "conntrack mark of the entry", "not read from conntrack"},
	{"ct.status", "CTStatus", TypeU32, "", "IPS_* bits", u(PENWeir, 36, "weirConntrackStatus", 4), "conntrack status bits", "not read from conntrack"},
	{"rtt", "RTT", TypeU32, "", "us", u(PENWeir, 37, "weirRoundTripTime", 4), "smoothed round trip time", absentSock},
	{"rtt_min", "RTTMin", TypeU32, "", "us", u(PENWeir, 38, "weirMinimumRoundTripTime", 4), "minimum round trip time", absentSock},
	{"src.retransmits", "RetransSrc", TypeU32, "", "segments", u(PENWeir, 39, "weirRetransmitsFromSource", 4), "segments that the client sent again", absentSock},
	{"dst.retransmits", "RetransDst", TypeU32, "", "segments", u(PENWeir, 40, "weirRetransmitsFromDestination", 4), "segments that the server sent again", absentSock},
	{"path_mtu", "PathMTU", TypeU32, "", "bytes", u(PENWeir, 41, "weirPathMTU", 4), "path MTU of the socket", absentSock},
	{"ingress.rule_id", "IngressRuleID", TypeU32, "", "", u(PENWeir, 42, "weirIngressRuleID", 4), "number stamped by the rule that decided at the server", absentPolicy},
	{"egress.rule_id", "EgressRuleID", TypeU32, "", "", u(PENWeir, 43, "weirEgressRuleID", 4), "number stamped by the rule that decided at the client", absentPolicy},
	{"ingress.revision", "IngressRevision", TypeU32, "", "", u(PENWeir, 44, "weirIngressRuleRevision", 4), "revision of that rule", absentPolicy},
	{"egress.revision", "EgressRevision", TypeU32, "", "", u(PENWeir, 45, "weirEgressRuleRevision", 4), "revision of that rule", absentPolicy},
	{"loss.packets", "LossPackets", TypeI64, "", "packets", []Element{el(PENWeir, 46, "weirLossPackets", EncSigned, 8)}, "client's node minus server's node, client to server, since the start", "one end only, or no counters"},
	{"loss.reverse.packets", "LossRevPackets", TypeI64, "", "packets", []Element{el(PENWeir, 47, "weirLossReversePackets", EncSigned, 8)}, "server's node minus client's node, server to client, since the start", "one end only, or no counters"},
	// what the ledger needs
	{"observer", "Observer", TypeString, "", "", s(PENWeir, 48, "weirObserver"), "node whose agent made this record", "both ends are merged"},
	{"conn_id", "ConnID", TypeU64, "", "", u(PENWeir, 49, "weirConnectionID", 8), "stable number of the connection: hash of its tuple and start", "a foreign exporter"},
	{"seq", "Seq", TypeU32, "", "", u(PENWeir, 50, "weirRecordSequence", 4), "number of this record within its connection at its exporter, from 0", "a foreign exporter"},
	{"first", "First", TypeBool, "", "", []Element{el(PENWeir, 51, "weirFirst", EncBool, 1)}, "the first record of the connection", "a foreign exporter"},
	{"final", "Final", TypeBool, "", "", []Element{el(PENWeir, 52, "weirFinal", EncBool, 1)}, "the last record of the connection", "a foreign exporter"},
	{"half", "Half", TypeBool, "", "", []Element{el(PENWeir, 53, "weirHalf", EncBool, 1)}, "two ends were expected and one was seen", "not correlated"},
	{"records", "Records", TypeU32, "", "records", u(PENWeir, 54, "weirRecordsMerged", 4), "exporters' records that this one stands for", "not correlated"},
	{"id", "ID", TypeUUID, "", "", []Element{el(PENWeir, 55, "weirRecordID", EncOctets, 16)}, "deterministic number of this record, for deduplication", "not correlated"},
	// history
	{"since", "Since", TypeMillis, "", "ms", []Element{el(PENWeir, 56, "weirDeltaStartMilliseconds", EncMillis, 8)}, "from when the deltas count: the end of the record before, or the start", "not correlated, or the first record of a connection whose start is not known"},
	// evaluated, not observed
	{"policy.eval", "PolicyEval", TypeU8, "PolicyEval", "", u(PENWeir, 90, "weirPolicyEval", 1), "what the NetworkPolicies in force at the start say of the connection: evaluated, not observed", "no end is a pod, or policies are not read"},
	{"policy.eval_why", "PolicyEvalWhy", TypeString, "", "", s(PENWeir, 91, "weirPolicyEvalWhy"), "the rules that allow it, or the policies that deny it and the nearest allow", "as policy.eval"},
	// read from packets
	{"dns.query", "DNSQuery", TypeString, "", "", s(PENWeir, 57, "weirDNSQuery"), "name that this DNS connection asked for last, as seen on the wire", "no DNS, or not watched"},
	{"dns.rcode", "DNSRcode", TypeU8, "Rcode", "", u(PENWeir, 58, "weirDNSResponseCode", 1), "response code of its last answer", "no answer was seen"},
	{"dns.time", "DNSTime", TypeU32, "", "us", u(PENWeir, 59, "weirDNSResponseTime", 4), "time from the question to its last answer", "no answer was seen"},
	// what each end said, and who broke it off
	{"src.outcome", "OutcomeSrc", TypeU8, "Outcome", "", u(PENWeir, 60, "weirOutcomeFromSourceNode", 1), "outcome as the client's node proved it", "not correlated, or that node proved none"},
	{"dst.outcome", "OutcomeDst", TypeU8, "Outcome", "", u(PENWeir, 61, "weirOutcomeFromDestinationNode", 1), "outcome as the server's node proved it", "not correlated, or that node proved none"},
	{"reset_by", "ResetBy", TypeU8, "ResetBy", "", u(PENWeir, 62, "weirResetBy", 1), "which end refused or reset the connection, or path where neither did", "neither refused nor reset, or not proven"},
	{"denied", "Denied", TypeU32, "", "packets", u(PENWeir, 63, "weirDeniedPackets", 4), "packets that a rule of the observer's node denied, as it logged them", "no denial was logged"},
	// sockets
	{"src.limited_by", "LimitedBySrc", TypeU8, "LimitedBy", "", u(PENWeir, 92, "weirSourceLimitedBy", 1), "what held the client back from sending between the last two looks at its socket", "its socket was not read twice"},
	{"dst.limited_by", "LimitedByDst", TypeU8, "LimitedBy", "", u(PENWeir, 93, "weirDestinationLimitedBy", 1), "what held the server back from sending between the last two looks at its socket", "its socket was not read twice"},
	// the probe
	{"canary", "Canary", TypeBool, "", "", []Element{el(PENWeir, 110, "weirCanary", EncBool, 1)}, "a connection of the probe, by its port (61980 to 61999): weirctl verify or an agent opened it, leave it out of totals", "any other connection"},
	// who listens
	{"dst.listen", "DstListen", TypeU8, "Listen", "", u(PENWeir, 94, "weirDestinationListen", 1), "who waited at the server's port when the connection failed", absentListen},
	{"dst.listens", "DstListens", TypeString, "", "", s(PENWeir, 95, "weirDestinationListens"), "where the server's address listens instead: at most 8 ports of the protocol, then +N for N more, and the same port of the other protocol, as in 8080, 53/udp", "somebody listens at the port, or nowhere, or as dst.listen"},
	{"dst.backlog", "DstBacklog", TypeU32, "", "connections", u(PENWeir, 96, "weirDestinationBacklog", 4), "connections that waited for accept(2) at the server's port", "the queue was not full, or as dst.listen"},
	{"dst.backlog_max", "DstBacklogMax", TypeU32, "", "connections", u(PENWeir, 97, "weirDestinationBacklogMax", 4), "how many may wait there: the backlog of listen(2)", "as dst.backlog"},
	// between replicas
	{"handed_over", "HandedOver", TypeBool, "", "", []Element{el(PENWeir, 111, "weirHandedOver", EncBool, 1)}, "told before to an aggregator that left: an agent's word to the one that takes over, whose deltas are zero", "any other record; an aggregator never tells it"},
	// where an end lies that is none of the cluster's
	{"src.net", "SrcNet", TypeString, "", "", s(PENWeir, 112, "weirSourceNetwork"), "network of an external client: internet, multicast, or a network without global routes as a CIDR (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 by their /16, fc00::/7 by its /48)", "the client is not external, or not correlated"},
	{"dst.net", "DstNet", TypeString, "", "", s(PENWeir, 113, "weirDestinationNetwork"), "network of an external server, as src.net", "the server is not external, or not correlated"},
}

// PresenceElement carries Record.Has on the Weir-to-Weir link, so that absent
// stays different from zero inside one template.
var PresenceElement = el(PENWeir, 1, "weirPresence", EncOctets, 24)
