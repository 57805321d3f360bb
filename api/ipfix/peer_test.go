package ipfix

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/vmware/go-ipfix/pkg/collector"
	"github.com/vmware/go-ipfix/pkg/entities"
	"github.com/vmware/go-ipfix/pkg/exporter"
	"github.com/vmware/go-ipfix/pkg/registry"

	"github.com/weirnet/weir/api/flow"
)

// encodingOf gives the schema's word for go-ipfix's type of an element.
func encodingOf(t entities.IEDataType) flow.Encoding {
	switch t {
	case entities.Unsigned8, entities.Unsigned16, entities.Unsigned32, entities.Unsigned64:
		return flow.EncUnsigned
	case entities.Signed8, entities.Signed16, entities.Signed32, entities.Signed64:
		return flow.EncSigned
	case entities.Boolean:
		return flow.EncBool
	case entities.DateTimeSeconds:
		return flow.EncSeconds
	case entities.DateTimeMilliseconds:
		return flow.EncMillis
	case entities.String:
		return flow.EncString
	case entities.Ipv4Address:
		return flow.EncIPv4
	case entities.Ipv6Address:
		return flow.EncIPv6
	case entities.OctetArray:
		return flow.EncOctets
	default:
		return 0
	}
}

// TestSchemaIsTheRegistry holds the schema against go-ipfix's registry: all of
// Antrea's elements are there, and what is there says what the registry says.
func TestSchemaIsTheRegistry(t *testing.T) {
	registry.LoadRegistry()
	const firstAntrea, lastAntrea = 100, 172
	n := 0
	for id := uint16(1); id < 32768; id++ {
		ie, err := registry.GetInfoElementFromID(id, registry.AntreaEnterpriseID)
		if err != nil {
			if id >= firstAntrea && id <= lastAntrea {
				t.Errorf("the registry has no element %d: has its order changed?", id)
			}
			continue
		}
		n++
		if _, ok := Lookup(flow.PENAntrea, id); !ok {
			t.Errorf("the schema lacks %s (%d)", ie.Name, id)
		}
	}
	if n < lastAntrea-firstAntrea+1 {
		t.Errorf("the registry has %d elements of Antrea's", n)
	}
	for i := range flow.Fields {
		for _, e := range flow.Fields[i].Elems {
			if e.PEN == flow.PENWeir {
				continue
			}
			ie, err := registry.GetInfoElementFromID(e.ID, e.PEN)
			if err != nil {
				t.Errorf("%s: %v", e.Name, err)
				continue
			}
			if ie.Name != e.Name || ie.Len != e.Len || encodingOf(ie.DataType) != e.Enc {
				t.Errorf("the schema says %+v, the registry %+v", e, ie)
			}
		}
	}
}

// foreign is a template of every element that go-ipfix knows, one family and one
// of seconds and milliseconds.
func foreign(v6, seconds bool) *Template {
	var elems []flow.Element
	for i := range flow.Fields {
		f := &flow.Fields[i]
		e := family(f, v6)
		if len(f.Elems) > 1 && f.Elems[1].Enc == flow.EncSeconds && (seconds || e.PEN == flow.PENWeir) {
			e = f.Elems[1]
		}
		if e.PEN != flow.PENWeir {
			elems = append(elems, e)
		}
	}
	return must(NewTemplate(300, elems))
}

// only keeps of r what the template carries.
func only(r flow.Record, t *Template, seconds bool) flow.Record {
	out := flow.Record{Has: r.Has.And(t.Mask())}
	for i := range flow.Fields {
		if out.Has.Has(flow.FieldID(i)) {
			from, to := reflect.ValueOf(r).FieldByName(flow.Fields[i].Go), reflect.ValueOf(&out).Elem().FieldByName(flow.Fields[i].Go)
			to.Set(from)
		}
	}
	for _, e := range t.Elems {
		if e.Enc == flow.EncSeconds && (seconds || e.PEN == flow.PENAntrea) {
			p := at[int64](&out, flow.Offsets[fieldOf()[elemKey{e.PEN, e.ID}].field])
			*p = *p / 1000 * 1000
		}
	}
	return out
}

func checkValue(t *testing.T, el entities.InfoElementWithValue, e flow.Element, r *flow.Record) {
	t.Helper()
	st := compileStep(e)
	var ok bool
	switch e.Enc {
	case flow.EncString:
		ok = el.GetStringValue() == *at[string](r, st.off)
	case flow.EncIPv4, flow.EncIPv6:
		a, valid := netip.AddrFromSlice(el.GetIPAddressValue())
		ok = valid && a == *at[netip.Addr](r, st.off)
	case flow.EncOctets:
		u := *at[flow.UUID](r, st.off)
		ok = bytes.Equal(el.GetOctetArrayValue(), u[:])
	case flow.EncSeconds:
		ok = int64(el.GetUnsigned32Value()) == *at[int64](r, st.off)/1000
	case flow.EncMillis:
		ok = int64(el.GetUnsigned64Value()) == *at[int64](r, st.off)
	case flow.EncSigned:
		ok = el.GetSigned32Value() == *at[int32](r, st.off)
	default:
		want := readUint(r, &st)
		switch e.Len {
		case 1:
			ok = uint64(el.GetUnsigned8Value()) == want
		case 2:
			ok = uint64(el.GetUnsigned16Value()) == want
		case 4:
			ok = uint64(el.GetUnsigned32Value()) == want
		case 8:
			ok = el.GetUnsigned64Value() == want
		}
	}
	if !ok {
		t.Errorf("go-ipfix reads another %s than was sent", e.Name)
	}
}

// TestGoIPFIXReadsOurs sends every element to go-ipfix's collector.
func TestGoIPFIXReadsOurs(t *testing.T) {
	registry.LoadRegistry()
	cp, err := collector.InitCollectingProcess(collector.CollectorInput{Address: "127.0.0.1:0", Protocol: "tcp", MaxBufferSize: 65535})
	if err != nil {
		t.Fatal(err)
	}
	go cp.Start()
	defer cp.Stop()
	for deadline := time.Now().Add(10 * time.Second); cp.GetAddress() == nil && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for _, v6 := range []bool{false, true} {
		for _, seconds := range []bool{false, true} {
			readByGoIPFIX(t, cp, foreign(v6, seconds), v6)
		}
	}
}

func readByGoIPFIX(t *testing.T, cp *collector.CollectingProcess, tm *Template, v6 bool) {
	t.Helper()
	conn, err := net.Dial("tcp", cp.GetAddress().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	enc := NewEncoder(77, EncoderOptions{OneSet: true})
	if !enc.AddTemplate(tm) {
		t.Fatal("the template does not fit")
	}
	first := sample(0, v6)
	if enc.Append(tm, &first) {
		t.Fatal("two sets in a message of OneSet")
	}
	out := bytes.Clone(enc.Take(1))
	const n = 9
	for i := range n {
		r := sample(i, v6)
		enc.Append(tm, &r)
	}
	if _, err := conn.Write(append(out, enc.Take(2)...)); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		select {
		case m := <-cp.GetMsgChan():
			if i == 0 {
				continue
			}
			recs := m.GetSet().GetRecords()
			if m.GetObsDomainID() != 77 || m.GetExportTime() != 2 || len(recs) != n {
				t.Fatalf("domain %d, time %d, %d records", m.GetObsDomainID(), m.GetExportTime(), len(recs))
			}
			for k, rec := range recs {
				r := sample(k, v6)
				for j, el := range rec.GetOrderedElementList() {
					checkValue(t, el, tm.Elems[j], &r)
				}
			}
		case <-time.After(10 * time.Second):
			t.Fatal("go-ipfix's collector gave no message in 10 s")
		}
	}
}

// TestOursReadsGoIPFIX reads what go-ipfix's exporting process sends, every element.
func TestOursReadsGoIPFIX(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, seconds := range []bool{false, true} {
			tm := foreign(v6, seconds)
			raw := sentByGoIPFIX(t, tm, v6, 25)
			s := NewSession(SessionOptions{})
			var c catcher
			for len(raw) > 0 {
				msg, rest, err := NextMessage(raw)
				if err != nil || msg == nil {
					t.Fatalf("%d bytes are no message: %v", len(raw), err)
				}
				if err := s.Decode(0, msg, &c); err != nil {
					t.Fatal(err)
				}
				raw = rest
			}
			if s.Stats.SequenceLost+s.Stats.SequenceReset+s.Stats.SequenceLate+s.Stats.Malformed() != 0 || len(c.recs) != 25 {
				t.Fatalf("%d records, %+v", len(c.recs), s.Stats)
			}
			for i := range c.recs {
				if d := cmpRec(only(sample(i, v6), tm, seconds), c.recs[i]); d != "" {
					t.Fatalf("v6=%v record %d (-want +got):\n%s", v6, i, d)
				}
			}
		}
	}
}

func sentByGoIPFIX(t *testing.T, tm *Template, v6 bool, n int) []byte {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan []byte, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			got <- nil
			return
		}
		b, _ := io.ReadAll(conn) // what came is checked
		got <- b
	}()
	ies := goIPFIXElements(t, tm)
	ep, err := exporter.InitExportingProcess(exporter.ExporterInput{CollectorAddress: ln.Addr().String(), CollectorProtocol: "tcp", ObservationDomainID: 5})
	if err != nil {
		t.Fatal(err)
	}
	id := ep.NewTemplateID()
	ts, err := entities.MakeTemplateSet(id, ies)
	if err == nil {
		_, err = ep.SendSet(ts)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r := sample(i, v6)
		body := bytes.NewBuffer(appendRecord(nil, tm, &r))
		set, err := goIPFIXDecode(body, ies, id) // go-ipfix's values from ours
		if err != nil {
			t.Fatal(err)
		}
		ds, err := entities.MakeDataSet(id, set.GetRecords()[0].GetOrderedElementList())
		if err == nil {
			_, err = ep.SendSet(ds)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ep.CloseConnToCollector()
	return <-got
}
