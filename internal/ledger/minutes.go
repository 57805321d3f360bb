package ledger

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// maxMinuteLines bounds what Minutes keeps, over all processes: a day of one node and
// one aggregator, a quarter of an hour of a thousand nodes.
const maxMinuteLines = 100_000

// Reading is the books of one process at one time.
type Reading struct {
	Process, Instance string // an agent and which start of it; the aggregator is "aggregator"
	Lines             []Line
}

// Change is what an amount grew by; it is negative where it shrank.
type Change struct {
	Records     int64 `json:"records"`
	Connections int64 `json:"connections"`
	Bytes       int64 `json:"bytes"`
}

func change(from, to Amount) Change {
	return Change{int64(to.Records - from.Records), int64(to.Connections - from.Connections), int64(to.Bytes - from.Bytes)}
}

// Plus adds two changes.
func (c Change) Plus(o Change) Change {
	return Change{c.Records + o.Records, c.Connections + o.Connections, c.Bytes + o.Bytes}
}

// MinuteLine is one stage in one minute: before + in = out + held + lost(reason).
type MinuteLine struct {
	Stage  string            `json:"stage"`
	Before Amount            `json:"before"` // held at its beginning
	In     Change            `json:"in"`
	Out    Change            `json:"out"`
	Held   Amount            `json:"held"` // at its end
	Lost   map[string]Change `json:"lost,omitempty"`
}

// LostTotal adds up the reasons.
func (l *MinuteLine) LostTotal() (t Change) {
	for _, c := range l.Lost {
		t = t.Plus(c)
	}
	return t
}

// Diff is what the minute's books leave unexplained; zero when they balance.
func (l *MinuteLine) Diff() Change {
	t := l.LostTotal().Plus(l.Out).Plus(change(l.Before, l.Held))
	return Change{l.In.Records - t.Records, l.In.Connections - t.Connections, l.In.Bytes - t.Bytes}
}

// Reasons gives the reasons in order.
func (l *MinuteLine) Reasons() []string { return slices.Sorted(maps.Keys(l.Lost)) }

// MinuteBook is what one process did in one minute. Stages without a change are left out.
type MinuteBook struct {
	Time     time.Time `json:"time"` // the end of the minute, or now in the one that goes on
	Process  string    `json:"process"`
	Instance string    `json:"instance,omitempty"`
	// First is set on the first book of a process: it counts from the process's own start, which may be
	// long before the minute.
	First  bool         `json:"first,omitempty"`
	Stages []MinuteLine `json:"stages"`
}

// Minutes keeps the books minute by minute. The caller reads the clock and the books.
type Minutes struct {
	mu    sync.Mutex
	last  map[[2]string]map[string]Line // by process and instance, by stage
	books []MinuteBook                  // oldest first
	lines int
}

// NewMinutes makes an empty history.
func NewMinutes() *Minutes { return &Minutes{last: map[[2]string]map[string]Line{}} }

// Close ends a minute at the given time with these readings. The oldest minutes go
// where there are too many.
func (m *Minutes) Close(at time.Time, readings []Reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.since(at, readings) {
		m.books = append(m.books, b)
		m.lines += len(b.Stages)
	}
	gone := 0
	for m.lines > maxMinuteLines {
		m.lines -= len(m.books[gone].Stages)
		gone++
	}
	m.books = slices.Delete(m.books, 0, gone)
	clear(m.last)
	for _, r := range readings {
		by := make(map[string]Line, len(r.Lines))
		for _, l := range r.Lines {
			by[l.Stage] = l
		}
		m.last[[2]string{r.Process, r.Instance}] = by
	}
}

// Books gives the last n minutes, oldest first, and then the one that goes on.
func (m *Minutes) Books(now time.Time, readings []Reading, n int) []MinuteBook {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := now.Add(-time.Duration(n)*time.Minute - 30*time.Second) // a minute closes a little late
	old := m.books
	for len(old) > 0 && old[0].Time.Before(from) {
		old = old[1:]
	}
	return append(slices.Clone(old), m.since(now, readings)...)
}

// since gives what changed since the last minute was closed.
func (m *Minutes) since(at time.Time, readings []Reading) (out []MinuteBook) {
	for _, r := range readings {
		was, known := m.last[[2]string{r.Process, r.Instance}]
		b := MinuteBook{Time: at, Process: r.Process, Instance: r.Instance, First: !known}
		for i := range r.Lines {
			l, o := &r.Lines[i], was[r.Lines[i].Stage]
			x := MinuteLine{Stage: l.Stage, Before: o.Held, In: change(o.In, l.In), Out: change(o.Out, l.Out), Held: l.Held}
			for why, a := range l.Lost {
				if c := change(o.Lost[why], a); c != (Change{}) {
					if x.Lost == nil {
						x.Lost = map[string]Change{}
					}
					x.Lost[why] = c
				}
			}
			if x.In != (Change{}) || x.Out != (Change{}) || x.Lost != nil || x.Before != x.Held {
				b.Stages = append(b.Stages, x)
			}
		}
		if len(b.Stages) > 0 {
			out = append(out, b)
		}
	}
	return out
}
