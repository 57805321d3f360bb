package ipfix

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

// sample gives a record with a value in every field, different by n.
func sample(n int, v6 bool) flow.Record {
	var r flow.Record
	for i := range flow.Fields {
		f := &flow.Fields[i]
		st := step{field: flow.FieldID(i), typ: f.Type, off: flow.Offsets[i]}
		k := uint64(n*1000 + i + 1)
		switch f.Type {
		case flow.TypeU8:
			writeUint(&r, &st, 1+k%3)
		case flow.TypeString:
			*at[string](&r, st.off) = strings.Repeat(f.Name+"-", 1+n%3)
		case flow.TypeAddr:
			if v6 {
				*at[netip.Addr](&r, st.off) = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(k), 14: byte(i)})
			} else {
				*at[netip.Addr](&r, st.off) = netip.AddrFrom4([4]byte{10, byte(i), byte(k >> 8), byte(k) | 1})
			}
		case flow.TypeUUID:
			*at[flow.UUID](&r, st.off) = flow.UUID{1, byte(k), byte(i)}
		case flow.TypeMillis:
			*at[int64](&r, st.off) = 1_700_000_000_123 + int64(k)
		case flow.TypeBool:
			*at[bool](&r, st.off) = k%2 == 0
		case flow.TypeI64, flow.TypeI32:
			writeUint(&r, &st, -k)
		default:
			writeUint(&r, &st, k)
		}
		r.Has.Set(flow.FieldID(i))
	}
	return r
}

type catcher struct {
	recs  []flow.Record
	rows  []LedgerRow
	facts []FactRow
}

func (c *catcher) Record(r *flow.Record) { c.recs = append(c.recs, *r) }
func (c *catcher) Ledger(row *LedgerRow) { c.rows = append(c.rows, *row) }
func (c *catcher) Fact(row *FactRow)     { c.facts = append(c.facts, *row) }
func cmpRec(a, b flow.Record) string {
	return cmp.Diff(a, b, cmp.Comparer(func(x, y netip.Addr) bool { return x == y }))
}

func TestEveryFieldSurvives(t *testing.T) {
	set := WeirAggregated()
	for _, v6 := range []bool{false, true} {
		enc := NewEncoder(7, EncoderOptions{})
		for _, tm := range set.Templates() {
			enc.AddTemplate(tm)
		}
		var want []flow.Record
		for n := range 36 { // what one message holds
			r := sample(n, v6)
			if n%2 == 1 { // absent stays different from zero
				for _, f := range []flow.FieldID{flow.FPackets, flow.FDstPod, flow.FRTT} {
					r.Has.Clear(f)
				}
				r.Packets, r.DstPod, r.RTT = 0, "", 0
			}
			if n%5 == 0 {
				r.Bytes, r.HTTPVals = 0, strings.Repeat("x", 300)
			}
			if !enc.Append(set.For(&r), &r) {
				t.Fatalf("record %d does not fit", n)
			}
			want = append(want, r)
		}
		var c catcher
		s := NewSession(SessionOptions{})
		if err := s.Decode(0, enc.Take(1), &c); err != nil {
			t.Fatal(err)
		}
		if len(c.recs) != len(want) {
			t.Fatalf("got %d records, want %d", len(c.recs), len(want))
		}
		for i := range want {
			if d := cmpRec(want[i], c.recs[i]); d != "" {
				t.Fatalf("v6=%v record %d (-want +got):\n%s", v6, i, d)
			}
		}
	}
}

func TestSequenceCountsDataRecordsOnly(t *testing.T) {
	set := WeirLink()
	enc := NewEncoder(1, EncoderOptions{MaxMessage: 1400})
	s := NewSession(SessionOptions{})
	var c catcher
	lt := LedgerTemplate()
	for _, tm := range append(set.Templates(), lt) {
		for !enc.AddTemplate(tm) {
			if err := s.Decode(0, enc.Take(1), &c); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := flow.Record{}
	r.SetSrcIP(netip.MustParseAddr("10.0.0.1"))
	for range 100 {
		for !enc.Append(set.V4, &r) {
			m := enc.Take(1)
			if len(m) > 1400 {
				t.Fatalf("message of %d bytes", len(m))
			}
			if err := s.Decode(0, m, &c); err != nil {
				t.Fatal(err)
			}
		}
	}
	row := LedgerRow{"node-1", "boot", "send", "lost", "queue_full", 1, 2, 3, 4}
	enc.AppendLedger(&row)
	lostMessage := enc.Take(1)
	n := uint64(len(c.recs))
	for range 3 {
		enc.Append(set.V4, &r)
	}
	missing := enc.Pending()
	_ = enc.Take(1)
	enc.Append(set.V4, &r)
	after := append([]byte(nil), enc.Take(1)...)
	_ = lostMessage
	if err := s.Decode(0, after, &c); err != nil {
		t.Fatal(err)
	}
	if want := 100 + 1 - n + uint64(missing); s.Stats.SequenceLost != want {
		t.Fatalf("sequence lost %d, want %d", s.Stats.SequenceLost, want)
	}
}

// TestFactSurvives: facts come back as they were, between rows of the books, and a
// handler that does not know them is not disturbed.
func TestFactSurvives(t *testing.T) {
	enc := NewEncoder(7, EncoderOptions{})
	enc.AddTemplate(FactTemplate())
	enc.AddTemplate(LedgerTemplate())
	want := []FactRow{
		{"node-1", "boot", "coverage", "same-node/v4", "no", "the bridge", "modprobe br_netfilter", 0, 4},
		{"node-1", "boot", "pressure", "growth", "", "", "", -12345, 1 << 41},
		{Reason: strings.Repeat("long ", 400)},
	}
	for i := range want {
		if !enc.AppendFact(&want[i]) {
			t.Fatal("no room")
		}
		enc.AppendLedger(&LedgerRow{Observer: "node-1"})
	}
	msg := append([]byte(nil), enc.Take(1)...)
	var c catcher
	if err := NewSession(SessionOptions{}).Decode(0, msg, &c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.facts); diff != "" {
		t.Error(diff)
	}
	if len(c.rows) != len(want) {
		t.Errorf("%d rows of the books, want %d", len(c.rows), len(want))
	}
	var n counter
	if err := NewSession(SessionOptions{}).Decode(0, msg, &n); err != nil {
		t.Error(err)
	}
	small := NewEncoder(7, EncoderOptions{MaxMessage: 512})
	if small.AppendFact(&want[2]) {
		t.Error("2000 bytes fit a message of 512")
	}
}
