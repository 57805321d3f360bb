package column

import (
	"net/netip"

	"github.com/weirnet/weir/api/flow"
)

const (
	firstRows  = 1 << 10 // rows that a new column has room for
	manyRows   = 1 << 15
	recentBits = 12
)

// coder gives the values of one field their codes. The values that came last are found
// by their place in memory, or by their bytes, without hashing them.
type coder struct {
	dict  []string
	text  map[string]uint32
	addr  map[netip.Addr]uint32
	uuid  map[flow.UUID]uint32
	words [256]uint32 // enums

	recentText []recentText
	recentAddr []recentAddr
}

// recentText is a text seen before, by its place in memory. It keeps it alive, so that
// the place cannot become another's.
type recentText struct {
	at   *byte
	size uint32
	code uint32
}

type recentAddr struct {
	addr netip.Addr
	code uint32
}

// Builder collects records into columns. It is not safe for concurrent use; a Block
// that Snapshot gave stays as it is while more records come.
type Builder struct {
	block  Block
	room   int
	active []flow.FieldID // fields that have a column
	coders [flow.NumFields]*coder
	buf    []byte
	one    [1]*flow.Record
	bytes  int64 // of dictionaries
}

// NewBuilder makes an empty Builder, which will have about so many rows; 0 where nobody
// knows.
func NewBuilder(rows int) *Builder {
	b := &Builder{room: rows}
	b.block.Min, b.block.Max = emptyTime()
	return b
}

// Rows is the number of records that were added.
func (b *Builder) Rows() int { return b.block.Rows }

// Bytes is the memory that the columns take, room for more included.
func (b *Builder) Bytes() int64 {
	n := b.bytes
	for _, f := range b.active {
		if kinds[f] == Dict {
			n += 4 * int64(b.room)
		} else {
			n += 9 * int64(b.room)
		}
	}
	return n
}

// Room is how many rows its columns have room for.
func (b *Builder) Room() int { return b.room }

// Snapshot gives what was added so far. The arrays are shared: rows that are added later
// lie behind the end of what the Block shows.
func (b *Builder) Snapshot() *Block {
	out := &Block{Rows: b.block.Rows, Min: b.block.Min, Max: b.block.Max}
	n := b.block.Rows
	if n == 0 {
		return out
	}
	store := make([]Column, len(b.active))
	for i, f := range b.active {
		c := &store[i]
		if kinds[f] == Dict {
			c.Codes, c.Dict = b.block.Cols[f].Codes[:n:n], b.coders[f].dict
		} else {
			c.Nums, c.Has = b.block.Cols[f].Nums[:n:n], b.block.Cols[f].Has[:n:n]
		}
		out.Cols[f] = c
	}
	return out
}

// grow makes room for a row more: twice the rows while they are few, then half as many again.
func (b *Builder) grow() {
	if b.room >= manyRows {
		b.room += b.room / 2
	} else {
		b.room = max(firstRows, 2*b.room)
	}
	for _, f := range b.active {
		c := b.block.Cols[f]
		if kinds[f] == Dict {
			codes := make([]uint32, b.room)
			copy(codes, c.Codes)
			c.Codes = codes
			continue
		}
		nums, has := make([]uint64, b.room), make([]byte, b.room)
		copy(nums, c.Nums)
		copy(has, c.Has)
		c.Nums, c.Has = nums, has
	}
}

// open begins the column of a field that no record had before.
func (b *Builder) open(f flow.FieldID) *Column {
	c := &Column{}
	switch kinds[f] {
	case Dict:
		c.Codes = make([]uint32, b.room)
		b.coders[f] = &coder{}
		switch flow.Fields[f].Type {
		case flow.TypeString:
			b.coders[f].recentText = make([]recentText, 1<<recentBits)
		case flow.TypeAddr:
			b.coders[f].recentAddr = make([]recentAddr, 1<<recentBits)
		default: // few values, or seldom set
		}
	case Num:
		c.Nums, c.Has = make([]uint64, b.room), make([]byte, b.room)
	default:
		return nil
	}
	b.block.Cols[f] = c
	b.active = append(b.active, f)
	return c
}

// text is what the file and the dictionary hold of a value.
func (b *Builder) text(f flow.FieldID, r *flow.Record) string {
	b.buf = r.AppendText(b.buf[:0], f)
	return string(b.buf)
}

func (b *Builder) learn(k *coder, s string) uint32 {
	k.dict = append(k.dict, s)
	b.bytes += int64(len(s)) + 80 // header, and its entry in the map
	return uint32(len(k.dict))
}
