package clickhouse

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// column collects the values of one field as ClickHouse's native format writes them, so
// that sending is a copy. It is a proto.ColInput. Its buffers are used again.
type column struct {
	name, typ string
	kind      flow.Type
	off       uintptr // of the field in a flow.Record
	word      int     // of the field's bit in Record.Has
	bit       uint64
	words     int // of an enum; 0 for others
	size      int // bytes of a value; 0 for texts
	notNull   bool
	dict      *dictionary // of a LowCardinality column

	rows  int
	nulls []byte
	data  []byte
	keys  []uint32
}

// dictionary numbers the texts of a batch; number 0 is NULL.
type dictionary struct {
	codes  map[string]uint32
	data   []byte
	recent [1 << recentBits]recentText
}

// recentText is a text seen before in this batch, whose place in memory tells it again.
type recentText struct {
	text string
	code uint32
}

const recentBits = 8

func newColumn(c *ddl.Column) *column {
	row := &flow.Fields[c.ID]
	out := &column{
		name: c.Name, typ: c.Type, kind: row.Type, off: flow.Offsets[c.ID],
		word: int(c.ID >> 6), bit: 1 << (c.ID & 63), notNull: c.ID == flow.FEnd,
	}
	switch row.Type {
	case flow.TypeU8:
		out.size = 1
		if w := flow.EnumWords[c.ID]; w != nil && row.Unit != "bit set" {
			out.words = len(w)
		}
	case flow.TypeBool:
		out.size = 1
	case flow.TypeU16:
		out.size = 2
	case flow.TypeU32, flow.TypeI32:
		out.size = 4
	case flow.TypeU64, flow.TypeI64, flow.TypeMillis:
		out.size = 8
	case flow.TypeAddr, flow.TypeUUID:
		out.size = 16
	case flow.TypeString:
		if c.Dict {
			out.dict = &dictionary{codes: map[string]uint32{}}
		}
	}
	return out
}

// reset empties the column and lets go of texts.
func (c *column) reset() {
	c.rows, c.nulls, c.data, c.keys = 0, c.nulls[:0], c.data[:0], c.keys[:0]
	if d := c.dict; d != nil {
		clear(d.codes)
		clear(d.recent[:])
		d.data = append(d.data[:0], 0) // the empty text in the place of NULL
	}
}

// fill appends the values of a run of records.
func (c *column) fill(recs []flow.Record) {
	switch {
	case c.dict != nil:
		c.fillDict(recs)
	case c.kind == flow.TypeString:
		c.fillText(recs)
	default:
		c.fillFixed(recs)
	}
	c.rows += len(recs)
}

func (c *column) has(r *flow.Record) bool { return r.Has[c.word]&c.bit != 0 }

func (c *column) at(r *flow.Record) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(r), c.off) }

// grow appends n zero bytes and gives them.
func grow(b []byte, n int) (all, added []byte) {
	have := len(b)
	if cap(b)-have < n {
		next := make([]byte, have, max(2*cap(b), have+n))
		copy(next, b)
		b = next
	}
	b = b[:have+n]
	clear(b[have:])
	return b, b[have:]
}

func (c *column) fillFixed(recs []flow.Record) {
	var out, nulls []byte
	c.data, out = grow(c.data, c.size*len(recs))
	c.nulls, nulls = grow(c.nulls, len(recs))
	for i := range recs {
		r := &recs[i]
		if !c.has(r) {
			nulls[i] = 1
			continue
		}
		p := c.at(r)
		switch c.size {
		case 1:
			v := *(*uint8)(p)
			if c.words != 0 && int(v) >= c.words {
				v = ddl.Unlisted
			}
			out[i] = v
		case 2:
			binary.LittleEndian.PutUint16(out[2*i:], *(*uint16)(p))
		case 4:
			binary.LittleEndian.PutUint32(out[4*i:], *(*uint32)(p))
		case 8:
			binary.LittleEndian.PutUint64(out[8*i:], *(*uint64)(p))
		default:
			to := out[16*i : 16*i+16]
			if c.kind == flow.TypeUUID {
				// Two numbers of 64 bits, each with its lowest byte first.
				u := (*flow.UUID)(p)
				binary.LittleEndian.PutUint64(to, binary.BigEndian.Uint64(u[:8]))
				binary.LittleEndian.PutUint64(to[8:], binary.BigEndian.Uint64(u[8:]))
			} else if a := *(*netip.Addr)(p); a.IsValid() {
				b := a.As16()
				copy(to, b[:])
			}
		}
	}
}

func (c *column) fillText(recs []flow.Record) {
	var nulls []byte
	c.nulls, nulls = grow(c.nulls, len(recs))
	for i := range recs {
		s := ""
		if r := &recs[i]; c.has(r) {
			s = *(*string)(c.at(r))
		} else {
			nulls[i] = 1
		}
		c.data = append(binary.AppendUvarint(c.data, uint64(len(s))), s...)
	}
}

func (c *column) fillDict(recs []flow.Record) {
	d := c.dict
	for i := range recs {
		r := &recs[i]
		if !c.has(r) {
			c.keys = append(c.keys, 0)
			continue
		}
		c.keys = append(c.keys, d.code(*(*string)(c.at(r))))
	}
}

func (d *dictionary) code(s string) uint32 {
	// The place in memory, mixed so that neighbours fall apart.
	slot := &d.recent[uint64(uintptr(unsafe.Pointer(unsafe.StringData(s))))*0x9E3779B97F4A7C15>>(64-recentBits)]
	if slot.code != 0 && len(slot.text) == len(s) && unsafe.StringData(slot.text) == unsafe.StringData(s) {
		return slot.code
	}
	n, ok := d.codes[s]
	if !ok {
		n = uint32(len(d.codes)) + 1
		d.codes[s] = n
		d.data = append(binary.AppendUvarint(d.data, uint64(len(s))), s...)
	}
	*slot = recentText{s, n}
	return n
}

// Type implements proto.ColInput.
func (c *column) Type() proto.ColumnType { return proto.ColumnType(c.typ) }

// Rows implements proto.ColInput.
func (c *column) Rows() int { return c.rows }

// Serialization of LowCardinality (ClickHouse: SerializationLowCardinality).
const (
	sharedDictionaries = 1       // version of the keys' serialization
	additionalKeys     = 1 << 9  // the dictionary is in the block
	updateDictionary   = 1 << 10 // and replaces the one before
)

// EncodeState implements proto.StateEncoder: what comes before the data.
func (c *column) EncodeState(b *proto.Buffer) {
	if c.dict != nil {
		b.PutUInt64(sharedDictionaries)
	}
}

// EncodeColumn implements proto.ColInput.
func (c *column) EncodeColumn(b *proto.Buffer) {
	switch {
	case c.dict != nil:
		c.encodeDict(b)
	case c.notNull:
		b.PutRaw(c.data)
	default:
		b.PutRaw(c.nulls)
		b.PutRaw(c.data)
	}
}

func (c *column) encodeDict(b *proto.Buffer) {
	n := len(c.dict.codes) + 1
	width := 0 // log2 of the bytes of a key
	switch {
	case n > 1<<16:
		width = 2
	case n > 1<<8:
		width = 1
	}
	b.PutUInt64(uint64(width) | additionalKeys | updateDictionary)
	b.PutInt64(int64(n))
	b.PutRaw(c.dict.data)
	b.PutInt64(int64(len(c.keys)))
	var out []byte
	b.Buf, out = grow(b.Buf, len(c.keys)<<width)
	switch width {
	case 0:
		for i, k := range c.keys {
			out[i] = uint8(k)
		}
	case 1:
		for i, k := range c.keys {
			binary.LittleEndian.PutUint16(out[2*i:], uint16(k))
		}
	default:
		for i, k := range c.keys {
			binary.LittleEndian.PutUint32(out[4*i:], k)
		}
	}
}

// WriteColumn implements proto.ColInput.
func (c *column) WriteColumn(w *proto.Writer) { w.ChainBuffer(c.EncodeColumn) }
