// Package column keeps flow records as columns: one array a field, text and
// addresses as codes into a dictionary, numbers as they are.
//
// In: records (Builder.Add), or arrays that were read from a file. Out: Blocks, which
// are never changed and may be read from any goroutine, and records again. A
// Block knows which time its records speak of. It does no I/O and decides nothing:
// what is kept, where and for how long is the store's.
package column

import (
	"math"

	"github.com/weirnet/weir/api/flow"
)

// Kind is how a field's values are kept.
type Kind uint8

// The kinds.
const (
	None Kind = iota // not kept
	Dict             // a code into the block's dictionary of that field: text, addresses, UUIDs, enums
	Num              // 64 bits: numbers, times, bools
)

// kinds is worked out once from the table.
var kinds = makeKinds()

func makeKinds() (k [flow.NumFields]Kind) {
	for f := range flow.FieldID(flow.NumFields) {
		row := &flow.Fields[f]
		switch {
		case f == flow.FID:
			// A number for stores that may get a record twice. This one gets each
			// once, by its position, and 16 random bytes a row are a third of its size.
			k[f] = None
		case row.Type == flow.TypeString, row.Type == flow.TypeAddr, row.Type == flow.TypeUUID, flow.EnumWords[f] != nil:
			k[f] = Dict
		default:
			k[f] = Num
		}
	}
	return k
}

// KindOf tells how a field is kept.
func KindOf(f flow.FieldID) Kind {
	if int(f) >= flow.NumFields {
		return None
	}
	return kinds[f]
}

// Signed tells whether the 64 bits of a number are an int64.
func Signed(f flow.FieldID) bool {
	switch flow.Fields[f].Type {
	case flow.TypeI32, flow.TypeI64, flow.TypeMillis:
		return true
	default:
		return false
	}
}

// Column is one field of a Block. Of the arrays, Codes or Nums is set.
type Column struct {
	Codes []uint32 // 0 absent, else the number of the value in Dict, from 1
	Dict  []string // the values as flow.Record.Text writes them
	Nums  []uint64 // numbers; int64 as its bits, bools as 0 and 1
	Has   []byte   // with Nums: 1 where the row has a value; nil says every row has
}

// Present tells whether row i has a value.
func (c *Column) Present(i int) bool {
	if c.Codes != nil {
		return c.Codes[i] != 0
	}
	return c.Nums != nil && (c.Has == nil || c.Has[i] != 0)
}

// Bytes is the memory that the column takes, about.
func (c *Column) Bytes() int64 {
	n := 4*len(c.Codes) + 8*len(c.Nums) + len(c.Has)
	for _, s := range c.Dict {
		n += len(s) + 16
	}
	return int64(n)
}

// Block is a run of records. A field whose column is nil is absent in every row.
type Block struct {
	Rows     int
	Min, Max int64 // ms: the records speak of times from Min to Max, both inclusive
	Cols     [flow.NumFields]*Column
}

// Bytes is the memory that the block takes, about.
func (b *Block) Bytes() (n int64) {
	for _, c := range b.Cols {
		if c != nil {
			n += c.Bytes()
		}
	}
	return n
}

// Fields are the fields that some row has.
func (b *Block) Fields() (fs []flow.FieldID) {
	for f, c := range b.Cols {
		if c != nil {
			fs = append(fs, flow.FieldID(f))
		}
	}
	return fs
}

// Interval is the time over which a record's deltas count, in ms. A record that does not
// say since when counts at its end.
func Interval(r *flow.Record) (from, to int64) {
	if r.Has.Has(flow.FSince) {
		return min(r.Since, r.End), r.End
	}
	return r.End, r.End
}

// Overlaps tells whether the block may have records of the time from..to (ms, to exclusive).
func (b *Block) Overlaps(from, to int64) bool { return b.Rows > 0 && b.Min < to && b.Max >= from }

// emptyTime is the Min and Max of a block without rows.
func emptyTime() (lo, hi int64) { return math.MaxInt64, math.MinInt64 }
