package aggregator

import (
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/api/flow"
)

// Subscription is one live reader. Records come as they are told, and a
// connection's first sight, changed outcome and end before that (those records
// have no Records and no deltas). A reader that is too slow loses batches, counted.
type Subscription struct {
	C      <-chan []flow.Record // closed by Close and at the end of Run
	c      chan []flow.Record
	filter func(*flow.Record) bool
	lost   atomic.Uint64
	owner  *subscribers
}

// Lost is the number of matching records that did not fit into the buffer.
func (s *Subscription) Lost() uint64 { return s.lost.Load() }

// Close ends the subscription.
func (s *Subscription) Close() { s.owner.remove(s) }

// Subscribe makes a live reader of the records that filter wants (nil: all), with
// room for buf batches. The filter is called by the shards and must be quick.
func (a *Aggregator) Subscribe(filter func(*flow.Record) bool, buf int) *Subscription {
	s := &Subscription{c: make(chan []flow.Record, max(1, buf)), filter: filter, owner: &a.subs}
	s.C = s.c
	a.subs.add(s)
	return s
}

type subscribers struct {
	n      atomic.Int32
	mu     sync.RWMutex
	list   []*Subscription
	closed bool
}

func (l *subscribers) add(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		close(s.c)
		return
	}
	l.list = append(l.list, s)
	l.n.Store(int32(len(l.list)))
}

func (l *subscribers) remove(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range l.list {
		if x == s {
			l.list = append(l.list[:i], l.list[i+1:]...)
			l.n.Store(int32(len(l.list)))
			close(s.c)
			return
		}
	}
}

func (l *subscribers) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.list {
		close(s.c)
	}
	l.list, l.closed = nil, true
	l.n.Store(0)
}

// publish copies what each reader wants and never waits.
func (l *subscribers) publish(recs []flow.Record) {
	if l.n.Load() == 0 {
		return
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, s := range l.list {
		var part []flow.Record
		for i := range recs {
			if s.filter == nil || s.filter(&recs[i]) {
				part = append(part, recs[i])
			}
		}
		if len(part) == 0 {
			continue
		}
		select {
		case s.c <- part:
		default:
			s.lost.Add(uint64(len(part)))
		}
	}
}
