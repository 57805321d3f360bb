package sockets

import (
	"sync"

	"github.com/weirnet/weir/api/flow"
)

// Table holds what the last walks saw, by the tuple of each socket's own end. The
// walk writes it, the exporter and the status page ask; each call copies.
type Table struct {
	mu        sync.Mutex
	max       int
	keepMs    int64
	at        map[flow.Tuple]int32
	slab      []entry
	free      []int32
	attempts  map[flow.Tuple]*Attempt
	listeners map[[16]byte]*heard // by address of the namespace
	full      uint64
}

// entry is a connected socket.
type entry struct {
	Seen
	tuple flow.Tuple
	live  bool
}

// Seen is a connected TCP socket as the walks saw it.
type Seen struct {
	State           State
	Cookie          uint64
	Info            Info
	LimitedBy       flow.LimitedBy // between the last two walks; unknown after the first
	FirstMs, LastMs int64
}

const maxAttempts = 4096

// NewTable makes a table of at most max sockets, which keeps what it no longer
// sees for keepMs.
func NewTable(maxSockets int, keepMs int64) *Table {
	return &Table{max: maxSockets, keepMs: keepMs, at: map[flow.Tuple]int32{}, attempts: map[flow.Tuple]*Attempt{}, listeners: map[[16]byte]*heard{}}
}

// Find gives the socket whose own end is t.Src.
func (t *Table) Find(tuple *flow.Tuple) (Seen, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.at[*tuple]
	if !ok {
		return Seen{}, false
	}
	return t.slab[i].Seen, true
}

// Attempts appends the attempts that are known, in no order.
func (t *Table) Attempts(list []Attempt) []Attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.attempts {
		list = append(list, *a)
	}
	return list
}

// Listeners gives what the namespace that has the address listens on, and when that
// was read (Unix ms). ok is false where no such namespace was read: then nothing is
// known, which is not the same as an empty list. The list must not be changed.
func (t *Table) Listeners(addr [16]byte) (list []Listener, atMs int64, ok bool) {
	h, _ := t.heard(&addr, 0)
	if h == nil {
		return nil, 0, false
	}
	return h.list, h.atMs, true
}

// heard gives what the namespace of the address listened on at a time, Unix ms, and
// the next look where that found a change; 0 is now.
func (t *Table) heard(addr *[16]byte, ms int64) (was, next *heard) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.listeners[*addr]
	if h == nil || ms == 0 {
		return h, nil
	}
	return h.when(ms)
}

// put takes a connected socket. Called with the lock held.
func (t *Table) put(nowMs int64, s *Socket) {
	i, ok := t.at[s.Tuple]
	if !ok {
		switch {
		case len(t.free) > 0:
			i = t.free[len(t.free)-1]
			t.free = t.free[:len(t.free)-1]
		case len(t.slab) < t.max:
			i = int32(len(t.slab))
			t.slab = append(t.slab, entry{})
		default:
			t.full++
			return
		}
		t.at[s.Tuple] = i
		t.slab[i] = entry{tuple: s.Tuple, live: true}
	}
	e := &t.slab[i]
	if e.Cookie != s.Cookie || e.LastMs == 0 {
		*e = entry{tuple: s.Tuple, live: true, Seen: Seen{FirstMs: nowMs, Cookie: s.Cookie}}
	} else if l := limitedBy(&e.Info, &s.Info, nowMs-e.LastMs); l != flow.LimitedByUnknown {
		e.LimitedBy = l
	}
	e.State, e.Info, e.LastMs = s.State, s.Info, nowMs
}

// limitedBy says what held the sender back between two looks ms apart, from the
// kernel's own stopwatches: busy_time runs while something is in flight or waits,
// rwnd_limited and sndbuf_limited within it.
//
//	less than half the time busy, or the last rate sample was app-limited: application
//	half of the busy time against the receiver's window: receiver
//	half of it against the own send buffer: send_buffer
//	else: congestion, the window that the path allows
func limitedBy(was, is *Info, ms int64) flow.LimitedBy {
	if ms <= 0 || !was.HasBusy || !is.HasBusy || is.Busy < was.Busy || is.Rwnd < was.Rwnd || is.Sndbuf < was.Sndbuf {
		return flow.LimitedByUnknown
	}
	busy, rwnd, sndbuf := is.Busy-was.Busy, is.Rwnd-was.Rwnd, is.Sndbuf-was.Sndbuf
	switch {
	case busy*2 < uint64(ms)*1000:
		return flow.LimitedByApplication
	case rwnd*2 >= busy:
		return flow.LimitedByReceiver
	case sndbuf*2 >= busy:
		return flow.LimitedBySendBuffer
	case is.AppLimited:
		return flow.LimitedByApplication
	}
	return flow.LimitedByCongestion
}

// try takes a socket in SYN_SENT. Called with the lock held.
func (t *Table) try(nowMs int64, ns uint64, s *Socket) {
	a := t.attempts[s.Tuple]
	if a == nil || a.Over {
		if a == nil && len(t.attempts) >= maxAttempts {
			t.full++
			return
		}
		a = &Attempt{Tuple: s.Tuple, NetNS: ns, FirstMs: nowMs}
		t.attempts[s.Tuple] = a
	}
	a.LastMs, a.Retransmits = nowMs, uint32(s.Info.Unanswered)
}

// walked ends a complete walk of a namespace: attempts that it did not see any more
// are over, and its addresses are known by what it listens on.
func (t *Table) walked(beganMs, nowMs int64, ns uint64, addrs [][16]byte, list []Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.attempts {
		if a.NetNS == ns && a.LastMs < beganMs {
			a.Over = true
		}
	}
	var prev *heard
	for _, a := range addrs {
		if p := t.listeners[a]; p != nil && p.namespace == ns {
			prev = p
			break
		}
	}
	h := newHeard(prev, ns, list, nowMs, t.keepMs)
	for _, a := range addrs {
		if !loopback(&a) {
			t.listeners[a] = h
		}
	}
}

// expire forgets what was not seen for long.
func (t *Table) expire(nowMs int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.slab {
		if e := &t.slab[i]; e.live && nowMs-e.LastMs > t.keepMs {
			delete(t.at, e.tuple)
			*e = entry{}
			t.free = append(t.free, int32(i))
		}
	}
	for k, a := range t.attempts {
		if nowMs-a.LastMs > t.keepMs {
			delete(t.attempts, k)
		}
	}
	for k, h := range t.listeners {
		if nowMs-h.atMs > t.keepMs {
			delete(t.listeners, k)
		}
	}
}

// Counts gives how many sockets, attempts and addresses with listeners are held,
// and how many sockets found no room.
func (t *Table) Counts() (held, attempts, addresses int, full uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.at), len(t.attempts), len(t.listeners), t.full
}
