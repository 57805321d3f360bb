package segment

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

func blockOf(recs []flow.Record) *column.Block {
	b := column.NewBuilder(0)
	for i := range recs {
		b.Add(&recs[i])
	}
	return b.Snapshot()
}

func fieldsOf(blocks ...*column.Block) (fs []flow.FieldID) {
	for f := range flow.FieldID(flow.NumFields) {
		if slices.ContainsFunc(blocks, func(b *column.Block) bool { return b.Cols[f] != nil }) {
			fs = append(fs, f)
		}
	}
	return fs
}

func write(t testing.TB, path string, blocks ...*column.Block) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f, fieldsOf(blocks...))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if err := w.WriteBlock(b, Rows, 2); err != nil {
			t.Fatal(err)
		}
	}
	size, err := w.Close(Meta{Spool: "s", From: 3, To: 9})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != size {
		t.Fatalf("size %d, said %d (%v)", st.Size(), size, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func readBlock(s *File, g int) (*column.Block, error) {
	b := &column.Block{Rows: s.Groups[g].Rows, Min: s.Groups[g].Min, Max: s.Groups[g].Max}
	for f := range flow.FieldID(flow.NumFields) {
		c, err := s.Column(g, f)
		if err != nil {
			return nil, err
		}
		b.Cols[f] = c
	}
	return b, nil
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var recs []flow.Record
	for i := range 150_000 {
		if i < 5000 {
			recs = append(recs, flowtest.Random(rng))
		} else {
			recs = append(recs, flowtest.Sample(uint64(i)))
		}
		recs[i].Has.Clear(flow.FID)
		recs[i].ID = flow.UUID{}
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	write(t, path, blockOf(recs[:140_000]), blockOf(recs[140_000:140_001]), blockOf(recs[140_001:]))
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if s.Rows() != len(recs) || s.Spool != "s" || s.From != 3 || s.To != 9 {
		t.Fatalf("meta %+v", s.Meta)
	}
	i := 0
	for g := range s.Groups {
		b, err := readBlock(s, g)
		if err != nil {
			t.Fatal(err)
		}
		for row := range b.Rows {
			var got flow.Record
			if err := b.Record(row, nil, &got); err != nil {
				t.Fatal(err)
			}
			if got != recs[i] {
				t.Fatalf("record %d:\n got %s\nwant %s", i, flow.AppendJSON(nil, &got), flow.AppendJSON(nil, &recs[i]))
			}
			i++
		}
	}
}

// Column names are distinct: two fields never share a column.
func TestColumnNames(t *testing.T) {
	seen := map[string]flow.FieldID{}
	for f := range flow.FieldID(flow.NumFields) {
		if o, ok := seen[ColumnName(f)]; ok {
			t.Errorf("%s and %s share column %s", f, o, ColumnName(f))
		}
		seen[ColumnName(f)] = f
	}
}

// Whatever byte of a file changes: it is an error or it changes nothing; never a crash,
// and never other values.
func TestDamage(t *testing.T) {
	var recs []flow.Record
	for i := range 300 {
		recs = append(recs, flowtest.Sample(uint64(i)))
		recs[i].Has.Clear(flow.FID)
		recs[i].ID = flow.UUID{}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.parquet")
	write(t, path, blockOf(recs))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	noticed, other := 0, 0
	for n := range 400 {
		b := slices.Clone(whole)
		if n%4 == 0 {
			b = b[:rng.IntN(len(b))]
		} else {
			b[rng.IntN(len(b))] ^= byte(1 + rng.IntN(255))
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			noticed++
			continue
		}
		got, err := readBlock(s, 0)
		if err != nil {
			noticed++
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
		} else {
			for i := range recs {
				var r flow.Record
				if err := got.Record(i, nil, &r); err != nil || r != recs[i] {
					other++
					break
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 400 damages noticed, %d gave other values", noticed, other)
	if other > 0 || noticed < 200 {
		t.Error("a damaged file gave values that were not written, or too few damages were noticed")
	}
}
