package flow

import "sync/atomic"

// Batch is a bounded run of records whose storage is used again. A record is 1.3 kB
// of which a template fills a part, so records are decoded where they stay and
// handed on whole: the bytes that nobody fills are neither written nor read.
//
// It has one owner, who fills it; Share gives it several readers, of whom the last
// to call Release frees it.
type Batch struct {
	Recs  []Record // committed so far
	dirty Mask     // fields that any of the storage may hold
	free  func(*Batch)
	refs  atomic.Int32
}

// NewBatch makes an empty batch of up to n records. Release calls free, which may
// be nil.
func NewBatch(n int, free func(*Batch)) *Batch {
	b := &Batch{Recs: make([]Record, 0, n), free: free}
	b.refs.Store(1)
	return b
}

// Full reports whether there is no place left.
func (b *Batch) Full() bool { return len(b.Recs) == cap(b.Recs) }

// Place gives the place of the next record. Everything but fields is zero there;
// the caller must write all of fields, and Commit. Full batches have none.
func (b *Batch) Place(fields *Mask) *Record {
	n := len(b.Recs)
	r := &b.Recs[:n+1][n]
	d := &b.dirty
	if (d[0]&^fields[0])|(d[1]&^fields[1])|(d[2]&^fields[2]) != 0 {
		if n == 0 { // others filled it before
			clear(b.Recs[:cap(b.Recs)])
			b.dirty = Mask{}
		} else {
			*r = Record{}
		}
	}
	d[0], d[1], d[2] = d[0]|fields[0], d[1]|fields[1], d[2]|fields[2]
	return r
}

// Commit takes in the record that was written to the place given last.
func (b *Batch) Commit() { b.Recs = b.Recs[:len(b.Recs)+1] }

// Append copies a record in. The batch must not be full.
func (b *Batch) Append(r *Record) {
	n := len(b.Recs)
	b.Recs = b.Recs[:n+1]
	b.Recs[n] = *r
	b.dirty = Mask{^uint64(0), ^uint64(0), ^uint64(0)}
}

// Share makes n readers of the one owner.
func (b *Batch) Share(n int) { b.refs.Store(int32(n)) }

// Release ends the use by one reader. After the last one's the batch is empty and
// belongs to whom it came from.
func (b *Batch) Release() {
	if b.refs.Add(-1) > 0 {
		return
	}
	b.Recs = b.Recs[:0]
	b.refs.Store(1)
	if b.free != nil {
		b.free(b)
	}
}
