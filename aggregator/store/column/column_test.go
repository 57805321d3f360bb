package column

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

// Every field of the table comes back as it went in, but for the one that is not kept.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := NewBuilder(0)
	var want []flow.Record
	var batch []*flow.Record
	for i := range 3000 {
		r := flowtest.Random(rng)
		if i%3 == 0 {
			r = flowtest.Sample(uint64(i))
		}
		given := r
		if batch = append(batch, &given); rng.IntN(50) == 0 || i == 2999 {
			b.AddAll(batch)
			batch = nil
		}
		if r.Has.Has(flow.FID) {
			r.ID = flow.UUID{}
			r.Has.Clear(flow.FID)
		}
		want = append(want, r)
	}
	early := b.Snapshot()
	for i := range 5000 {
		r := flowtest.Sample(uint64(i))
		b.Add(&r)
	}
	if early.Rows != len(want) {
		t.Fatalf("%d rows, want %d", early.Rows, len(want))
	}
	for i := range want {
		var got flow.Record
		if err := early.Record(i, nil, &got); err != nil {
			t.Fatal(err)
		}
		if got != want[i] {
			t.Fatalf("row %d:\n got %s\nwant %s", i, flow.AppendJSON(nil, &got), flow.AppendJSON(nil, &want[i]))
		}
		from, to := Interval(&want[i])
		if from < early.Min || to > early.Max {
			t.Fatalf("row %d speaks of %d..%d, the block of %d..%d", i, from, to, early.Min, early.Max)
		}
	}
	if n := b.Snapshot().Rows; n != 8000 {
		t.Fatalf("%d rows after more came", n)
	}
}

// Text that moved in memory, or another text at the same place, gets the right code.
func TestTextCodes(t *testing.T) {
	b := NewBuilder(0)
	buf := []byte("aaaa")
	for i := range 4096 {
		buf[i%4] = byte('a' + i%7)
		r := flow.Record{}
		r.SetSrcPod(string(buf))
		b.Add(&r)
		s := b.Snapshot()
		if c := s.Cols[flow.FSrcPod]; c.Dict[c.Codes[i]-1] != string(buf) {
			t.Fatalf("row %d: %q, want %q", i, c.Dict[c.Codes[i]-1], buf)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	// As the spool's decoder gives them: equal text lies at one place.
	recs := make([]flow.Record, 5000)
	place := map[string]string{}
	for i := range recs {
		r := flowtest.Sample(uint64(i))
		for f := range flow.FieldID(flow.NumFields) {
			if flow.Fields[f].Type == flow.TypeString && r.Has.Has(f) {
				p := (*string)(unsafe.Add(unsafe.Pointer(&r), flow.Offsets[f]))
				if place[*p] == "" {
					place[*p] = *p
				}
				*p = place[*p]
			}
		}
		recs[i] = r
	}
	b.ReportAllocs()
	bl := NewBuilder(0)
	n := 0
	for b.Loop() {
		bl.Add(&recs[n%len(recs)])
		if n++; n%(1<<17) == 0 {
			bl = NewBuilder(0)
		}
	}
}
