package elastic

import (
	"context"
	"net/netip"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

// elkField writes one field as Logstash did.
type elkField struct {
	id     flow.FieldID
	key    string // with its quotes and colon
	key6   string // of an IPv6 address
	enc    flow.Encoding
	number bool
}

// elk are the fields of Antrea 1.0's documents, computed once and never written.
var elk = elkFields()

func elkFields() []elkField {
	var out []elkField
	for id := range flow.FieldID(flow.NumFields) {
		els, ok := mapping.ELKElement(id)
		if !ok || id == flow.FProto {
			continue
		}
		f := elkField{id: id, key: `"` + els[0].Name + `":`, enc: els[0].Enc, number: els[0].Enc == flow.EncUnsigned || els[0].Enc == flow.EncSigned}
		if len(els) > 1 && els[1].Enc == flow.EncIPv6 {
			f.key6 = `"` + els[1].Name + `":`
		}
		out = append(out, f)
	}
	return out
}

// elkDay is the end of the name of the index of a record, as Logstash's %{+YYYY.MM.dd}.
func elkDay(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006.01.02") }

const elkTime = `2006-01-02T15:04:05.000Z`

// appendELK appends the document of a record, without the outer braces.
func appendELK(b []byte, r *flow.Record) []byte {
	b = time.UnixMilli(r.End).UTC().AppendFormat(append(b, `"@timestamp":"`...), elkTime)
	b = append(b, `","@version":"1","ipfix":{`...)
	for i := range elk {
		f := &elk[i]
		if !r.Has.Has(f.id) {
			continue
		}
		b = f.append(b, r)
	}
	b = appendELKFilter(b, r)
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

func (f *elkField) append(b []byte, r *flow.Record) []byte {
	key := f.key
	addr, isAddr := r.Addr(f.id)
	if isAddr {
		if !addr.IsValid() {
			return b
		}
		if addr.Is6() && f.key6 != "" {
			key = f.key6
		}
	}
	b = append(b, key...)
	switch n, unsigned := r.Uint(f.id); {
	case f.enc == flow.EncSeconds:
		ms, _ := r.Int(f.id)
		b = time.UnixMilli(ms).UTC().AppendFormat(append(b, '"'), elkTime)
		b = append(b, '"')
	case f.number && unsigned:
		b = strconv.AppendUint(b, n, 10)
	case f.number:
		i, _ := r.Int(f.id)
		b = strconv.AppendInt(b, i, 10)
	case isAddr:
		b = append(addr.WithZone("").AppendTo(append(b, '"')), '"')
	default:
		b = flow.AppendJSONString(b, r.Text(f.id))
	}
	return append(b, ',')
}

// appendELKFilter adds what the collector's filter.rb did.
func appendELKFilter(b []byte, r *flow.Record) []byte {
	text := func(name, v string) {
		b = append(flow.AppendJSONString(append(b, `"`+name+`":`...), v), ',')
	}
	number := func(name string, v uint64) {
		b = append(strconv.AppendUint(append(b, `"`+name+`":`...), v, 10), ',')
	}
	proto := strconv.Itoa(int(r.Proto))
	switch r.Proto {
	case 6:
		proto = "TCP"
	case 17:
		proto = "UDP"
	}
	text(mapping.ELKProtocol, proto)
	if r.Has.Has(flow.FBytes) {
		number(mapping.ELKBytes, r.Bytes)
		number(mapping.ELKPackets, r.Packets)
	}
	src, dst := elkEnd(r.SrcPod, r.SrcIP), elkEnd(r.DstPod, r.DstIP)
	if r.SrcIP.IsValid() && r.DstIP.IsValid() {
		text(mapping.ELKSource, r.SrcIP.WithZone("").String())
		text(mapping.ELKDestination, r.DstIP.WithZone("").String())
	}
	port := func(p uint16) string { return strconv.Itoa(int(p)) }
	text(mapping.ELKPodToPod, src+":"+port(r.SrcPort)+"->"+dst+":"+port(r.DstPort)+" "+proto)
	if r.Has.Has(flow.FSvcPortName) {
		text(mapping.ELKPodToService, src+":"+port(r.SrcPort)+"->"+r.SvcPortName+port(r.SvcPort)+" "+proto)
	}
	for _, f := range []flow.FieldID{flow.FIngressPolicy, flow.FEgressPolicy} {
		if !r.Has.Has(f) {
			els, _ := mapping.ELKElement(f)
			text(els[0].Name, "N/A")
		}
	}
	millis := int64(60_000) // the first record of a connection
	if r.Has.Has(flow.FSince) {
		millis = r.End - r.Since
	}
	if millis > 0 && r.Has.Has(flow.FBytesDeltaSrc) {
		number(mapping.ELKThroughput, r.BytesDeltaSrc*1000/uint64(millis))
	}
	if millis > 0 && r.Has.Has(flow.FRevBytesDeltaSrc) {
		number(mapping.ELKReverse, r.RevBytesDeltaSrc*1000/uint64(millis))
	}
	return b
}

func elkEnd(pod string, ip netip.Addr) string {
	if pod != "" {
		return pod
	}
	return ip.WithZone("").String()
}

// elkWay is how indices of a day go: a data stream's lifecycle does not hold for them.
func (s *Sink) elkWay(ctx context.Context, way string) (string, error) {
	if way != mapping.ByLifecycle || s.cfg.RetentionBy == mapping.ByLifecycle {
		return way, nil
	}
	return s.srv.ilm(ctx, &s.cl)
}
