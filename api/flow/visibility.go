package flow

import (
	"net/netip"
	"slices"
)

// Exposure says who may read a field of a connection, one of whose ends may be foreign:
// outside the namespaces that the reader is confined to. Of a foreign end he sees the
// namespace, the kind, and the Service through which it was reached.
type Exposure uint8

// The exposures. A field without one is kept back (TestEveryFieldIsExposed).
const (
	ExposeNever  Exposure = iota + 1 // it tells an end by a hash or a number of its exporter
	ExposeSource                     // it tells who the client is: hidden where that is foreign
	ExposeTarget                     // it tells who the server is: hidden where that is foreign
	ExposeBoth                       // it tells of either: hidden where one is foreign
	ExposeAlways                     // it tells of the connection
)

// Exposures decides for each field. Add a row here with each row of Fields.
var Exposures = [NumFields]Exposure{
	FStart: ExposeAlways, FEnd: ExposeAlways, FEndReason: ExposeAlways,
	FSrcIP: ExposeSource, FDstIP: ExposeTarget, FProto: ExposeAlways, FICMP: ExposeAlways,
	FSrcPort: ExposeSource, // of an address; the client's own business
	FDstPort: ExposeAlways, // where the server is foreign: the port that was dialled (Mask)
	FPackets: ExposeAlways, FBytes: ExposeAlways, FPacketsDelta: ExposeAlways, FBytesDelta: ExposeAlways,
	FRevPackets: ExposeAlways, FRevBytes: ExposeAlways, FRevPacketsDelta: ExposeAlways, FRevBytesDelta: ExposeAlways,
	// who the ends are
	FSrcNS: ExposeAlways, FDstNS: ExposeAlways, FSrcKind: ExposeAlways, FDstKind: ExposeAlways,
	FSrcPod: ExposeSource, FDstPod: ExposeTarget, FSrcNode: ExposeSource, FDstNode: ExposeTarget,
	FSrcLabels: ExposeSource, FDstLabels: ExposeTarget, FSrcWorkload: ExposeSource, FDstWorkload: ExposeTarget,
	FSrcZone: ExposeSource, FDstZone: ExposeTarget, FSrcName: ExposeSource, FDstName: ExposeTarget,
	FSrcNameVia: ExposeSource, FDstNameVia: ExposeTarget, FSrcNet: ExposeSource, FDstNet: ExposeTarget,
	FSrcPodUID: ExposeSource, FDstPodUID: ExposeTarget, FSrcNodeUID: ExposeSource, FDstNodeUID: ExposeTarget,
	FSvcPort: ExposeAlways, FSvcPortName: ExposeAlways, FSvcIP: ExposeTarget, FClusterIP: ExposeTarget, FSvcUID: ExposeTarget,
	FProxySNATPort: ExposeBoth, FProxySNATIP: ExposeBoth, // a node's
	FEgressName: ExposeSource, FEgressIP: ExposeSource, FEgressNode: ExposeSource, FEgressUID: ExposeSource, FEgressNodeUID: ExposeSource,
	// the policies of an end are its namespace's
	FIngressPolicy: ExposeTarget, FIngressPolicyNS: ExposeTarget, FIngressPolicyType: ExposeTarget, FIngressRule: ExposeTarget,
	FIngressAction: ExposeTarget, FIngressPolicyUID: ExposeTarget, FIngressPolicyUUID: ExposeTarget, FIngressPriority: ExposeTarget,
	FIngressRuleID: ExposeTarget, FIngressRevision: ExposeTarget,
	FEgressPolicy: ExposeSource, FEgressPolicyNS: ExposeSource, FEgressPolicyType: ExposeSource, FEgressRule: ExposeSource,
	FEgressAction: ExposeSource, FEgressPolicyUID: ExposeSource, FEgressPolicyUUID: ExposeSource, FEgressPriority: ExposeSource,
	FEgressRuleID: ExposeSource, FEgressRevision: ExposeSource,
	FPolicyEval: ExposeAlways, FPolicyEvalWhy: ExposeBoth, // it names policies and labels of both
	// counters of either node speak of the connection
	FPacketsSrc: ExposeAlways, FBytesSrc: ExposeAlways, FPacketsDeltaSrc: ExposeAlways, FBytesDeltaSrc: ExposeAlways,
	FRevPacketsSrc: ExposeAlways, FRevBytesSrc: ExposeAlways, FRevPacketsDeltaSrc: ExposeAlways, FRevBytesDeltaSrc: ExposeAlways,
	FPacketsDst: ExposeAlways, FBytesDst: ExposeAlways, FPacketsDeltaDst: ExposeAlways, FBytesDeltaDst: ExposeAlways,
	FRevPacketsDst: ExposeAlways, FRevBytesDst: ExposeAlways, FRevPacketsDeltaDst: ExposeAlways, FRevBytesDeltaDst: ExposeAlways,
	FThroughput: ExposeAlways, FRevThroughput: ExposeAlways, FThroughputSrc: ExposeAlways, FThroughputDst: ExposeAlways,
	FRevThroughputSrc: ExposeAlways, FRevThroughputDst: ExposeAlways, FEndSrc: ExposeAlways, FEndDst: ExposeAlways,
	FTCPState: ExposeAlways, FTCPStatePrev: ExposeAlways,
	FFlowType: ExposeBoth, FScope: ExposeBoth, // "same node" would tell the foreign end's node
	FAppProtocol: ExposeAlways, FHTTPVals: ExposeBoth, FClusterID: ExposeAlways,
	// who told
	FObserver: ExposeBoth, FOriginalDomain: ExposeBoth, FOriginalExporter: ExposeBoth, FDirection: ExposeAlways, FSeenBy: ExposeAlways,
	FCTZone: ExposeBoth, FCTMark: ExposeBoth, FCTStatus: ExposeAlways,
	FConnID: ExposeNever, // a hash of the tuple: addresses can be found by trying
	FID:     ExposeNever,
	FSeq:    ExposeAlways, FFirst: ExposeAlways, FFinal: ExposeAlways, FHalf: ExposeAlways, FRecords: ExposeAlways, FSince: ExposeAlways,
	// what became of it
	FOutcome: ExposeAlways, FEvidence: ExposeAlways, FOutcomeSrc: ExposeAlways, FOutcomeDst: ExposeAlways, FResetBy: ExposeAlways, FDenied: ExposeAlways,
	FRTT: ExposeAlways, FRTTMin: ExposeAlways, FRetransSrc: ExposeAlways, FRetransDst: ExposeAlways, FPathMTU: ExposeAlways,
	FLossPackets: ExposeAlways, FLossRevPackets: ExposeAlways, FLimitedBySrc: ExposeAlways, FLimitedByDst: ExposeAlways,
	FDstListen: ExposeTarget, FDstListens: ExposeTarget, FDstBacklog: ExposeTarget, FDstBacklogMax: ExposeTarget, // the server's own business
	FDNSQuery: ExposeSource, // a DNS server's namespace does not learn who asks for what
	FDNSRcode: ExposeAlways, FDNSTime: ExposeAlways, FCanary: ExposeAlways, FHandedOver: ExposeAlways,
}

// hidden are the fields that are cleared, by which ends are foreign.
var hidden = func() (h [4][]FieldID) {
	for f, e := range Exposures {
		for ends := 1; ends < 4; ends++ { // bit 0: the client is foreign, bit 1: the server
			if e == ExposeAlways || e == ExposeSource && ends&1 == 0 || e == ExposeTarget && ends&2 == 0 {
				continue
			}
			h[ends] = append(h[ends], FieldID(f))
		}
		if e == ExposeNever || e == 0 {
			h[0] = append(h[0], FieldID(f))
		}
	}
	return h
}()

// Visibility confines a reader to namespaces. Nil confines nothing.
type Visibility struct {
	names map[string]bool
}

// Confine shows only the namespaces given; without any, nothing at all.
func Confine(namespaces []string) *Visibility {
	v := &Visibility{names: make(map[string]bool, len(namespaces))}
	for _, n := range namespaces {
		v.names[n] = true
	}
	return v
}

// Namespaces gives those of the reader, sorted; nil where nothing is confined.
func (v *Visibility) Namespaces() []string {
	if v == nil {
		return nil
	}
	out := make([]string, 0, len(v.names))
	for n := range v.names {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Has reports whether a namespace is the reader's.
func (v *Visibility) Has(namespace string) bool {
	return v == nil || namespace != "" && v.names[namespace]
}

// Sees reports whether a connection has an end that is the reader's.
func (v *Visibility) Sees(r *Record) bool { return v.Has(r.SrcNS) || v.Has(r.DstNS) }

// Mask clears what is hidden of a record that it sees. Of one that it does not
// see nothing is left.
func (v *Visibility) Mask(r *Record) {
	if v == nil {
		return
	}
	ends := 0
	if !v.Has(r.SrcNS) {
		ends |= 1
	}
	if !v.Has(r.DstNS) {
		ends |= 2
	}
	if ends == 3 {
		*r = Record{}
		return
	}
	if ends&2 != 0 && r.Has.Has(FSvcPort) {
		r.DstPort = r.SvcPort // the port after translation is the server's business
		r.Has.Set(FDstPort)
	}
	for _, f := range hidden[ends] {
		r.clear(f)
	}
}

// clear makes a field absent.
func (r *Record) clear(f FieldID) {
	p := r.at(f)
	switch columns[f].typ {
	case TypeU8, TypeBool:
		*(*uint8)(p) = 0
	case TypeU16:
		*(*uint16)(p) = 0
	case TypeU32, TypeI32:
		*(*uint32)(p) = 0
	case TypeU64, TypeI64, TypeMillis:
		*(*uint64)(p) = 0
	case TypeString:
		*(*string)(p) = ""
	case TypeAddr:
		*(*netip.Addr)(p) = netip.Addr{}
	case TypeUUID:
		*(*UUID)(p) = UUID{}
	}
	r.Has.Clear(f)
}
