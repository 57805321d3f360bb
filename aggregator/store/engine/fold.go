package engine

import (
	"cmp"
	"context"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// bitset tells of a hash whether it was set once, and more than once. False alarms are
// harmless: such a connection is folded though it has one record.
type bitset struct {
	once, more []uint64
	shift      uint
}

// maxBits bounds a bitset: 32 MiB for each of its two halves.
const maxBits = 28

// newBitset makes one for so many rows, smaller where the memory is.
func (r *run) newBitset(rows int) (*bitset, error) {
	bits, room := uint(12), r.view.Room()/16
	for bits < maxBits && 1<<(bits-1) <= room && 1<<bits < 8*rows {
		bits++
	}
	if err := r.hold(1 << (bits - 2)); err != nil {
		return nil, err
	}
	return &bitset{make([]uint64, 1<<(bits-6)), make([]uint64, 1<<(bits-6)), 64 - bits}, nil
}

func (b *bitset) add(h uint64) {
	i := h >> b.shift
	w, m := i>>6, uint64(1)<<(i&63)
	if b.once[w]&m != 0 {
		b.more[w] |= m
		return
	}
	b.once[w] |= m
}

func (b *bitset) several(h uint64) bool {
	i := h >> b.shift
	return b.more[i>>6]&(1<<(i&63)) != 0
}

func (b *bitset) merge(o *bitset) {
	for w := range b.once {
		b.more[w] |= o.more[w] | b.once[w]&o.once[w]
		b.once[w] |= o.once[w]
	}
}

// multi is a record of a connection that may have several.
type multi struct {
	hash uint64
	row  int32
	step int32
}

// entry is a connection that is being folded.
type entry struct {
	conn         uint64
	end          int64
	seq, records uint32
	step         int32
	unit, row    int32 // of its newest record
	has          uint16
	final        bool
	opened       bool
}

// override is what the newest record of a folded connection stands for.
type override struct {
	row, step int32
	has       uint16 // which of run.counters have a sum
	opened    bool
	sums      []uint64
}

// several runs fn over the units whose connections may have several records.
func (r *run) several(ctx context.Context, fn func(worker, unit int) error) error {
	return r.each(ctx, func(w, u int) error {
		if r.alone(u) {
			return nil
		}
		return fn(w, u)
	})
}

// each runs fn over all units on all cores, until one fails or the context ends.
func (r *run) each(ctx context.Context, fn func(worker, unit int) error) error {
	r.workers = max(1, min(runtime.GOMAXPROCS(0), r.units()))
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for w := range r.workers {
		g.Go(func() error {
			for {
				if err := ctx.Err(); err != nil {
					return context.Cause(ctx)
				}
				u := int(next.Add(1)) - 1
				if u >= r.units() {
					return nil
				}
				if err := fn(w, u); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// listed are the rows of a unit that belong to each step, lo and on.
type listed struct {
	lo   int
	rows [][]int32
}

// probeAll finds the connections of which a record fits what a record alone decides; nil
// where every one may.
func (r *run) probeAll(ctx context.Context) (*bitset, error) {
	if len(r.static) == 0 {
		return nil, nil
	}
	hashes := make([][]uint64, r.units())
	err := r.several(ctx, func(_, u int) error {
		b, err := r.block(u, r.fewer(u, r.probe))
		if b == nil || err != nil {
			return err
		}
		f := &filter{r: r, b: b}
		f.conjunct(r.static)
		if f.never {
			return nil
		}
		conn := b.Cols[flow.FConnID]
		lo, lists, err := r.listedOf(u, b)
		if err != nil {
			return err
		}
		var sel []int32
		for k, list := range lists {
			x := batch{b: b, step: lo + k, rows: list}
			sel = sel[:0]
			for i := range list {
				sel = append(sel, int32(i))
			}
			for _, i := range f.keep(&x, sel) {
				if c, ok := num(conn, list[i]); ok {
					hashes[u] = append(hashes[u], hash(c, lo+k))
				}
			}
		}
		return r.hold(8 * cap(hashes[u]))
	})
	if err != nil {
		return nil, err
	}
	n := 0
	for _, list := range hashes {
		n += len(list)
	}
	set, err := r.newBitset(n)
	if err != nil {
		return nil, err
	}
	for _, list := range hashes {
		for _, h := range list {
			set.add(h)
		}
	}
	return set, nil
}

func (b *bitset) wants(h uint64) bool {
	i := h >> b.shift
	return b.once[i>>6]&(1<<(i&63)) != 0
}

// foldAll finds the connections with several records in a step and folds them.
func (r *run) foldAll(ctx context.Context) error {
	wanted, err := r.probeAll(ctx)
	if err != nil {
		return err
	}
	err = r.several(ctx, func(_, u int) error {
		b, err := r.block(u, r.fewer(u, r.probe[:3]))
		if b == nil || err != nil {
			return err
		}
		l := &r.lists[u]
		if l.lo, l.rows, err = r.listedOf(u, b); err != nil {
			return err
		}
		n := 0
		for _, list := range l.rows {
			n += cap(list)
		}
		if err := r.hold(4 * n); err != nil || wanted == nil {
			return err
		}
		conn := b.Cols[flow.FConnID]
		for k, list := range l.rows {
			out := list[:0]
			for _, i := range list {
				if c, ok := num(conn, i); !ok || wanted.wants(hash(c, l.lo+k)) {
					out = append(out, i)
				}
			}
			l.rows[k] = out
		}
		return nil
	})
	if err != nil {
		return err
	}
	rows := 0
	for u := range r.lists {
		for _, list := range r.lists[u].rows {
			rows += len(list)
		}
	}
	sets := make([]*bitset, max(1, runtime.GOMAXPROCS(0)))
	err = r.several(ctx, func(w, u int) error {
		b, err := r.block(u, r.probe[:1])
		if b == nil || err != nil {
			return err
		}
		if sets[w] == nil {
			if sets[w], err = r.newBitset(rows); err != nil {
				return err
			}
		}
		conn := b.Cols[flow.FConnID]
		l := &r.lists[u]
		for k, list := range l.rows {
			for _, i := range list {
				if c, ok := num(conn, i); ok {
					sets[w].add(hash(c, l.lo+k))
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range sets {
		switch {
		case s == nil:
		case r.seen == nil:
			r.seen = s
		default:
			r.seen.merge(s)
		}
	}
	if r.seen == nil {
		if r.seen, err = r.newBitset(0); err != nil {
			return err
		}
	}
	if err := r.several(ctx, r.gather); err != nil {
		return err
	}
	return r.foldParts(ctx)
}

// gather moves the records of a unit whose connection may have several to a list of
// their own.
func (r *run) gather(_, u int) error {
	b, err := r.block(u, r.probe[:1])
	if b == nil || err != nil {
		return err
	}
	conn := b.Cols[flow.FConnID]
	lo, lists := r.lists[u].lo, r.lists[u].rows
	for k, list := range lists {
		sole := list[:0]
		for _, i := range list {
			c, ok := num(conn, i)
			if h := hash(c, lo+k); ok && r.seen.several(h) {
				r.multi[u] = append(r.multi[u], multi{h, i, int32(lo + k)})
				continue
			}
			sole = append(sole, i)
		}
		lists[k] = sole
	}
	return r.hold(cap(r.multi[u]) * int(unsafe.Sizeof(multi{})))
}

// foldParts folds the connections, each core those of its own share of hashes.
func (r *run) foldParts(ctx context.Context) error {
	parts := max(1, runtime.GOMAXPROCS(0))
	tables := make([]*folder, parts)
	g, ctx := errgroup.WithContext(ctx)
	for p := range parts {
		tables[p] = &folder{r: r, k: len(r.counters), max: r.req.MaxConns / parts}
		g.Go(func() error {
			for u := range r.multi {
				if err := ctx.Err(); err != nil {
					return context.Cause(ctx)
				}
				if len(r.multi[u]) == 0 {
					continue
				}
				b, err := r.block(u, r.fold)
				if b == nil || err != nil {
					if err != nil {
						return err
					}
					continue
				}
				if err := tables[p].unit(int32(u), b, r.multi[u], uint64(p), uint64(parts)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, t := range tables {
		if err := r.hold(len(t.entries) * int(unsafe.Sizeof(override{}))); err != nil {
			return err
		}
		for i := range t.entries {
			e := &t.entries[i]
			r.over[e.unit] = append(r.over[e.unit], override{e.row, e.step, e.has, e.opened, t.sums[i*t.k : (i+1)*t.k]})
		}
	}
	return nil
}

// folder is a hash table of connections.
type folder struct {
	r       *run
	k, max  int
	entries []entry
	sums    []uint64
	slots   []int32 // number of the entry, from 1
	mask    uint64
}

func (t *folder) unit(u int32, b *column.Block, list []multi, part, parts uint64) error {
	cols := &b.Cols
	for _, m := range list {
		if (m.hash>>32)%parts != part {
			continue
		}
		conn, _ := num(cols[flow.FConnID], m.row)
		e, k, err := t.get(conn, m.step, m.hash)
		if err != nil {
			return err
		}
		n := entry{conn: conn, step: m.step, unit: u, row: m.row, has: e.has, opened: e.opened}
		from, to := covered(cols[flow.FSince], cols[flow.FEnd], m.row)
		n.end = to
		if v, ok := num(cols[flow.FFinal], m.row); ok {
			n.final = v != 0
		}
		if v, ok := num(cols[flow.FSeq], m.row); ok {
			n.seq = uint32(v)
		}
		if v, ok := num(cols[flow.FRecords], m.row); ok {
			n.records = uint32(v)
		}
		if e.unit < 0 || newer(&n, e) {
			*e = n
		}
		step := t.r.steps[m.step]
		for j, c := range t.r.counters {
			if v, ok := num(cols[query.Counters[c].Delta], m.row); ok {
				s := &t.sums[k*t.k+j]
				v = query.Share(v, from, to, step[0], step[1])
				if *s += v; *s < v {
					*s = ^uint64(0)
				}
				e.has |= 1 << j
			}
		}
		if t.r.first && !e.opened {
			e.opened = openedIn(b, m.row, from, step)
		}
	}
	return nil
}

// newer is query.Newer.
func newer(a, b *entry) bool {
	final := 0
	if a.final != b.final {
		final = -1
		if a.final {
			final = 1
		}
	}
	return cmp.Or(cmp.Compare(a.end, b.end), final, cmp.Compare(a.seq, b.seq), cmp.Compare(a.records, b.records)) >= 0
}

// openedIn is query.OpenedIn of a row.
func openedIn(b *column.Block, i int32, from int64, step [2]int64) bool {
	if s, ok := num(b.Cols[flow.FStart], i); ok {
		return int64(s) >= step[0] && int64(s) < step[1]
	}
	first, _ := num(b.Cols[flow.FFirst], i)
	return first != 0 && from >= step[0] && from < step[1]
}

func (t *folder) get(conn uint64, step int32, h uint64) (*entry, int, error) {
	if 2*len(t.entries) >= len(t.slots) {
		if err := t.grow(); err != nil {
			return nil, 0, err
		}
	}
	for s := h & t.mask; ; s = (s + 1) & t.mask {
		i := int(t.slots[s])
		if i == 0 {
			if len(t.entries) >= t.max {
				return nil, 0, ErrConns
			}
			t.entries = append(t.entries, entry{conn: conn, step: step, unit: -1})
			for range t.k {
				t.sums = append(t.sums, 0)
			}
			t.slots[s] = int32(len(t.entries))
			return &t.entries[len(t.entries)-1], len(t.entries) - 1, nil
		}
		if e := &t.entries[i-1]; e.conn == conn && e.step == step {
			return e, i - 1, nil
		}
	}
}

func (t *folder) grow() error {
	n := max(1<<10, 2*len(t.slots))
	if err := t.r.hold((n - len(t.slots)) * (4 + (int(unsafe.Sizeof(entry{}))+8*t.k)/2)); err != nil {
		return err
	}
	t.slots, t.mask = make([]int32, n), uint64(n-1)
	for i := range t.entries {
		e := &t.entries[i]
		s := hash(e.conn, int(e.step)) & t.mask
		for t.slots[s] != 0 {
			s = (s + 1) & t.mask
		}
		t.slots[s] = int32(i + 1)
	}
	return nil
}
