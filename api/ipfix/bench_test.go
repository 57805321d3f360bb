package ipfix

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/vmware/go-ipfix/pkg/entities"
	"github.com/vmware/go-ipfix/pkg/registry"

	"github.com/weirnet/weir/api/flow"
)

const benchRecords = 4096

// benchTemplate is Antrea's exporter template without its last three addresses: 40
// elements, 17 of them strings.
func benchTemplate() *Template {
	set := AntreaExporter()
	return must(NewTemplate(set.V4.ID, set.V4.Elems[:40]))
}

// benchInput gives records of a cluster with 20 nodes, 1,000 pods, 50 Services and
// 30 policies.
func benchInput() []flow.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	pod := func() (n int, name, ns, node string) {
		n = rng.IntN(1000)
		return n, fmt.Sprintf("checkout-7d9c5b6f48-%05x", n*7919), fmt.Sprintf("team-%d", n%40), fmt.Sprintf("worker-%d.example.internal", n%20)
	}
	recs := make([]flow.Record, benchRecords)
	for i := range recs {
		r := &recs[i]
		a, name, ns, node := pod()
		r.SetSrcPod(name)
		r.SetSrcNS(ns)
		r.SetSrcNode(node)
		b, name, ns, node := pod()
		r.SetDstPod(name)
		r.SetDstNS(ns)
		r.SetDstNode(node)
		r.SetSrcIP(netip.AddrFrom4([4]byte{10, 10, byte(a >> 8), byte(a)}))
		r.SetDstIP(netip.AddrFrom4([4]byte{10, 10, byte(b >> 8), byte(b)}))
		r.SetStart(1_700_000_000_000 + int64(i)*1000)
		r.SetEnd(r.Start + 5000)
		r.SetEndReason(flow.EndReasonActive)
		r.SetSrcPort(uint16(32768 + rng.IntN(28000)))
		r.SetDstPort(8080)
		r.SetProto(6)
		for _, set := range []func(uint64){r.SetPackets, r.SetBytes, r.SetPacketsDelta, r.SetBytesDelta, r.SetRevPackets, r.SetRevBytes, r.SetRevPacketsDelta, r.SetRevBytesDelta} {
			set(rng.Uint64N(1 << 40))
		}
		r.SetSvcPort(80)
		r.SetSvcPortName(fmt.Sprintf("team-%d/service-%d:http", b%40, b%50))
		r.SetIngressPolicy(fmt.Sprintf("allow-from-frontends-%d", b%30))
		r.SetIngressPolicyNS(ns)
		r.SetIngressRule(fmt.Sprintf("rule-%d", b%7))
		r.SetEgressPolicy(fmt.Sprintf("allow-to-backends-%d", a%30))
		r.SetEgressPolicyNS(r.SrcNS)
		r.SetEgressRule(fmt.Sprintf("rule-%d", a%7))
		r.SetTCPState([]string{"ESTABLISHED", "TIME_WAIT", "SYN_SENT"}[rng.IntN(3)])
		if i%16 == 0 {
			r.SetEgressName("egress-prod")
			r.SetEgressIP("192.0.2.17")
			r.SetEgressNode("worker-3.example.internal")
		}
	}
	return recs
}

func benchMessages(t *Template, recs []flow.Record) (template []byte, data [][]byte) {
	enc := NewEncoder(1, EncoderOptions{OneSet: true, MaxMessage: 32 << 10})
	enc.AddTemplate(t)
	template = bytes.Clone(enc.Take(1))
	for i := range recs {
		if !enc.Append(t, &recs[i]) {
			data = append(data, bytes.Clone(enc.Take(1)))
			enc.Append(t, &recs[i])
		}
	}
	return template, append(data, bytes.Clone(enc.Take(1)))
}

type counter struct{ n int }

func (c *counter) Record(*flow.Record) { c.n++ }
func (c *counter) Ledger(*LedgerRow)   {}

func perRecord(b *testing.B) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

// BenchmarkDecode decodes the same 4,096 records from the same bytes an op.
func BenchmarkDecode(b *testing.B) {
	tm := benchTemplate()
	template, data := benchMessages(tm, benchInput())
	b.Run("weir", func(b *testing.B) {
		s := NewSession(SessionOptions{})
		var c counter
		msgs := append([][]byte{template}, data...)
		for _, m := range msgs {
			if err := s.Decode(0, m, &c); err != nil {
				b.Fatal(err)
			}
		}
		if c.n != benchRecords {
			b.Fatal(c.n)
		}
		b.ReportAllocs()
		for b.Loop() {
			for _, m := range data {
				if err := s.Decode(0, m, &c); err != nil {
					b.Fatal(err)
				}
			}
		}
		perRecord(b)
	})
	b.Run("go-ipfix", func(b *testing.B) {
		ies := goIPFIXElements(b, tm)
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, m := range data {
				set, err := goIPFIXDecode(bytes.NewBuffer(m[headerLen+setHeaderLen:]), ies, tm.ID)
				if err != nil {
					b.Fatal(err)
				}
				n += len(set.GetRecords())
			}
			if n != benchRecords {
				b.Fatal(n)
			}
		}
		perRecord(b)
	})
	b.Run("goflow2", func(b *testing.B) {
		templates := netflow.CreateTemplateSystem()
		var v9 netflow.NFv9Packet
		decode := func(m []byte) *netflow.IPFIXPacket {
			var p netflow.IPFIXPacket
			if err := netflow.DecodeMessageVersion(bytes.NewBuffer(m), templates, &v9, &p); err != nil {
				b.Fatal(err)
			}
			return &p
		}
		decode(template)
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, m := range data {
				for _, fs := range decode(m).FlowSets {
					n += len(fs.(netflow.DataFlowSet).Records)
				}
			}
			if n != benchRecords {
				b.Fatal(n)
			}
		}
		perRecord(b)
	})
}

func goIPFIXElements(tb testing.TB, t *Template) []*entities.InfoElement {
	tb.Helper()
	registry.LoadRegistry()
	ies := make([]*entities.InfoElement, len(t.Elems))
	for i, e := range t.Elems {
		ie, err := registry.GetInfoElementFromID(e.ID, e.PEN)
		if err != nil {
			tb.Fatal(err)
		}
		ies[i] = ie
	}
	return ies
}

// goIPFIXDecode is collector.decodeDataSet of go-ipfix v0.17.0, which is not
// exported: the same calls in the same order, without its channel and its log.
func goIPFIXDecode(buf *bytes.Buffer, template []*entities.InfoElement, id uint16) (entities.Set, error) {
	set := entities.NewSet(true)
	if err := set.PrepareSet(entities.Data, id); err != nil {
		return nil, err
	}
	for buf.Len() > 0 {
		elements := make([]entities.InfoElementWithValue, 0, len(template))
		for _, ie := range template {
			length := int(ie.Len)
			if ie.Len == entities.VariableLength {
				var err error
				if length, err = goIPFIXFieldLength(buf); err != nil {
					return nil, err
				}
			}
			el, err := entities.DecodeAndCreateInfoElementWithValue(ie, buf.Next(length))
			if err != nil {
				return nil, err
			}
			elements = append(elements, el)
		}
		if err := set.AddRecordV2(elements, id); err != nil {
			return nil, err
		}
	}
	return set, nil
}

func goIPFIXFieldLength(buf *bytes.Buffer) (int, error) {
	one, err := buf.ReadByte()
	if err != nil || one < 255 {
		return int(one), err
	}
	two := buf.Next(2)
	if len(two) < 2 {
		return 0, errors.New("buffer too short")
	}
	return int(binary.BigEndian.Uint16(two)), nil
}

// BenchmarkEncode encodes the same 4,096 records to the same bytes an op. go-ipfix
// gets its elements with their values already in them.
func BenchmarkEncode(b *testing.B) {
	tm, recs := benchTemplate(), benchInput()
	_, data := benchMessages(tm, recs)
	size := 0
	for _, m := range data {
		size += len(m)
	}
	b.Run("weir", func(b *testing.B) {
		enc := NewEncoder(1, EncoderOptions{MaxMessage: 32 << 10})
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for i := range recs {
				if !enc.Append(tm, &recs[i]) {
					n += len(enc.Take(1))
					enc.Append(tm, &recs[i])
				}
			}
			if n += len(enc.Take(1)); n != size {
				b.Fatal(n, size)
			}
		}
		perRecord(b)
	})
	b.Run("go-ipfix", func(b *testing.B) {
		ies := goIPFIXElements(b, tm)
		var elements [][]entities.InfoElementWithValue
		for _, m := range data {
			set, err := goIPFIXDecode(bytes.NewBuffer(m[headerLen+setHeaderLen:]), ies, tm.ID)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range set.GetRecords() {
				elements = append(elements, r.GetOrderedElementList())
			}
		}
		buf := make([]byte, 0, 64<<10)
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			buf = goIPFIXHeader(buf[:0])
			for i := range elements {
				rec := entities.NewDataRecordFromElements(tm.ID, elements[i])
				if len(buf)+rec.GetRecordLength() > 32<<10 {
					n += len(buf)
					buf = goIPFIXHeader(buf[:0])
				}
				var err error
				if buf, err = rec.AppendToBuffer(buf); err != nil {
					b.Fatal(err)
				}
			}
			if n += len(buf); n != size {
				b.Fatal(n, size)
			}
		}
		perRecord(b)
	})
}

// goIPFIXHeader does what go-ipfix's buffered exporter does at the start of a message.
func goIPFIXHeader(buf []byte) []byte {
	m := entities.NewMessage(false)
	m.SetVersion(version)
	m.SetExportTime(uint32(time.Unix(1, 0).Unix()))
	return append(append(buf, m.GetMsgHeader()...), 1, 4, 0, 0)
}
