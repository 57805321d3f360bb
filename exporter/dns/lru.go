package dns

// lru is a bounded map that gives up what was longest unused. Its memory is made once
// in chunks as it fills; after that it allocates nothing.
type lru[K comparable, V any] struct {
	max   int
	index map[K]int32
	list  []node[K, V] // list[0] is the ring's head: next is the newest, prev the oldest
	free  []int32
}

type node[K comparable, V any] struct {
	key        K
	val        V
	next, prev int32
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{max: limit, index: map[K]int32{}, list: make([]node[K, V], 1)}
}

func (l *lru[K, V]) len() int { return len(l.index) }

// get finds a value and leaves its place in the order.
func (l *lru[K, V]) get(k K) *V {
	i, ok := l.index[k]
	if !ok {
		return nil
	}
	return &l.list[i].val
}

// use makes a key the newest. The key must be there.
func (l *lru[K, V]) use(k K) {
	i := l.index[k]
	l.unlink(i)
	l.link(i)
}

// put adds a key that is not there, the newest, and says what had to go for it. The
// value's place is valid until the next put.
func (l *lru[K, V]) put(k K) (v *V, gone V, evicted bool) {
	if len(l.index) >= l.max {
		gone, evicted = l.drop(l.list[0].prev), true
	}
	var i int32
	if n := len(l.free); n > 0 {
		i, l.free = l.free[n-1], l.free[:n-1]
	} else {
		l.list = append(l.list, node[K, V]{})
		i = int32(len(l.list) - 1)
	}
	l.list[i].key = k
	l.index[k] = i
	l.link(i)
	return &l.list[i].val, gone, evicted
}

// oldest gives what was longest unused, nil if there is nothing.
func (l *lru[K, V]) oldest() *V {
	if i := l.list[0].prev; i != 0 {
		return &l.list[i].val
	}
	return nil
}

// dropOldest forgets it.
func (l *lru[K, V]) dropOldest() { l.drop(l.list[0].prev) }

func (l *lru[K, V]) drop(i int32) V {
	v := l.list[i].val
	l.unlink(i)
	delete(l.index, l.list[i].key)
	l.list[i] = node[K, V]{}
	l.free = append(l.free, i)
	return v
}

func (l *lru[K, V]) link(i int32) {
	first := l.list[0].next
	l.list[i].next, l.list[i].prev = first, 0
	l.list[first].prev, l.list[0].next = i, i
}

func (l *lru[K, V]) unlink(i int32) {
	n := &l.list[i]
	l.list[n.prev].next, l.list[n.next].prev = n.next, n.prev
}
