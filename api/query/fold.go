package query

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// Counters are the totals with their deltas.
var Counters = [...]struct{ Total, Delta flow.FieldID }{
	{flow.FPackets, flow.FPacketsDelta},
	{flow.FBytes, flow.FBytesDelta},
	{flow.FRevPackets, flow.FRevPacketsDelta},
	{flow.FRevBytes, flow.FRevBytesDelta},
	{flow.FPacketsSrc, flow.FPacketsDeltaSrc},
	{flow.FBytesSrc, flow.FBytesDeltaSrc},
	{flow.FRevPacketsSrc, flow.FRevPacketsDeltaSrc},
	{flow.FRevBytesSrc, flow.FRevBytesDeltaSrc},
	{flow.FPacketsDst, flow.FPacketsDeltaDst},
	{flow.FBytesDst, flow.FBytesDeltaDst},
	{flow.FRevPacketsDst, flow.FRevPacketsDeltaDst},
	{flow.FRevBytesDst, flow.FRevBytesDeltaDst},
}

// Covered gives the time, in milliseconds, that a record's deltas cover: from since to
// end; the instant of its end where since is absent or not before it.
func Covered(r *flow.Record) (from, to int64) {
	if r.Has.Has(flow.FSince) && r.Since < r.End {
		return r.Since, r.End
	}
	return r.End, r.End
}

// InRange reports whether what a record covers overlaps [since, until).
func InRange(from, to, since, until int64) bool {
	if from == to {
		return to >= since && to < until
	}
	return from < until && to > since
}

// Share gives the part of v, spread evenly over [from, to), that falls into [since,
// until). The parts of ranges that adjoin add up to v exactly.
func Share(v uint64, from, to, since, until int64) uint64 {
	if from == to {
		if to >= since && to < until {
			return v
		}
		return 0
	}
	upTo := func(t int64) uint64 {
		switch {
		case t <= from:
			return 0
		case t >= to:
			return v
		}
		hi, lo := bits.Mul64(v, uint64(t-from))
		n, _ := bits.Div64(hi, lo, uint64(to-from)) // below v, as t < to
		return n
	}
	if until <= since {
		return 0
	}
	return upTo(until) - upTo(since)
}

// Newer reports whether a is the newer record of a connection: by end, then final,
// then seq, then the number of records. Of equals the one that came last is.
func Newer(a, b *flow.Record) bool {
	return cmp.Or(cmp.Compare(a.End, b.End), boolOrder(a.Final, b.Final), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Records, b.Records)) >= 0
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// OpenedIn reports whether a record says that its connection was opened in [since,
// until).
func OpenedIn(r *flow.Record, since, until int64) bool {
	if r.Has.Has(flow.FStart) {
		return r.Start >= since && r.Start < until
	}
	from, _ := Covered(r)
	return r.First && from >= since && from < until
}

// Folder folds records into rows, one a connection; see the package doc. The zero value
// is not ready: use NewFolder.
type Folder struct {
	since, until int64
	conns        map[uint64]int
	rows         []flow.Record
	opened       []bool
}

// NewFolder folds over [since, until), milliseconds since the epoch.
func NewFolder(since, until int64) *Folder {
	return &Folder{since: since, until: until, conns: map[uint64]int{}}
}

// Add takes a record, in any order; it reports whether the record is in the range.
func (f *Folder) Add(r *flow.Record) bool {
	from, to := Covered(r)
	if !InRange(from, to, f.since, f.until) {
		return false
	}
	i, known := len(f.rows), false
	if r.Has.Has(flow.FConnID) {
		if i, known = f.conns[r.ConnID]; !known {
			i = len(f.rows)
			f.conns[r.ConnID] = i
		}
	}
	if !known {
		f.rows, f.opened = append(f.rows, *r), append(f.opened, false)
		for _, c := range Counters {
			clearCounter(&f.rows[i], c.Total)
		}
	}
	row := &f.rows[i]
	moved := *row
	if known && Newer(r, row) {
		*row = *r
	}
	for _, c := range Counters {
		sum, ok := moved.Uint(c.Total)
		if v, has := r.Uint(c.Delta); has {
			v = Share(v, from, to, f.since, f.until)
			if sum += v; sum < v {
				sum = ^uint64(0)
			}
			ok = true
		}
		clearCounter(row, c.Total)
		if ok {
			row.SetCounter(c.Total, sum)
		}
	}
	f.opened[i] = f.opened[i] || OpenedIn(r, f.since, f.until)
	return true
}

func clearCounter(r *flow.Record, id flow.FieldID) {
	r.SetCounter(id, 0)
	r.Has.Clear(id)
}

// Len is the number of rows so far.
func (f *Folder) Len() int { return len(f.rows) }

// Rows gives the rows in the order in which their connections came. The Folder is used
// up: add no more.
func (f *Folder) Rows() []flow.Record {
	for i := range f.rows {
		r := &f.rows[i]
		if f.opened[i] || r.Has.Has(flow.FStart) || r.Has.Has(flow.FFirst) {
			// The newest record's start is what counts: an older one may have known less.
			r.SetFirst(f.opened[i] && (!r.Has.Has(flow.FStart) || r.Start >= f.since && r.Start < f.until))
		}
	}
	return f.rows
}

// Fold folds a list of records.
func Fold(recs []flow.Record, since, until int64) []flow.Record {
	f := NewFolder(since, until)
	for i := range recs {
		f.Add(&recs[i])
	}
	return slices.Clip(f.Rows())
}
