package ddl

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// theia are the columns of Antrea's table of flows, in the order in which Antrea inserts
// them, and the field that each holds. The types are Theia's: a value that a record does
// not have is 0 or the empty text there.
var theia = []struct {
	name string
	id   flow.FieldID
	typ  string
}{
	{"flowStartSeconds", flow.FStart, "DateTime"},
	{"flowEndSeconds", flow.FEnd, "DateTime"},
	{"flowEndSecondsFromSourceNode", flow.FEndSrc, "DateTime"},
	{"flowEndSecondsFromDestinationNode", flow.FEndDst, "DateTime"},
	{"flowEndReason", flow.FEndReason, "UInt8"},
	{"sourceIP", flow.FSrcIP, "String"},
	{"destinationIP", flow.FDstIP, "String"},
	{"sourceTransportPort", flow.FSrcPort, "UInt16"},
	{"destinationTransportPort", flow.FDstPort, "UInt16"},
	{"protocolIdentifier", flow.FProto, "UInt8"},
	{"packetTotalCount", flow.FPackets, "UInt64"},
	{"octetTotalCount", flow.FBytes, "UInt64"},
	{"packetDeltaCount", flow.FPacketsDelta, "UInt64"},
	{"octetDeltaCount", flow.FBytesDelta, "UInt64"},
	{"reversePacketTotalCount", flow.FRevPackets, "UInt64"},
	{"reverseOctetTotalCount", flow.FRevBytes, "UInt64"},
	{"reversePacketDeltaCount", flow.FRevPacketsDelta, "UInt64"},
	{"reverseOctetDeltaCount", flow.FRevBytesDelta, "UInt64"},
	{"sourcePodName", flow.FSrcPod, "String"},
	{"sourcePodNamespace", flow.FSrcNS, "String"},
	{"sourceNodeName", flow.FSrcNode, "String"},
	{"destinationPodName", flow.FDstPod, "String"},
	{"destinationPodNamespace", flow.FDstNS, "String"},
	{"destinationNodeName", flow.FDstNode, "String"},
	{"destinationClusterIP", flow.FClusterIP, "String"},
	{"destinationServicePort", flow.FSvcPort, "UInt16"},
	{"destinationServicePortName", flow.FSvcPortName, "String"},
	{"ingressNetworkPolicyName", flow.FIngressPolicy, "String"},
	{"ingressNetworkPolicyNamespace", flow.FIngressPolicyNS, "String"},
	{"ingressNetworkPolicyRuleName", flow.FIngressRule, "String"},
	{"ingressNetworkPolicyRuleAction", flow.FIngressAction, "UInt8"},
	{"ingressNetworkPolicyType", flow.FIngressPolicyType, "UInt8"},
	{"egressNetworkPolicyName", flow.FEgressPolicy, "String"},
	{"egressNetworkPolicyNamespace", flow.FEgressPolicyNS, "String"},
	{"egressNetworkPolicyRuleName", flow.FEgressRule, "String"},
	{"egressNetworkPolicyRuleAction", flow.FEgressAction, "UInt8"},
	{"egressNetworkPolicyType", flow.FEgressPolicyType, "UInt8"},
	{"tcpState", flow.FTCPState, "String"},
	{"flowType", flow.FFlowType, "UInt8"},
	{"sourcePodLabels", flow.FSrcLabels, "String"},
	{"destinationPodLabels", flow.FDstLabels, "String"},
	{"throughput", flow.FThroughput, "UInt64"},
	{"reverseThroughput", flow.FRevThroughput, "UInt64"},
	{"throughputFromSourceNode", flow.FThroughputSrc, "UInt64"},
	{"throughputFromDestinationNode", flow.FThroughputDst, "UInt64"},
	{"reverseThroughputFromSourceNode", flow.FRevThroughputSrc, "UInt64"},
	{"reverseThroughputFromDestinationNode", flow.FRevThroughputDst, "UInt64"},
	{"clusterUUID", flow.FClusterID, "String"},
	{"egressName", flow.FEgressName, "String"},
	{"egressIP", flow.FEgressIP, "String"},
	// What Antrea has beside Theia's table.
	{"egressNodeName", flow.FEgressNode, "String"},
	{"destinationServiceIP", flow.FSvcIP, "String"},
	{"proxySnatIP", flow.FProxySNATIP, "String"},
	{"proxySnatPort", flow.FProxySNATPort, "UInt16"},
	{"appProtocolName", flow.FAppProtocol, "String"},
	{"httpVals", flow.FHTTPVals, "String"},
}

// AddressText writes an address of a column as people do: IPv4 without its IPv6 prefix.
func AddressText(expr string) string {
	return fmt.Sprintf("replaceRegexpOne(IPv6NumToString(%s), '^::ffff:([0-9.]+)$', '\\\\1')", expr)
}

func (l *Layout) createTheia() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE VIEW IF NOT EXISTS %s%s AS SELECT\n    inserted AS timeInserted", l.Name(TheiaView), l.on())
	for _, c := range theia {
		col := Ident(ColumnName(c.id))
		expr := ""
		switch t := flow.Fields[c.id].Type; {
		case t == flow.TypeAddr:
			expr = fmt.Sprintf("ifNull(%s, '')", AddressText(col))
		case c.typ == "DateTime":
			expr = fmt.Sprintf("toDateTime(ifNull(%s, fromUnixTimestamp64Milli(0, 'UTC')), 'UTC')", col)
		case c.typ == "String":
			expr = fmt.Sprintf("ifNull(CAST(%s AS Nullable(String)), '')", col)
		case c.typ == "UInt8":
			expr = fmt.Sprintf("toUInt8(ifNull(CAST(%s AS Nullable(Int16)), 0))", col)
		default:
			expr = fmt.Sprintf("ifNull(%s, 0)", col)
		}
		fmt.Fprintf(&b, ",\n    %s AS %s", expr, c.name)
	}
	fmt.Fprintf(&b, ",\n    toUInt8(0) AS trusted\nFROM %s", l.Name(Flows))
	return b.String()
}
