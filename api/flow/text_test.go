package flow_test

import (
	"encoding/csv"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; rewrite with -update):\n%s", path, diff)
	}
}

func TestGoldenText(t *testing.T) {
	r := flowtest.Sample(7)
	fields := flow.AllFields()
	var b strings.Builder
	b.WriteString(string(flow.AppendJSON(nil, &r)) + "\n")
	b.WriteString(string(flow.AppendCSVHeader(nil, fields)) + "\n")
	b.WriteString(string(flow.AppendCSV(nil, &r, fields)) + "\n")
	b.WriteString(string(flow.AppendAntreaCSV(nil, &r, 1_700_000_001_999)) + "\n")
	b.WriteString(string(flow.AppendAntreaFlowLog(nil, &r, true)) + "\n")
	b.WriteString(string(flow.AppendAntreaFlowLog(nil, &r, false)) + "\n")
	var empty flow.Record
	b.WriteString(string(flow.AppendJSON(nil, &empty)) + "\n")
	b.WriteString(string(flow.AppendAntreaCSV(nil, &empty, 0)) + "\n")
	b.WriteString(string(flow.AppendAntreaFlowLog(nil, &empty, true)) + "\n")
	golden(t, "testdata/text.golden", b.String())
}

func TestAntreaColumns(t *testing.T) {
	var r flow.Record
	if n := strings.Count(string(flow.AppendAntreaCSV(nil, &r, 0)), ",") + 1; n != 53 {
		t.Errorf("S3 line has %d columns, want 53", n)
	}
	if n := strings.Count(string(flow.AppendAntreaFlowLog(nil, &r, false)), ",") + 1; n != 30 {
		t.Errorf("flow log line has %d columns, want 30", n)
	}
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	fields := flow.AllFields()
	for range 3000 {
		want := flowtest.Random(rng)
		text := flow.AppendJSON(nil, &want)
		if !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		var got flow.Record
		if err := flow.ParseJSON(text, &got); err != nil || got != want {
			t.Fatalf("json: %v\n%s\n%s", err, text, flow.AppendJSON(nil, &got))
		}
		line := flow.AppendCSV(nil, &want, fields)
		if err := flow.ParseCSV(line, fields, &got); err != nil || got != want {
			t.Fatalf("csv: %v\n%s\n%s", err, line, flow.AppendCSV(nil, &got, fields))
		}
		cells, err := csv.NewReader(strings.NewReader(string(line))).Read()
		if err != nil || len(cells) != len(fields) {
			t.Fatalf("encoding/csv reads %d cells, %v: %s", len(cells), err, line)
		}
		for i, f := range fields {
			if cells[i] != want.Text(f) {
				t.Fatalf("encoding/csv reads %s as %q, want %q", f, cells[i], want.Text(f))
			}
		}
	}
}

func TestTimesAgreeWithTheStandardLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	check := func(ms int64) {
		var r flow.Record
		r.SetStart(ms)
		want := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
		if got := r.Text(flow.FStart); got != want {
			t.Fatalf("%d ms: %s, want %s", ms, got, want)
		}
	}
	for _, ms := range []int64{0, -1, 951782399999, 951782400000, -62167219200000, 253402300799999, -62135596800000, 4107542400000} {
		check(ms)
	}
	for range 200_000 {
		check(rng.Int64N(253402300799999+62167219200000) - 62167219200000)
	}
}

func TestParseJSONIsStrict(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, "ends at byte 0: want an object"},
		{`[]`, "byte 0: want an object"},
		{`{"nope":1}`, `unknown field "nope"`},
		{`{"proto":6,"proto":6}`, "field proto stands twice"},
		{`{"proto":256}`, "field proto: 256 is out of range"},
		{`{"proto":06}`, "field proto: want a whole number"},
		{`{"proto":6.5}`, "byte 10: want , or }"},
		{`{"proto":"6"}`, "field proto: want a whole number"},
		{`{"proto":null}`, "field proto: want a whole number"},
		{`{"src.ip":"10.0.0.256"}`, `field src.ip: "10.0.0.256" is no IP address`},
		{`{"outcome":"good"}`, `field outcome: "good" is none of unknown, ok`},
		{`{"evidence":["socket","tea"]}`, `field evidence: "tea" is none of`},
		{`{"first":"true"}`, `field first: "" is neither true nor false`},
		{`{"id":"xyz"}`, `field id: "xyz": not a UUID`},
		{`{"conn_id":12}`, "field conn_id: byte 11: want a string"},
		{`{"start":"yesterday"}`, `field start: "yesterday" is no RFC 3339 time`},
		{`{"src.pod":"a` + "\n" + `"}`, "control character"},
		{`{"src.pod":"\ud800"}`, "surrogate"},
		{`{"src.pod":"` + "\xff" + `"}`, "not UTF-8"},
		{`{"proto":6} x`, "byte 12: more after the object"},
		{`{"proto":6,}`, "byte 11: want a string"},
	} {
		var r flow.Record
		err := flow.ParseJSON([]byte(c.in), &r)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.in, err, c.want)
		}
	}
}

func TestValuesWithoutWords(t *testing.T) {
	var r, back flow.Record
	r.SetOutcome(200)
	r.SetEvidence(flow.EvidenceSocket | 1<<7)
	r.SetSrcIP(netip.MustParseAddr("fe80::1%a\"b"))
	r.SetStart(1 << 62)
	text := string(flow.AppendJSON(nil, &r))
	const want = `{"start":"4611686018427387904","src.ip":"fe80::1%a\"b","outcome":"200","evidence":["socket","bit7"]}`
	if text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if err := flow.ParseJSON([]byte(text), &back); err != nil || back != r {
		t.Errorf("back: %v %+v", err, back)
	}
}

func TestValue(t *testing.T) {
	var r flow.Record
	if v := r.Value(flow.FProto); v != nil {
		t.Errorf("absent value is %v", v)
	}
	r.SetProto(17)
	r.SetIngressPriority(-5)
	r.SetSrcPod("p")
	r.SetFirst(true)
	r.SetDstIP(netip.MustParseAddr("::1"))
	r.SetID(flow.UUID{15: 1})
	for f, want := range map[flow.FieldID]any{
		flow.FProto: uint64(17), flow.FIngressPriority: int64(-5), flow.FSrcPod: "p", flow.FFirst: true,
		flow.FDstIP: netip.MustParseAddr("::1"), flow.FID: flow.UUID{15: 1},
	} {
		if got := r.Value(f); got != want {
			t.Errorf("%s: %v, want %v", f, got, want)
		}
	}
	if f, ok := flow.FieldByName("src.ip"); !ok || f != flow.FSrcIP {
		t.Errorf("src.ip is %v %v", f, ok)
	}
}

func FuzzParseJSON(f *testing.F) {
	r := flowtest.Sample(1)
	f.Add(flow.AppendJSON(nil, &r))
	f.Add([]byte(`{"evidence":["bit7","socket"], "src.pod":"\ud83d\ude00\u0041\/"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var a, b flow.Record
		if flow.ParseJSON(in, &a) != nil {
			return
		}
		if !json.Valid(in) {
			t.Fatalf("took what is not JSON: %q", in)
		}
		text := flow.AppendJSON(nil, &a)
		if err := flow.ParseJSON(text, &b); err != nil || a != b {
			t.Fatalf("%v: %s", err, text)
		}
	})
}

func FuzzParseCSV(f *testing.F) {
	r := flowtest.Sample(1)
	fields := flow.AllFields()
	f.Add(flow.AppendCSV(nil, &r, fields))
	f.Fuzz(func(t *testing.T, in []byte) {
		var a, b flow.Record
		if flow.ParseCSV(in, fields, &a) != nil {
			return
		}
		line := flow.AppendCSV(nil, &a, fields)
		if err := flow.ParseCSV(line, fields, &b); err != nil || a != b {
			t.Fatalf("%v: %q", err, line)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	r := flowtest.Sample(7)
	b.Run("weir", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = flow.AppendJSON(buf[:0], &r)
		}
		b.SetBytes(int64(len(buf)))
	})
	b.Run("encoding-json", func(b *testing.B) {
		// The same object as the standard library writes it: a map of the present fields.
		m := map[string]any{}
		if err := json.Unmarshal(flow.AppendJSON(nil, &r), &m); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		var n int
		for b.Loop() {
			out, err := json.Marshal(m)
			if err != nil {
				b.Fatal(err)
			}
			n = len(out)
		}
		b.SetBytes(int64(n))
	})
	b.Run("encoding-json-struct", func(b *testing.B) {
		b.ReportAllocs()
		var n int
		for b.Loop() {
			out, err := json.Marshal(&r)
			if err != nil {
				b.Fatal(err)
			}
			n = len(out)
		}
		b.SetBytes(int64(n))
	})
}

func BenchmarkCSV(b *testing.B) {
	r := flowtest.Sample(7)
	fields := flow.AllFields()
	b.Run("weir", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = flow.AppendCSV(buf[:0], &r, fields)
		}
	})
	b.Run("encoding-csv", func(b *testing.B) {
		cells := make([]string, len(fields))
		b.ReportAllocs()
		var out strings.Builder
		w := csv.NewWriter(&out)
		for b.Loop() {
			out.Reset()
			for i, f := range fields {
				cells[i] = r.Text(f)
			}
			if err := w.Write(cells); err != nil {
				b.Fatal(err)
			}
			w.Flush()
		}
	})
}

func BenchmarkParseJSON(b *testing.B) {
	r := flowtest.Sample(7)
	text := flow.AppendJSON(nil, &r)
	b.Run("weir", func(b *testing.B) {
		b.ReportAllocs()
		var back flow.Record
		for b.Loop() {
			if err := flow.ParseJSON(text, &back); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := map[string]any{}
			if err := json.Unmarshal(text, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
