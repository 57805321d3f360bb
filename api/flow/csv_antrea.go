package flow

import "strconv"

// antreaAs says how Antrea's files write a field.
type antreaAs uint8

const (
	asText    antreaAs = iota // text; "" where absent
	asNumber                  // decimal number; 0 where absent
	asSeconds                 // seconds since the Unix epoch; 0 where absent
	asQuoted                  // text in single quotes
	asAction                  // number, or Allow, Drop, Reject with words
	asPolicy                  // number, or K8sNetworkPolicy, ... with words
	asProto                   // number, or TCP, UDP, ... with words
)

type antreaColumn struct {
	f  FieldID
	as antreaAs
}

// antreaS3 is the order of Antrea's S3 uploader up to the cluster's id.
var antreaS3 = []antreaColumn{
	{FStart, asSeconds},
	{FEnd, asSeconds},
	{FEndSrc, asSeconds},
	{FEndDst, asSeconds},
	{FEndReason, asNumber},
	{FSrcIP, asText},
	{FDstIP, asText},
	{FSrcPort, asNumber},
	{FDstPort, asNumber},
	{FProto, asNumber},
	{FPackets, asNumber},
	{FBytes, asNumber},
	{FPacketsDelta, asNumber},
	{FBytesDelta, asNumber},
	{FRevPackets, asNumber},
	{FRevBytes, asNumber},
	{FRevPacketsDelta, asNumber},
	{FRevBytesDelta, asNumber},
	{FSrcPod, asText},
	{FSrcNS, asText},
	{FSrcNode, asText},
	{FDstPod, asText},
	{FDstNS, asText},
	{FDstNode, asText},
	{FClusterIP, asText},
	{FSvcIP, asText},
	{FSvcPort, asNumber},
	{FSvcPortName, asText},
	{FIngressPolicy, asText},
	{FIngressPolicyNS, asText},
	{FIngressRule, asText},
	{FIngressAction, asNumber},
	{FIngressPolicyType, asNumber},
	{FEgressPolicy, asText},
	{FEgressPolicyNS, asText},
	{FEgressRule, asText},
	{FEgressAction, asNumber},
	{FEgressPolicyType, asNumber},
	{FTCPState, asText},
	{FFlowType, asNumber},
	{FSrcLabels, asQuoted},
	{FDstLabels, asQuoted},
	{FThroughput, asNumber},
	{FRevThroughput, asNumber},
	{FThroughputSrc, asNumber},
	{FThroughputDst, asNumber},
	{FRevThroughputSrc, asNumber},
	{FRevThroughputDst, asNumber},
	{FClusterID, asText},
}

// antreaEgress ends both of Antrea's lines.
var antreaEgress = []antreaColumn{{FEgressName, asText}, {FEgressIP, asText}, {FEgressNode, asText}}

// antreaLog is the order of Antrea's flow logger up to the Egress.
var antreaLog = []antreaColumn{
	{FStart, asSeconds},
	{FEnd, asSeconds},
	{FSrcIP, asText},
	{FDstIP, asText},
	{FSrcPort, asNumber},
	{FDstPort, asNumber},
	{FProto, asProto},
	{FSrcPod, asText},
	{FSrcNS, asText},
	{FSrcNode, asText},
	{FDstPod, asText},
	{FDstNS, asText},
	{FDstNode, asText},
	{FClusterIP, asText},
	{FSvcIP, asText},
	{FSvcPort, asNumber},
	{FSvcPortName, asText},
	{FIngressPolicy, asText},
	{FIngressPolicyNS, asText},
	{FIngressRule, asText},
	{FIngressAction, asAction},
	{FIngressPolicyType, asPolicy},
	{FEgressPolicy, asText},
	{FEgressPolicyNS, asText},
	{FEgressRule, asText},
	{FEgressAction, asAction},
	{FEgressPolicyType, asPolicy},
}

// AppendAntreaCSV appends the record as a line of Antrea's S3 files, without a
// line end: 53 columns, no header, nothing escaped, labels in single quotes, times in
// whole seconds, enums as numbers, 0 for an absent number. insertedMillis is when
// the line is written.
func AppendAntreaCSV(b []byte, r *Record, insertedMillis int64) []byte {
	b = r.appendAntrea(b, antreaS3, false)
	b = append(b, ',')
	b = strconv.AppendInt(b, insertedMillis/1000, 10)
	b = append(b, ',')
	return r.appendAntrea(b, antreaEgress, false)
}

// AppendAntreaFlowLog appends the record as a line of Antrea's flow logger, without a
// line end: 30 columns, no counters. With words (Antrea's prettyPrint, its default)
// protocols, actions and types of policy are names.
func AppendAntreaFlowLog(b []byte, r *Record, words bool) []byte {
	b = r.appendAntrea(b, antreaLog, words)
	b = append(b, ',')
	return r.appendAntrea(b, antreaEgress, words)
}

func (r *Record) appendAntrea(b []byte, cols []antreaColumn, words bool) []byte {
	for i, c := range cols {
		if i > 0 {
			b = append(b, ',')
		}
		switch c.as {
		case asText:
			if r.Has.Has(c.f) {
				b = r.AppendText(b, c.f)
			}
			continue
		case asQuoted:
			b = append(b, '\'')
			if r.Has.Has(c.f) {
				b = r.AppendText(b, c.f)
			}
			b = append(b, '\'')
			continue
		case asSeconds:
			ms, _ := r.Int(c.f)
			b = strconv.AppendInt(b, ms/1000, 10)
			continue
		default: // a number, or the word for it
		}
		v, _ := r.Uint(c.f)
		if words {
			if names := antreaWords(c.as); names != nil {
				if w, ok := names[v]; ok {
					b = append(b, w...)
					continue
				}
			}
		}
		b = strconv.AppendUint(b, v, 10)
	}
	return b
}

func antreaWords(as antreaAs) map[uint64]string {
	switch as {
	case asAction:
		return antreaActions
	case asPolicy:
		return antreaPolicies
	case asProto:
		return antreaProtos
	default:
		return nil
	}
}

// Antrea's words; 0 is written as nothing. The maps are never written.
var (
	antreaActions  = map[uint64]string{0: "", 1: "Allow", 2: "Drop", 3: "Reject"}
	antreaPolicies = map[uint64]string{
		0: "", 1: "K8sNetworkPolicy", 2: "AntreaNetworkPolicy", 3: "AntreaClusterNetworkPolicy", 4: "K8sClusterNetworkPolicy",
	}
	antreaProtos = map[uint64]string{1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "IPv6-ICMP", 132: "SCTP"}
)
