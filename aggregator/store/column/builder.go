package column

import (
	"math/bits"
	"net/netip"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
)

const (
	firstRows  = 1 << 10 // rows that a new column has room for
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

// recentText is a text seen before. It keeps it alive, so that its place in memory
// cannot become another's.
type recentText struct {
	text string
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
	bytes  int64 // of dictionaries
}

// NewBuilder makes an empty Builder.
func NewBuilder() *Builder {
	b := &Builder{}
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

// Add appends one record.
func (b *Builder) Add(r *flow.Record) {
	row := b.block.Rows
	if row == b.room {
		b.grow()
	}
	for w, m := range r.Has {
		for m != 0 {
			f := flow.FieldID(w<<6 | bits.TrailingZeros64(m))
			m &= m - 1
			if int(f) < flow.NumFields {
				b.put(row, f, r)
			}
		}
	}
	from, to := Interval(r)
	b.block.Min, b.block.Max = min(b.block.Min, from), max(b.block.Max, to)
	b.block.Rows++
}

func (b *Builder) put(row int, f flow.FieldID, r *flow.Record) {
	c := b.block.Cols[f]
	if c == nil {
		if c = b.open(f); c == nil {
			return
		}
	}
	p := unsafe.Add(unsafe.Pointer(r), flow.Offsets[f])
	if kinds[f] == Dict {
		c.Codes[row] = b.code(f, r, p)
		return
	}
	c.Nums[row] = number(flow.Fields[f].Type, p)
	c.Has[row] = 1
}

// number reads the 64 bits of a number.
func number(t flow.Type, p unsafe.Pointer) uint64 {
	switch t {
	case flow.TypeU64, flow.TypeI64, flow.TypeMillis:
		return *(*uint64)(p)
	case flow.TypeU32:
		return uint64(*(*uint32)(p))
	case flow.TypeU16:
		return uint64(*(*uint16)(p))
	case flow.TypeI32:
		return uint64(int64(*(*int32)(p)))
	default: // flow.TypeU8, flow.TypeBool
		return uint64(*(*uint8)(p))
	}
}

func (b *Builder) grow() {
	b.room = max(firstRows, 2*b.room)
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

func (b *Builder) code(f flow.FieldID, r *flow.Record, p unsafe.Pointer) uint32 {
	k := b.coders[f]
	switch flow.Fields[f].Type {
	case flow.TypeString:
		return b.textCode(k, *(*string)(p))
	case flow.TypeAddr:
		return b.addrCode(k, *(*netip.Addr)(p), f, r)
	case flow.TypeUUID:
		u := *(*flow.UUID)(p)
		code, ok := k.uuid[u]
		if !ok {
			if k.uuid == nil {
				k.uuid = map[flow.UUID]uint32{}
			}
			code = b.learn(k, b.text(f, r))
			k.uuid[u] = code
		}
		return code
	default: // an enum
		v := *(*uint8)(p)
		if k.words[v] == 0 {
			k.words[v] = b.learn(k, b.text(f, r))
		}
		return k.words[v]
	}
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

func (b *Builder) textCode(k *coder, s string) uint32 {
	at := uint64(uintptr(unsafe.Pointer(unsafe.StringData(s))))
	e := &k.recentText[at*0x9E3779B97F4A7C15>>(64-recentBits)]
	if e.code != 0 && len(e.text) == len(s) && unsafe.StringData(e.text) == unsafe.StringData(s) {
		return e.code
	}
	code, ok := k.text[s]
	if !ok {
		if k.text == nil {
			k.text = map[string]uint32{}
		}
		code = b.learn(k, s)
		k.text[s] = code
	}
	e.text, e.code = s, code
	return code
}

func (b *Builder) addrCode(k *coder, a netip.Addr, f flow.FieldID, r *flow.Record) uint32 {
	x := a.As16()
	h := (uint32(x[15]) | uint32(x[14])<<8 | uint32(x[13])<<16) * 0x9E3779B1
	e := &k.recentAddr[h>>(32-recentBits)]
	if e.code != 0 && e.addr == a {
		return e.code
	}
	code, ok := k.addr[a]
	if !ok {
		if k.addr == nil {
			k.addr = map[netip.Addr]uint32{}
		}
		code = b.learn(k, b.text(f, r))
		k.addr[a] = code
	}
	e.addr, e.code = a, code
	return code
}
