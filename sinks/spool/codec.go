package spool

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math/bits"
	"net/netip"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// AmountOf is what the ledger counts of one record.
func AmountOf(r *flow.Record) ledger.Amount {
	c, b := r.Amounts()
	return ledger.Amount{Records: 1, Connections: c, Bytes: b}
}

// schemaHash identifies the first n rows of the table: names and types, in order.
// Rows are only ever appended, so older segments have a prefix of today's table.
func schemaHash(n int) uint64 {
	h := fnv.New64a()
	for i := range n {
		h.Write([]byte(flow.Fields[i].Name))
		h.Write([]byte{0, byte(flow.Fields[i].Type)})
	}
	return h.Sum64()
}

// encoder packs records into the payload of one block. The strings of a block are
// written once and then named by number; times are differences to the one before.
type encoder struct {
	buf  []byte
	dict map[string]uint32
	mask flow.Mask
	ms   int64
	n    int
	amt  ledger.Amount
}

func (e *encoder) reset(buf []byte) {
	if e.dict == nil {
		e.dict = map[string]uint32{}
	}
	clear(e.dict)
	*e = encoder{buf: buf, dict: e.dict}
}

func (e *encoder) add(r *flow.Record) {
	b := e.buf
	if e.n > 0 && r.Has == e.mask {
		b = append(b, 0)
	} else {
		e.mask = r.Has
		b = append(b, 1)
		for _, w := range r.Has {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	e.n++
	e.amt = e.amt.Plus(AmountOf(r))
	for w, m := range r.Has {
		for m != 0 {
			f := w<<6 | bits.TrailingZeros64(m)
			m &= m - 1
			if f < flow.NumFields {
				b = e.field(b, f, unsafe.Add(unsafe.Pointer(r), flow.Offsets[f]))
			}
		}
	}
	e.buf = b
}

func (e *encoder) field(b []byte, f int, p unsafe.Pointer) []byte {
	switch flow.Fields[f].Type {
	case flow.TypeU8:
		return append(b, *(*uint8)(p))
	case flow.TypeU16:
		return binary.AppendUvarint(b, uint64(*(*uint16)(p)))
	case flow.TypeU32:
		return binary.AppendUvarint(b, uint64(*(*uint32)(p)))
	case flow.TypeU64:
		return binary.AppendUvarint(b, *(*uint64)(p))
	case flow.TypeI32:
		return binary.AppendVarint(b, int64(*(*int32)(p)))
	case flow.TypeI64:
		return binary.AppendVarint(b, *(*int64)(p))
	case flow.TypeBool:
		if *(*bool)(p) {
			return append(b, 1)
		}
		return append(b, 0)
	case flow.TypeMillis:
		v := *(*int64)(p)
		b = binary.AppendVarint(b, v-e.ms)
		e.ms = v
		return b
	case flow.TypeString:
		return e.str(b, *(*string)(p))
	case flow.TypeAddr:
		return e.addr(b, *(*netip.Addr)(p))
	default: // flow.TypeUUID
		u := (*flow.UUID)(p)
		return append(b, u[:]...)
	}
}

func (e *encoder) str(b []byte, s string) []byte {
	if i, ok := e.dict[s]; ok {
		return binary.AppendUvarint(b, uint64(i)+1)
	}
	e.dict[s] = uint32(len(e.dict))
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// addr writes 0 for none, 4 or 6 and the bytes, or 7, the bytes and the zone.
func (e *encoder) addr(b []byte, a netip.Addr) []byte {
	switch {
	case !a.IsValid():
		return append(b, 0)
	case a.Is4():
		x := a.As4()
		return append(append(b, 4), x[:]...)
	case a.Zone() != "":
		x := a.As16()
		return e.str(append(append(b, 7), x[:]...), a.Zone())
	}
	x := a.As16()
	return append(append(b, 6), x[:]...)
}

var errBlock = errors.New("block does not decode")

// maxInterned bounds the strings that a decoder keeps from block to block.
const maxInterned = 1 << 16

// decoder unpacks blocks. Strings are kept from block to block, so that a name that
// comes again costs no allocation.
type decoder struct {
	fields   int // rows of the table that the segment knows
	dict     []string
	interned map[string]string
	b        []byte
	bad      bool
	ms       int64
}

// block appends the n records of a payload to out. The payload passed its CRC, but
// it is still not trusted.
func (d *decoder) block(payload []byte, n int, out []flow.Record) ([]flow.Record, error) {
	d.b, d.bad, d.ms, d.dict = payload, false, 0, d.dict[:0]
	var mask flow.Mask
	for i := range n {
		switch d.byte() {
		case 0:
			if i == 0 {
				return out, errBlock
			}
		case 1:
			for w := range mask {
				mask[w] = d.fixed64()
			}
		default:
			return out, errBlock
		}
		out = append(out, flow.Record{})
		r := &out[len(out)-1]
		r.Has = mask
		for w, m := range mask {
			for m != 0 {
				f := w<<6 | bits.TrailingZeros64(m)
				m &= m - 1
				if f >= d.fields {
					return out[:len(out)-1], errBlock
				}
				d.field(f, unsafe.Add(unsafe.Pointer(r), flow.Offsets[f]))
			}
		}
		if d.bad {
			return out[:len(out)-1], errBlock
		}
	}
	if len(d.b) != 0 {
		return out, errBlock
	}
	return out, nil
}

func (d *decoder) field(f int, p unsafe.Pointer) {
	switch flow.Fields[f].Type {
	case flow.TypeU8:
		*(*uint8)(p) = d.byte()
	case flow.TypeU16:
		*(*uint16)(p) = uint16(d.uvarint())
	case flow.TypeU32:
		*(*uint32)(p) = uint32(d.uvarint())
	case flow.TypeU64:
		*(*uint64)(p) = d.uvarint()
	case flow.TypeI32:
		*(*int32)(p) = int32(d.varint())
	case flow.TypeI64:
		*(*int64)(p) = d.varint()
	case flow.TypeBool:
		*(*bool)(p) = d.byte() == 1
	case flow.TypeMillis:
		d.ms += d.varint()
		*(*int64)(p) = d.ms
	case flow.TypeString:
		*(*string)(p) = d.str()
	case flow.TypeAddr:
		*(*netip.Addr)(p) = d.addr()
	default: // flow.TypeUUID
		copy((*flow.UUID)(p)[:], d.take(16))
	}
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	x := d.b[:n]
	d.b = d.b[n:]
	return x
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	x := d.b[0]
	d.b = d.b[1:]
	return x
}

func (d *decoder) fixed64() uint64 {
	x := d.take(8)
	if x == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(x)
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) str() string {
	i := d.uvarint()
	if i > 0 {
		if i > uint64(len(d.dict)) {
			d.bad = true
			return ""
		}
		return d.dict[i-1]
	}
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	x := d.take(int(n))
	s, ok := d.interned[string(x)]
	if !ok {
		s = string(x)
		if d.interned == nil || len(d.interned) >= maxInterned {
			d.interned = map[string]string{}
		}
		d.interned[s] = s
	}
	d.dict = append(d.dict, s)
	return s
}

func (d *decoder) addr() netip.Addr {
	switch d.byte() {
	case 0:
		return netip.Addr{}
	case 4:
		if x := d.take(4); x != nil {
			return netip.AddrFrom4([4]byte(x))
		}
	case 6:
		if x := d.take(16); x != nil {
			return netip.AddrFrom16([16]byte(x))
		}
	case 7:
		if x := d.take(16); x != nil {
			return netip.AddrFrom16([16]byte(x)).WithZone(d.str())
		}
	default:
		d.bad = true
	}
	return netip.Addr{}
}
