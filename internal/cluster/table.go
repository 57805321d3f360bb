package cluster

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
)

// open is the end of a span that has not ended.
const open = math.MaxInt64

// granularity of the API's timestamps: a start of S means [S, S+granularity).
const granularity = 1000

// key is an address (port and proto 0), an address and port, or a port of every
// node (address zero).
type key struct {
	addr  [16]byte
	port  uint16
	proto uint8
}

func (k *key) shard() uint64 {
	h := binary.LittleEndian.Uint64(k.addr[8:]) ^ binary.LittleEndian.Uint64(k.addr[:]) ^ uint64(k.port)<<17 ^ uint64(k.proto)<<40
	h *= 0x9e3779b97f4a7c15
	return h >> 59
}

// span is one claim on a key: v holds it from from (inclusive) to to (exclusive).
type span[T any] struct {
	from, to int64
	owner    string
	v        *T
}

type closed[T any] struct {
	k key
	s *span[T]
}

// table holds the spans of keys. Values are immutable; a span's ends change under
// its shard's lock. One writer.
type table[T any] struct {
	lim    Limits
	shards [32]struct {
		mu sync.RWMutex
		m  map[key][]*span[T] // by from, then owner, ascending
	}
	ended   []closed[T] // FIFO by the time at which the end was learnt
	head    int
	spans   int
	evicted Evicted
}

func newTable[T any](lim Limits) *table[T] {
	t := &table[T]{lim: lim}
	for i := range t.shards {
		t.shards[i].m = map[key][]*span[T]{}
	}
	return t
}

// claim says that owner holds k since from. A claim that is open already keeps its
// beginning and gets the new value.
func (t *table[T]) claim(k key, owner string, from int64, v *T) {
	sh := &t.shards[k.shard()]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ss := sh.m[k]
	for _, s := range ss {
		if s.owner == owner && s.to == open {
			s.v = v
			return
		}
	}
	if len(ss) >= t.lim.PerKey {
		ss = t.evictOldest(ss)
	}
	n := &span[T]{from: from, to: open, owner: owner, v: v}
	at := len(ss)
	// Of equal beginnings the owner decides, so that no order of arrival does.
	for at > 0 && (ss[at-1].from > from || ss[at-1].from == from && ss[at-1].owner > owner) {
		at--
	}
	ss = append(ss, nil)
	copy(ss[at+1:], ss[at:])
	ss[at] = n
	sh.m[k] = ss
	t.spans++
}

// evictOldest makes room by forgetting the ended span that ended first; open
// spans are bounded by the number of objects and stay.
func (t *table[T]) evictOldest(ss []*span[T]) []*span[T] {
	at := -1
	for i, s := range ss {
		if s.to != open && (at < 0 || s.to < ss[at].to) {
			at = i
		}
	}
	if at < 0 {
		return ss
	}
	t.evicted.PerKey++
	t.spans--
	ss[at].v = nil // the FIFO skips it
	return append(ss[:at], ss[at+1:]...)
}

// release ends owner's claim on k at to.
func (t *table[T]) release(k key, owner string, to int64) {
	sh := &t.shards[k.shard()]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, s := range sh.m[k] {
		if s.owner == owner && s.to == open {
			s.to = max(to, s.from)
			t.ended = append(t.ended, closed[T]{k, s})
		}
	}
}

// expire forgets spans that ended before horizon, and the oldest ones above the cap.
func (t *table[T]) expire(horizon int64) {
	for t.head < len(t.ended) {
		c := t.ended[t.head]
		over := len(t.ended)-t.head > t.lim.Ended
		if c.s.v != nil {
			if c.s.to >= horizon && !over {
				break
			}
			if over {
				t.evicted.Total++
			} else {
				t.evicted.Age++
			}
			t.forget(c)
		}
		t.ended[t.head] = closed[T]{}
		t.head++
	}
	if t.head > 1024 && t.head*2 > len(t.ended) {
		t.ended = append([]closed[T](nil), t.ended[t.head:]...)
		t.head = 0
	}
}

func (t *table[T]) forget(c closed[T]) {
	sh := &t.shards[c.k.shard()]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	ss := sh.m[c.k]
	for i, s := range ss {
		if s == c.s {
			ss = append(ss[:i], ss[i+1:]...)
			t.spans--
			break
		}
	}
	if len(ss) == 0 {
		delete(sh.m, c.k)
		return
	}
	sh.m[c.k] = ss
}

// at gives the value that held k at ms, nil for none. Of overlapping claims the
// one that began last wins: the older holder's end was learnt late. Outside all
// claims the nearest within slack wins: clocks differ, and last packets of a
// connection outlive the pod.
func (t *table[T]) at(k key, ms int64) *T {
	sh := &t.shards[k.shard()]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	ss := sh.m[k]
	var near *T
	best := t.lim.SlackMs + 1
	for i, s := range slices.Backward(ss) {
		switch {
		case ms < s.from:
			if d := s.from - ms; d < best {
				best, near = d, s.v
			}
		case ms < s.to:
			// The API rounds starts down to a second; an end that was seen
			// within that second is the better boundary.
			if i > 0 && ms < s.from+granularity {
				if o := ss[i-1]; ms < o.to && o.to < s.from+granularity {
					return o.v
				}
			}
			return s.v
		default:
			if d := ms - s.to; d < best {
				best, near = d, s.v
			}
		}
	}
	return near
}
