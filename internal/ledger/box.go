package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"unsafe"
)

// A box is a file that the counters of a Book lie in, shared with the kernel's page
// cache: it survives kill -9 with the last number that was booked, so that the
// next process can say what its predecessor held when it died.
//
// It is a header and slots: stage, kind (in, out, lost:reason or note), three numbers.
type box struct {
	mu   sync.Mutex
	f    *os.File
	mem  []byte
	next int
	free []int // slots of notes that were dropped
}

const (
	boxMagic = "weir-books-1\n"
	slotSize = 128
	slotText = 48 // bytes each of stage and kind
	slots    = 8192
)

// OpenBook makes an empty book whose counters lie in the file at path, and gives
// the last numbers of the book that lay there before. Where another process has
// the file open, it fails.
func OpenBook(path string) (*Book, *Former, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, nil, fmt.Errorf("open the books: %w", err)
	}
	x := &box{f: f}
	if err := lock(f); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the books: %s: %w", path, err), f.Close())
	}
	old := make([]byte, slotSize*(slots+1))
	n, _ := f.ReadAt(old, 0) // a short or empty file holds fewer slots or none
	former := readBox(old[:n])
	if err := errors.Join(f.Truncate(0), f.Truncate(int64(len(old)))); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the books: %w", err), f.Close())
	}
	x.mem, err = mapped(f, len(old))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the books: map %s: %w", path, err), f.Close())
	}
	copy(x.mem, boxMagic)
	b := NewBook()
	b.box = x
	return b, former, nil
}

// counter gives the next slot, or a counter in memory where the box is full.
func (x *box) counter(stage, kind string) *counter {
	if x == nil || len(stage) > slotText || len(kind) > slotText {
		return &counter{}
	}
	c, _ := x.slot(stage, kind)
	return c
}

func (x *box) slot(stage, kind string) (*counter, int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := 0
	switch n := len(x.free); {
	case n > 0:
		at, x.free = x.free[n-1], x.free[:n-1]
	case x.next == slots:
		return &counter{}, 0
	default:
		x.next++
		at = x.next
	}
	slot := x.mem[at*slotSize:][:slotSize]
	copy(slot[:slotText], stage)
	copy(slot[slotText:2*slotText], kind)
	return (*counter)(unsafe.Pointer(&slot[2*slotText])), at // 8-byte aligned: the map is page-aligned
}

// Note is an amount that the box keeps beside the stages: the next process finds
// it by its name. It is part of no sum.
type Note struct {
	c   *counter
	box *box
	at  int
}

// Note makes a note of that name.
func (b *Book) Note(name string) *Note {
	n := &Note{c: &counter{}, box: b.box}
	if b.box != nil && len(name) <= slotText {
		n.c, n.at = b.box.slot(name, "note")
	}
	return n
}

// Add adds to the note.
func (n *Note) Add(a Amount) { n.c.add(a) }

// Drop forgets the note; nobody may add to it any more.
func (n *Note) Drop() {
	if n.at == 0 {
		return
	}
	n.box.mu.Lock()
	clear(n.box.mem[n.at*slotSize:][:slotSize])
	n.box.free = append(n.box.free, n.at)
	n.box.mu.Unlock()
	n.c, n.at = &counter{}, 0
}

// Former is what lay in the file of a book when it was opened: the last numbers of
// the process before.
type Former struct {
	Stages []Line
	Notes  map[string]Amount
}

// readBox reads a box; what is no box is empty.
func readBox(b []byte) *Former {
	f := &Former{Notes: map[string]Amount{}}
	if !bytes.HasPrefix(b, []byte(boxMagic)) {
		return f
	}
	at := map[string]int{}
	text := func(b []byte) string { s, _, _ := bytes.Cut(b, []byte{0}); return string(s) }
	for off := slotSize; off+slotSize <= len(b); off += slotSize {
		stage, kind := text(b[off:off+slotText]), text(b[off+slotText:off+2*slotText])
		num := b[off+2*slotText:]
		a := Amount{binary.NativeEndian.Uint64(num), binary.NativeEndian.Uint64(num[8:]), binary.NativeEndian.Uint64(num[16:])}
		if kind == "" {
			continue // dropped, or never used
		}
		if kind == "note" {
			f.Notes[stage] = a
			continue
		}
		i, ok := at[stage]
		if !ok {
			i = len(f.Stages)
			at[stage] = i
			f.Stages = append(f.Stages, Line{Stage: stage, Lost: map[string]Amount{}})
		}
		l := &f.Stages[i]
		why, isLoss := strings.CutPrefix(kind, "lost:")
		switch {
		case kind == "in":
			l.In = a
		case kind == "out":
			l.Out = a
		case isLoss && (a != (Amount{}) || Unsized(why)):
			l.Lost[why] = a
		}
	}
	return f
}

// Minus is a - b, and 0 where b is more.
func (a Amount) Minus(b Amount) Amount {
	sub := func(x, y uint64) uint64 { return x - min(x, y) }
	return Amount{sub(a.Records, b.Records), sub(a.Connections, b.Connections), sub(a.Bytes, b.Bytes)}
}

// Bury closes the line of a stage whose process is dead: what it had taken in and
// neither handed on, nor lost, nor left for its successor, died with it.
func (l *Line) Bury(left Amount) {
	held := l.In.Minus(l.Out.Plus(l.LostTotal()))
	if died := held.Minus(left); died != (Amount{}) {
		l.Lost["killed"] = l.Lost["killed"].Plus(died)
	}
	l.Out = l.In.Minus(l.LostTotal()) // handed on, or left for the successor
	l.Held = Amount{}
}

// Add adds the numbers of another line of the same stage.
func (l *Line) Add(o *Line) {
	l.In, l.Out, l.Held = l.In.Plus(o.In), l.Out.Plus(o.Out), l.Held.Plus(o.Held)
	if l.Lost == nil {
		l.Lost = map[string]Amount{}
	}
	for why, a := range o.Lost {
		l.Lost[why] = l.Lost[why].Plus(a)
	}
}
