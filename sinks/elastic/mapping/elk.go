package mapping

import (
	"github.com/weirnet/weir/api/flow"
)

// The documents of Antrea 1.0's ELK flow collector: what its Logstash made of a record,
// under the name ipfix, in an index a day. Names are those of the IPFIX elements.

// lastELK is the highest Antrea element of that time: egressNetworkPolicyRuleName.
const lastELK = 142

// Names that Logstash's filter added.
const (
	ELKBytes        = "bytes"
	ELKPackets      = "packets"
	ELKSource       = "sourceIP"
	ELKDestination  = "destinationIP"
	ELKPodToPod     = "flowKeyPodToPod"
	ELKPodToService = "flowKeyPodToService"
	ELKThroughput   = "throughput"        // bytes a second
	ELKReverse      = "reverseThroughput" // bytes a second
	ELKProtocol     = "protocolIdentifier"
)

// ELKElement gives the IPFIX element by which a field is named in those documents; false
// for one that Antrea 1.0 did not have. Of IPv4 and IPv6 the first is IPv4's.
func ELKElement(id flow.FieldID) (els []flow.Element, ok bool) {
	for _, e := range flow.Fields[id].Elems {
		switch {
		case e.PEN == flow.PENAntrea && e.ID <= lastELK, e.PEN == flow.PENReverse, e.PEN == flow.PENIANA && e.Enc != flow.EncMillis && e.ID < 400:
			els = append(els, e)
		}
	}
	return els, len(els) > 0
}

// ELKTemplates gives the requests that make the template of those indices.
func (l *Layout) ELKTemplates() []Request {
	text := func() object {
		return object{"type": "text", "fields": object{"keyword": object{"type": "keyword", "ignore_above": 256}}}
	}
	props := object{}
	for id := range flow.FieldID(flow.NumFields) {
		els, _ := ELKElement(id)
		for _, e := range els {
			switch e.Enc {
			case flow.EncUnsigned, flow.EncSigned:
				props[e.Name] = object{"type": "long"}
			case flow.EncSeconds:
				props[e.Name] = object{"type": "date"}
			default:
				props[e.Name] = text()
			}
		}
	}
	for _, n := range []string{ELKBytes, ELKPackets, ELKThroughput, ELKReverse} {
		props[n] = object{"type": "long"}
	}
	for _, n := range []string{ELKSource, ELKDestination, ELKPodToPod, ELKPodToService, ELKProtocol} {
		props[n] = text()
	}
	settings := object{"index.number_of_shards": l.Shards, "index.number_of_replicas": l.Replicas, "index.codec": "best_compression", "index.refresh_interval": "5s"}
	var out []Request
	if l.Way == ByILM && l.Retention > 0 {
		out = append(out, Put("/_ilm/policy/"+l.ELKName(), object{"policy": object{"_meta": l.meta(), "phases": object{
			"delete": object{"min_age": span(l.Retention), "actions": object{"delete": object{}}},
		}}}))
		settings["index.lifecycle.name"] = l.ELKName()
	}
	return append(out, Put("/_index_template/"+l.ELKName(), object{
		"index_patterns": []string{l.Index + "-*"}, "priority": priority, "_meta": l.meta(),
		"template": object{"settings": settings, "mappings": object{"properties": object{
			Time: object{"type": "date"}, "@version": text(), "ipfix": object{"properties": props},
		}}},
	}))
}

// ELKName is the name of the template of those indices.
func (l *Layout) ELKName() string { return "weir-" + l.Index }
