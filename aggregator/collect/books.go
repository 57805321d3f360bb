package collect

import (
	"maps"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

const (
	maxExporters      = 20000 // books kept at most
	maxLinesOfOne     = 256   // stages and reasons of one book
	forgetExportersIn = 24 * time.Hour
	inFlightFor       = 10 * time.Second
)

// account is what one transport session has brought.
type account struct {
	records, connections, bytes atomic.Uint64
	ended                       atomic.Bool
	lossy                       bool                        // UDP: what is missing may be missed by nobody
	note                        atomic.Pointer[ledger.Note] // survives this process
}

func (a *account) add(m ledger.Amount) {
	if n := a.note.Load(); n != nil {
		n.Add(m)
	}
	a.records.Add(m.Records)
	a.connections.Add(m.Connections)
	a.bytes.Add(m.Bytes)
}

func (a *account) load() ledger.Amount {
	return ledger.Amount{Records: a.records.Load(), Connections: a.connections.Load(), Bytes: a.bytes.Load()}
}

// exporters holds the newest books of every exporting process.
type exporters struct {
	mu   sync.Mutex
	byID map[string]*exporter // observer + instance
	book *ledger.Book
	// newest holds the last process of each observer that was heard for the first time.
	newest map[string]*exporter
	// former holds what sessions brought to processes before this one, by the
	// exporters' session ids.
	former map[string]ledger.Amount
}

// notePrefix begins the names of the notes that hold what a session has brought.
const notePrefix = "session/"

type exporter struct {
	observer, instance string
	atMs               int64
	lines              map[string]*ledger.Line
	order              []string
	sessions           map[string]*sessionBooks // by the exporter's session id
	pulse              pulse
	stopped            bool // it said that it has told everything
}

// killedReason is booked where another process speaks for an observer before the last
// one has said goodbye: what that had read and not told, and what ended before the new
// one looked, nobody knows the number of.
const killedReason = "agent_killed" + ledger.UnknownSize

// sessionBooks holds both sides' account of one session.
type sessionBooks struct {
	addr string // how the exporter calls the aggregator of that session
	sent ledger.Amount
	acct *account // nil where the session came to another process
}

// take books one row. Rows are cumulative: the newest replaces.
func (e *exporters) take(row *ipfix.LedgerRow, acct *account) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := row.Observer + "\x00" + row.Instance
	x := e.byID[id]
	if x == nil {
		if len(e.byID) >= maxExporters {
			return
		}
		x = &exporter{observer: row.Observer, instance: row.Instance, lines: map[string]*ledger.Line{}, sessions: map[string]*sessionBooks{}}
		e.byID[id] = x
		e.succeed(x)
	}
	x.atMs = max(x.atMs, row.AtMs)
	defer func() { x.beat(time.Now(), acct) }()
	if row.Stage == ipfix.StageProcess {
		x.stopped = x.stopped || row.Kind == ipfix.KindStopped
		return
	}
	amount := ledger.Amount{Records: row.Records, Connections: row.Connections, Bytes: row.Bytes}
	if row.Stage == "session" || row.Stage == "wire" {
		s := x.sessions[row.Reason]
		if s == nil {
			if len(x.sessions) >= maxLinesOfOne {
				return
			}
			s = &sessionBooks{addr: row.Kind}
			x.sessions[row.Reason] = s
		}
		if row.Stage == "session" {
			if s.acct != acct {
				n := e.book.Note(notePrefix + row.Reason)
				n.Add(acct.load())
				acct.note.Store(n)
			}
			s.acct = acct
			return
		}
		s.sent = amount
		return
	}
	l := x.lines[row.Stage]
	if l == nil {
		if len(x.lines) >= maxLinesOfOne {
			return
		}
		l = &ledger.Line{Stage: row.Stage, Lost: map[string]ledger.Amount{}}
		x.lines[row.Stage] = l
		x.order = append(x.order, row.Stage)
	}
	switch row.Kind {
	case "in":
		l.In = amount
	case "out":
		l.Out = amount
	case "held":
		l.Held = amount
	case "lost":
		if len(l.Lost) < maxLinesOfOne {
			l.Lost[row.Reason] = amount
		}
	}
}

// succeed takes note of a new process of an observer.
func (e *exporters) succeed(x *exporter) {
	if e.newest == nil {
		e.newest = map[string]*exporter{}
	}
	if old := e.newest[x.observer]; old != nil && !old.stopped {
		e.book.Stage("collect").Lost(killedReason, ledger.Amount{})
	}
	e.newest[x.observer] = x
}

// Book is what one exporting process told last, with a stage "wire" that holds what
// it sent here against what arrived.
type Book struct {
	Observer, Instance string
	At                 time.Time
	Lines              []ledger.Line
}

// Books gives all books, by observer, newest instance last.
func (c *Collector) Books(now time.Time) []Book {
	e := &c.exporters
	e.mu.Lock()
	defer e.mu.Unlock()
	books := make([]Book, 0, len(e.byID))
	for id, x := range e.byID {
		at := time.UnixMilli(x.atMs)
		if now.Sub(at) > forgetExportersIn {
			delete(e.byID, id)
			if e.newest[x.observer] == x {
				delete(e.newest, x.observer)
			}
			x.forget()
			continue
		}
		b := Book{Observer: x.observer, Instance: x.instance, At: at}
		for _, stage := range x.order {
			l := *x.lines[stage]
			l.Lost = maps.Clone(l.Lost)
			b.Lines = append(b.Lines, l)
		}
		b.Lines = append(b.Lines, x.wire(now, e.former))
		books = append(books, b)
	}
	sort.Slice(books, func(i, j int) bool {
		a, b := &books[i], &books[j]
		if a.Observer != b.Observer {
			return a.Observer < b.Observer
		}
		return a.At.Before(b.At)
	})
	return books
}

// forget drops the notes of an exporter's sessions.
func (x *exporter) forget() {
	for _, s := range x.sessions {
		if s.acct == nil {
			continue
		}
		if n := s.acct.note.Swap(nil); n != nil {
			n.Drop()
		}
	}
}

// wire compares the sessions that came to this process. A live session's difference
// is on its way; an ended one's is lost.
func (x *exporter) wire(now time.Time, former map[string]ledger.Amount) ledger.Line {
	l := ledger.Line{Stage: "wire", Lost: map[string]ledger.Amount{}}
	for id, s := range x.sessions {
		got, known := former[id]
		if s.acct != nil {
			got, known = s.acct.load(), true
		}
		if !known {
			continue // it came to another replica
		}
		sent := s.sent
		if less(sent, got) { // its books are a second older than its records
			sent = got
		}
		l.In, l.Out = l.In.Plus(sent), l.Out.Plus(got)
		diff := ledger.Amount{Records: sent.Records - got.Records, Connections: sent.Connections - got.Connections, Bytes: sent.Bytes - got.Bytes}
		if diff == (ledger.Amount{}) {
			continue
		}
		if s.acct == nil || s.acct.ended.Load() && now.Sub(time.UnixMilli(x.atMs)) < inFlightFor {
			l.Lost["session_broken"] = l.Lost["session_broken"].Plus(diff)
		} else {
			l.Held = l.Held.Plus(diff)
		}
	}
	return l
}

func less(a, b ledger.Amount) bool {
	return a.Records < b.Records || (a.Records == b.Records && (a.Bytes < b.Bytes || a.Connections < b.Connections))
}
