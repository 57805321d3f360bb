// Package ledger keeps the books of one process: every stage accounts
// in = out + held + lost(reason), in records, connections and bytes.
//
// Stages are written from many goroutines and read as a Snapshot. The books
// live in memory, or in a file that survives kill -9 (OpenBook); what the wire held
// when a process died is booked by its neighbours from sequence numbers and totals
// (docs/life-of-a-flow.md).
package ledger

import (
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// Amount is what moved: records, connections (counted at their first record) and
// bytes (both directions, as deltas).
type Amount struct {
	Records     uint64 `json:"records"`
	Connections uint64 `json:"connections"`
	Bytes       uint64 `json:"bytes"`
}

// Plus adds two amounts.
func (a Amount) Plus(b Amount) Amount {
	return Amount{a.Records + b.Records, a.Connections + b.Connections, a.Bytes + b.Bytes}
}

// UnknownSize ends the reasons of losses whose size nobody knows: the line is there,
// its amount is zero.
const UnknownSize = "_of_unknown_size"

// Unsized tells whether a loss was booked without knowing how much it is.
func Unsized(reason string) bool { return strings.HasSuffix(reason, UnknownSize) }

type counter struct{ records, connections, bytes atomic.Uint64 }

func (c *counter) add(a Amount) {
	if a.Records != 0 {
		c.records.Add(a.Records)
	}
	if a.Connections != 0 {
		c.connections.Add(a.Connections)
	}
	if a.Bytes != 0 {
		c.bytes.Add(a.Bytes)
	}
}

func (c *counter) load() Amount {
	return Amount{c.records.Load(), c.connections.Load(), c.bytes.Load()}
}

// Stage is one place through which records pass.
type Stage struct {
	name    string
	box     *box
	in, out *counter
	mu      sync.Mutex
	lost    map[string]*counter
	held    func() Amount
}

// In books what came in.
func (s *Stage) In(a Amount) { s.in.add(a) }

// Out books what was handed on.
func (s *Stage) Out(a Amount) { s.out.add(a) }

// Lost books what will never be handed on, and why. The reason is a constant word.
func (s *Stage) Lost(reason string, a Amount) {
	s.mu.Lock()
	c := s.lost[reason]
	if c == nil {
		c = s.box.counter(s.name, "lost:"+reason)
		s.lost[reason] = c
	}
	s.mu.Unlock()
	c.add(a)
}

// SetHeld names the function that tells what the stage holds now. It must be
// safe to call from any goroutine.
func (s *Stage) SetHeld(f func() Amount) {
	s.mu.Lock()
	s.held = f
	s.mu.Unlock()
}

// Book is the ledger of one process.
type Book struct {
	mu     sync.Mutex
	stages []*Stage
	byName map[string]*Stage
	box    *box // nil for counters in memory alone
}

// NewBook makes an empty book.
func NewBook() *Book { return &Book{byName: map[string]*Stage{}} }

// Stage gives the stage of that name, making it on first use. Stages keep the
// order in which they were made.
func (b *Book) Stage(name string) *Stage {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.byName[name]
	if s == nil {
		s = &Stage{name: name, box: b.box, in: b.box.counter(name, "in"), out: b.box.counter(name, "out"), lost: map[string]*counter{}}
		b.byName[name] = s
		b.stages = append(b.stages, s)
	}
	return s
}

// Line is one stage of a Snapshot.
type Line struct {
	Stage string            `json:"stage"`
	In    Amount            `json:"in"`
	Out   Amount            `json:"out"`
	Held  Amount            `json:"held"`
	Lost  map[string]Amount `json:"lost,omitempty"`
}

// LostTotal adds up the reasons.
func (l *Line) LostTotal() Amount {
	var t Amount
	for _, a := range l.Lost {
		t = t.Plus(a)
	}
	return t
}

// Diff is in - out - held - lost in records, connections and bytes; zero when the
// books of the stage balance.
func (l *Line) Diff() (records, connections, bytes int64) {
	t := l.Out.Plus(l.Held).Plus(l.LostTotal())
	return int64(l.In.Records - t.Records), int64(l.In.Connections - t.Connections), int64(l.In.Bytes - t.Bytes)
}

// Reasons gives the reasons in order.
func (l *Line) Reasons() []string {
	r := make([]string, 0, len(l.Lost))
	for k := range l.Lost {
		r = append(r, k)
	}
	sort.Strings(r)
	return r
}

// Snapshot reads all stages. A stage that is being written to is read in the
// order lost, out, held, in: its difference may be above zero for an instant, never below for good.
func (b *Book) Snapshot() []Line {
	b.mu.Lock()
	stages := append([]*Stage(nil), b.stages...)
	b.mu.Unlock()
	lines := make([]Line, 0, len(stages))
	for _, s := range stages {
		l := Line{Stage: s.name, Lost: map[string]Amount{}}
		s.mu.Lock()
		for k, c := range s.lost {
			l.Lost[k] = c.load()
		}
		held := s.held
		s.mu.Unlock()
		l.Out = s.out.load()
		if held != nil {
			l.Held = held()
		}
		l.In = s.in.load()
		lines = append(lines, l)
	}
	return lines
}
