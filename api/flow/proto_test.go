package flow_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

// protoMessage is the message of the committed flow.proto, as a Protobuf compiler reads it.
func protoMessage(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := c.Compile(t.Context(), "flow.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0].Messages().ByName("Flow")
}

// protoText is a field of a decoded message as Record.Text writes it.
func protoText(fd protoreflect.FieldDescriptor, f flow.FieldID, v protoreflect.Value) string {
	row := &flow.Fields[f]
	switch {
	case fd.Kind() == protoreflect.EnumKind:
		if w := fd.Enum().Values().ByNumber(v.Enum()); w != nil {
			// The word is what follows the enum's name.
			prefix := string(fd.Enum().Values().ByNumber(0).Name())
			prefix = strings.TrimSuffix(prefix, strings.ToUpper(flow.EnumWords[f][0]))
			return strings.ToLower(strings.TrimPrefix(string(w.Name()), prefix))
		}
		return fmt.Sprint(int32(v.Enum()))
	case row.Unit == "bit set":
		var words []string
		for n, w := range flow.EnumWords[f] {
			if v.Uint()&(1<<n) != 0 {
				words = append(words, w)
			}
		}
		return strings.Join(words, "|")
	case row.Type == flow.TypeMillis:
		return time.UnixMilli(v.Int()).UTC().Format("2006-01-02T15:04:05.000Z")
	case row.Type == flow.TypeAddr:
		a, _ := netip.AddrFromSlice(v.Bytes())
		return a.String()
	case row.Type == flow.TypeUUID:
		b := v.Bytes()
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	case fd.Kind() == protoreflect.Fixed64Kind:
		return fmt.Sprintf("%016x", v.Uint())
	}
	return fmt.Sprint(v.Interface())
}

// TestProtoIsWhatTheLibraryReads: every field that is set is read by the Protobuf library
// as it was, none that is absent is there, and what the library writes is the same.
func TestProtoIsWhatTheLibraryReads(t *testing.T) {
	md := protoMessage(t)
	if md.Fields().Len() != flow.NumFields {
		t.Fatalf("flow.proto has %d fields, the table %d: run `make generate`", md.Fields().Len(), flow.NumFields)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	recs := []flow.Record{{}, flowtest.Sample(0), flowtest.Sample(1234567)}
	for range 1000 {
		recs = append(recs, flowtest.Random(rng))
	}
	for i := range recs {
		r := &recs[i]
		b := flow.AppendProto(nil, r)
		m := dynamicpb.NewMessage(md)
		if err := proto.Unmarshal(b, m); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if len(m.GetUnknown()) > 0 {
			t.Fatalf("record %d: unknown fields", i)
		}
		for f := range flow.FieldID(flow.NumFields) {
			fd := md.Fields().ByNumber(protoreflect.FieldNumber(f) + 1)
			if m.Has(fd) != r.Has.Has(f) {
				t.Fatalf("record %d: %s is there: %v, want %v", i, fd.Name(), m.Has(fd), r.Has.Has(f))
			}
			if !m.Has(fd) {
				continue
			}
			if got := protoText(fd, f, m.Get(fd)); got != r.Text(f) {
				t.Fatalf("record %d: %s is %q, want %q", i, fd.Name(), got, r.Text(f))
			}
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) != len(b) {
			t.Fatalf("record %d: %d bytes, the library writes %d", i, len(b), len(again))
		}
	}
}

// TestProtoHostile: values that a network can bring stay a message that can be read.
func TestProtoHostile(t *testing.T) {
	var r flow.Record
	r.SetDstName("a\xffb\xc3\x28")
	r.SetOutcome(flow.Outcome(200)) // from a newer version
	r.SetSrcIP(netip.MustParseAddr("fe80::1%eth0"))
	r.SetDstIP(netip.Addr{})
	r.SetEnd(-5)
	m := dynamicpb.NewMessage(protoMessage(t))
	if err := proto.Unmarshal(flow.AppendProto(nil, &r), m); err != nil {
		t.Fatal(err)
	}
	want := map[protoreflect.Name]string{"dst_name": "a\ufffdb\ufffd(", "outcome": "200", "end": "-5"}
	for name, text := range want {
		if got := fmt.Sprint(m.Get(m.Descriptor().Fields().ByName(name)).Interface()); got != text {
			t.Errorf("%s is %q, want %q", name, got, text)
		}
	}
	if b := m.Get(m.Descriptor().Fields().ByName("src_ip")).Bytes(); len(b) != 16 || b[15] != 1 {
		t.Errorf("src_ip is %x", b)
	}
}

// BenchmarkEncode writes the same record in the forms that sinks send.
func BenchmarkEncode(b *testing.B) {
	r := flowtest.Sample(12345)
	buf := make([]byte, 0, 8<<10)
	for _, form := range []struct {
		name   string
		append func([]byte, *flow.Record) []byte
	}{{"proto", flow.AppendProto}, {"json", flow.AppendJSON}} {
		b.Run(form.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf = form.append(buf[:0], &r)
			}
			b.ReportMetric(float64(len(buf)), "bytes/record")
		})
	}
	// The library on the same message, as a measure; generated code is some times faster than this.
	b.Run("dynamicpb", func(b *testing.B) {
		m := dynamicpb.NewMessage(protoMessage(b))
		if err := proto.Unmarshal(flow.AppendProto(nil, &r), m); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
