package ledger

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFormerBooksAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books")
	b, former, err := OpenBook(path)
	if err != nil || len(former.Stages) != 0 {
		t.Fatal(former, err)
	}
	s := b.Stage("correlate")
	s.In(Amount{100, 10, 1000})
	s.Out(Amount{60, 6, 600})
	s.Lost("stopped", Amount{10, 1, 100})
	b.Note("gone").Drop()
	b.Note("kept").Add(Amount{3, 2, 1})
	if _, _, err := OpenBook(path); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second process opened the same books: %v", err)
	}
	// What a kill leaves is the file as it is.
	if err := errors.Join(syscall.Munmap(b.box.mem), b.box.f.Close()); err != nil {
		t.Fatal(err)
	}
	b, former, err = OpenBook(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []Line{{Stage: "correlate", In: Amount{100, 10, 1000}, Out: Amount{60, 6, 600}, Lost: map[string]Amount{"stopped": {10, 1, 100}}}}
	if d := cmp.Diff(want, former.Stages); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff(map[string]Amount{"kept": {3, 2, 1}}, former.Notes); d != "" {
		t.Error(d)
	}
	former.Stages[0].Bury(Amount{5, 1, 50})
	if got := former.Stages[0].Lost["killed"]; got != (Amount{25, 2, 250}) {
		t.Errorf("killed = %+v", got)
	}
	if r, c, y := former.Stages[0].Diff(); r != 0 || c != 0 || y != 0 {
		t.Errorf("a buried line does not balance: %d %d %d", r, c, y)
	}
	if got := b.Snapshot(); len(got) != 0 {
		t.Errorf("the new book is not empty: %+v", got)
	}
}

func TestNoBox(t *testing.T) {
	if got := readBox([]byte("something else")); len(got.Stages)+len(got.Notes) != 0 {
		t.Error(got)
	}
	b := NewBook()
	b.Stage("x").In(Amount{1, 1, 1})
	if got := b.Snapshot()[0].In; got != (Amount{1, 1, 1}) {
		t.Error(got)
	}
}

func BenchmarkIn(b *testing.B) {
	book, _, err := OpenBook(filepath.Join(b.TempDir(), "books"))
	if err != nil {
		b.Fatal(err)
	}
	s := book.Stage("x")
	b.ReportAllocs()
	for b.Loop() {
		s.In(Amount{1, 1, 100})
	}
}
