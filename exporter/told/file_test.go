package told

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/exporter/track"
)

func record(n uint64) *track.Told {
	return &track.Told{Counters: track.Counters{OrigPackets: n, OrigBytes: n * 100, ReplyPackets: n + 1, ReplyBytes: n * 200}, Seq: uint32(n), Final: n%2 == 0}
}

func open(t *testing.T, path string, max int) (*File, map[uint64]track.Told) {
	t.Helper()
	f, before, err := Open(path, max)
	if err != nil {
		t.Fatal(err)
	}
	return f, before
}

// TestSuccessorKnows: what was put is there for the next process, which does not need the
// first one to close anything; and for the one after that, if the next one was killed
// before it had walked.
func TestSuccessorKnows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "told")
	f, before := open(t, path, 10_000)
	if len(before) != 0 {
		t.Fatalf("%d at the first start", len(before))
	}
	want := map[uint64]track.Told{}
	for i := range int32(9000) { // beyond the first growth
		f.Put(i, uint64(i)+1, record(uint64(i)))
		want[uint64(i)+1] = *record(uint64(i))
	}
	f.Put(5, 77_777, record(3)) // the slot of another connection now
	delete(want, 6)
	want[77_777] = *record(3)
	f.Put(20_000, 88_888, record(4)) // beyond the bound
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}

	g, before := open(t, path, 10_000)
	if d := cmp.Diff(want, before); d != "" {
		t.Fatal(d)
	}
	g.Put(0, 1, record(500)) // killed after one
	want[1] = *record(500)
	h, before := open(t, path, 10_000)
	if d := cmp.Diff(want, before); d != "" {
		t.Fatal(d)
	}
	h.Put(0, 42, record(1))
	h.Walked()
	_, before = open(t, path, 10_000)
	if d := cmp.Diff(map[uint64]track.Told{42: *record(1)}, before); d != "" {
		t.Error(d)
	}
	for _, x := range []*File{f, g, h} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTornSlot: a slot that was being written is left out, the others are read; a file of
// something else is refused, and stays.
func TestTornSlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "told")
	f, _ := open(t, path, 10)
	f.Put(0, 1, record(1))
	f.Put(1, 2, record(2))
	f.m[slotSize+10]++
	_, before := open(t, path, 10)
	if d := cmp.Diff(map[uint64]track.Told{2: *record(2)}, before); d != "" {
		t.Error(d)
	}
	const text = "a file of mine that is longer than one slot, so that it could be read as such"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path, 10); err == nil || !strings.Contains(err.Error(), "is no file of an agent: remove it") {
		t.Errorf("a file of another kind: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != text {
		t.Errorf("it was changed: %v", err)
	}
}

// BenchmarkPut is what each record costs.
func BenchmarkPut(b *testing.B) {
	f, _, err := Open(filepath.Join(b.TempDir(), "told"), 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	x := record(7)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.Put(int32(i&0xffff), uint64(i)+1, x)
	}
}
