package ipfix

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Set is a pair of templates, one a family, that together can carry any record.
type Set struct{ V4, V6 *Template }

// For gives the template for the record's family.
func (s *Set) For(r *flow.Record) *Template {
	if r.SrcIP.Is4() || (!r.SrcIP.IsValid() && !r.DstIP.Is6()) || r.SrcIP.Is4In6() {
		return s.V4
	}
	return s.V6
}

// Templates gives both, for announcing.
func (s *Set) Templates() []*Template { return []*Template{s.V4, s.V6} }

// Template ids of the ready sets. A session carries one set, so they may meet only
// where two are announced to one collector.
const (
	idWeir            = 256
	idAntreaExporter  = 260
	idAntreaAggregate = 270
	idIANA            = 280
	idProxy           = 290
)

// notOnLink are fields that only the aggregator fills.
func onLink(f *flow.Field) bool {
	for _, p := range []string{"src.packets", "src.bytes", "src.reverse.", "dst.packets", "dst.bytes", "dst.reverse.", "src.throughput", "dst.throughput", "throughput", "reverse.throughput", "original.", "loss."} {
		if strings.HasPrefix(f.Name, p) {
			return false
		}
	}
	switch f.Name {
	case "src.end", "dst.end", "half", "records", "id":
		return false
	}
	return true
}

func family(f *flow.Field, v6 bool) flow.Element {
	if len(f.Elems) > 1 && (f.Elems[1].Enc == flow.EncIPv6 || f.Name == "icmp") && v6 {
		return f.Elems[1]
	}
	return f.Elems[0]
}

func fromFields(id uint16, keep func(*flow.Field) bool) Set {
	build := func(id uint16, v6 bool) *Template {
		elems := []flow.Element{flow.PresenceElement}
		for i := range flow.Fields {
			if f := &flow.Fields[i]; keep(f) {
				elems = append(elems, family(f, v6))
			}
		}
		return must(NewTemplate(id, elems))
	}
	return Set{build(id, false), build(id+1, true)}
}

func must(t *Template, err error) *Template {
	if err != nil {
		panic(err) // built from the schema: a wrong row, found by every test
	}
	return t
}

// WeirLink carries what an agent tells, with the presence of each field.
func WeirLink() Set { return fromFields(idWeir, onLink) }

// WeirAggregated carries every field of the schema, with its presence.
func WeirAggregated() Set { return fromFields(idWeir+2, func(*flow.Field) bool { return true }) }

const (
	exporterCommon  = "flowStartSeconds flowEndSeconds flowEndReason sourceTransportPort destinationTransportPort protocolIdentifier packetTotalCount octetTotalCount packetDeltaCount octetDeltaCount"
	exporterAddrs   = "sourceIPv# destinationIPv#"
	exporterReverse = "reversePacketTotalCount reverseOctetTotalCount reversePacketDeltaCount reverseOctetDeltaCount"
	antreaBlock     = "sourcePodName sourcePodNamespace sourceNodeName destinationPodName destinationPodNamespace destinationNodeName destinationServicePort destinationServicePortName " +
		"ingressNetworkPolicyName ingressNetworkPolicyNamespace ingressNetworkPolicyType ingressNetworkPolicyRuleName ingressNetworkPolicyRuleAction " +
		"egressNetworkPolicyName egressNetworkPolicyNamespace egressNetworkPolicyType egressNetworkPolicyRuleName egressNetworkPolicyRuleAction " +
		"tcpState flowType egressName egressIP egressNodeName proxySnatPort"
)

const (
	antreaAddrs    = "destinationClusterIPv# proxySnatIPv# destinationServiceIPv#"
	antreaAggAddrs = "proxySnatIPv# destinationClusterIPv# destinationServiceIPv#"
)

// AntreaExporter is the template of Antrea's flow exporter, in its order.
func AntreaExporter() Set {
	return named(idAntreaExporter, exporterCommon, exporterAddrs, exporterReverse, antreaBlock, antreaAddrs)
}

// AntreaAggregator is the template of Antrea's flow aggregator in aggregate mode.
func AntreaAggregator() Set {
	return named(idAntreaAggregate, exporterCommon, exporterAddrs, exporterReverse, antreaBlock, antreaAggAddrs, aggregatorStats(),
		"flowEndSecondsFromSourceNode flowEndSecondsFromDestinationNode throughput throughputFromSourceNode throughputFromDestinationNode "+
			"reverseThroughput reverseThroughputFromSourceNode reverseThroughputFromDestinationNode sourcePodLabels destinationPodLabels clusterId")
}

func aggregatorStats() string {
	var w []string
	for _, side := range []string{"FromSourceNode", "FromDestinationNode"} {
		for _, n := range []string{"octetDeltaCount", "octetTotalCount", "packetDeltaCount", "packetTotalCount", "reverseOctetDeltaCount", "reverseOctetTotalCount", "reversePacketDeltaCount", "reversePacketTotalCount"} {
			w = append(w, n+side)
		}
	}
	return strings.Join(w, " ")
}

// AntreaProxy is the template of Antrea's flow aggregator in proxy mode.
func AntreaProxy() Set {
	return named(idProxy, exporterCommon, exporterAddrs, exporterReverse, antreaBlock, antreaAggAddrs,
		"originalObservationDomainId originalExporterIPv4Address originalExporterIPv6Address flowDirection")
}

// IANA uses no enterprise elements but the reverse counters of RFC 5103, so that any
// collector reads it whole.
func IANA() Set {
	return named(idIANA, "flowStartMilliseconds flowEndMilliseconds flowEndReason sourceTransportPort destinationTransportPort protocolIdentifier packetTotalCount octetTotalCount packetDeltaCount octetDeltaCount",
		exporterAddrs, exporterReverse)
}

func named(id uint16, groups ...string) Set {
	byName := map[string]flow.Element{}
	for i := range flow.Fields {
		for _, e := range flow.Fields[i].Elems {
			byName[e.Name] = e
		}
	}
	build := func(id uint16, v string) *Template {
		var elems []flow.Element
		for n := range strings.FieldsSeq(strings.Join(groups, " ")) {
			n = strings.Replace(n, "IPv#", "IPv"+v, 1)
			e, ok := byName[n]
			if !ok {
				e, ok = byName[n+"Address"]
			}
			if !ok {
				panic(fmt.Sprintf("ipfix: the schema has no element %q", n)) // a wrong name above, found by every test
			}
			elems = append(elems, e)
		}
		return must(NewTemplate(id, elems))
	}
	return Set{build(id, "4"), build(id+1, "6")}
}
