package column

import (
	"math/bits"
	"net/netip"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
)

// atOnce is how many records are taken apart together, a field at a time: so few that they
// stay in the nearest cache, so many that choosing what to do with a field costs little.
const atOnce = 32

// Add appends one record.
func (b *Builder) Add(r *flow.Record) {
	b.one[0] = r
	b.AddAll(b.one[:])
	b.one[0] = nil
}

// AddAll appends records.
func (b *Builder) AddAll(recs []*flow.Record) {
	for len(recs) > 0 {
		if b.block.Rows == b.room {
			b.grow()
		}
		n := min(len(recs), atOnce, b.room-b.block.Rows)
		b.add(recs[:n])
		recs = recs[n:]
	}
}

// add appends records for which there is room.
func (b *Builder) add(recs []*flow.Record) {
	var some flow.Mask
	every := recs[0].Has
	lo, hi := b.block.Min, b.block.Max
	for _, r := range recs {
		for w := range some {
			some[w] |= r.Has[w]
			every[w] &= r.Has[w]
		}
		from, to := Interval(r)
		lo, hi = min(lo, from), max(hi, to)
	}
	for w, m := range some {
		for m != 0 {
			f := flow.FieldID(w<<6 | bits.TrailingZeros64(m))
			m &= m - 1
			if int(f) < flow.NumFields {
				b.field(f, recs, every.Has(f))
			}
		}
	}
	b.block.Min, b.block.Max = lo, hi
	b.block.Rows += len(recs)
}

// field appends the values of one field; every says that each record has one.
func (b *Builder) field(f flow.FieldID, recs []*flow.Record, every bool) {
	c := b.block.Cols[f]
	if c == nil {
		if c = b.open(f); c == nil {
			return
		}
	}
	from, to := b.block.Rows, b.block.Rows+len(recs)
	if kinds[f] == Dict {
		b.codes(f, c.Codes[from:to], recs, every)
		return
	}
	nums, has := c.Nums[from:to], c.Has[from:to]
	if !every {
		for k, r := range recs {
			if r.Has.Has(f) {
				number(f, nums[k:k+1], recs[k:k+1])
				has[k] = 1
			}
		}
		return
	}
	number(f, nums, recs)
	for k := range has {
		has[k] = 1
	}
}

// number reads the 64 bits of a field's numbers.
func number(f flow.FieldID, nums []uint64, recs []*flow.Record) {
	switch flow.Fields[f].Type {
	case flow.TypeU64, flow.TypeI64, flow.TypeMillis:
		read[uint64](f, nums, recs)
	case flow.TypeU32:
		read[uint32](f, nums, recs)
	case flow.TypeU16:
		read[uint16](f, nums, recs)
	case flow.TypeI32:
		read[int32](f, nums, recs)
	default: // flow.TypeU8, flow.TypeBool
		read[uint8](f, nums, recs)
	}
}

func read[T uint64 | uint32 | uint16 | uint8 | int32](f flow.FieldID, nums []uint64, recs []*flow.Record) {
	off := flow.Offsets[f]
	for k, r := range recs {
		nums[k] = uint64(*(*T)(unsafe.Add(unsafe.Pointer(r), off)))
	}
}

// codes gives the values of a field that has a dictionary.
func (b *Builder) codes(f flow.FieldID, out []uint32, recs []*flow.Record, every bool) {
	k, off := b.coders[f], flow.Offsets[f]
	switch flow.Fields[f].Type {
	case flow.TypeString:
		for i, r := range recs {
			if every || r.Has.Has(f) {
				out[i] = b.textCode(k, *(*string)(unsafe.Add(unsafe.Pointer(r), off)))
			}
		}
	case flow.TypeAddr:
		for i, r := range recs {
			if every || r.Has.Has(f) {
				out[i] = b.addrCode(k, (*netip.Addr)(unsafe.Add(unsafe.Pointer(r), off)), f, r)
			}
		}
	case flow.TypeUUID:
		for i, r := range recs {
			if every || r.Has.Has(f) {
				out[i] = b.uuidCode(k, *(*flow.UUID)(unsafe.Add(unsafe.Pointer(r), off)), f, r)
			}
		}
	default: // an enum
		for i, r := range recs {
			if !every && !r.Has.Has(f) {
				continue
			}
			w := &k.words[*(*uint8)(unsafe.Add(unsafe.Pointer(r), off))]
			if *w == 0 {
				*w = b.learn(k, b.text(f, r))
			}
			out[i] = *w
		}
	}
}

func (b *Builder) textCode(k *coder, s string) uint32 {
	at := unsafe.StringData(s)
	e := &k.recentText[uint64(uintptr(unsafe.Pointer(at)))*0x9E3779B97F4A7C15>>(64-recentBits)]
	if e.at == at && int(e.size) == len(s) && e.code != 0 {
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
	e.at, e.size, e.code = at, uint32(len(s)), code
	return code
}

func (b *Builder) addrCode(k *coder, a *netip.Addr, f flow.FieldID, r *flow.Record) uint32 {
	// The second word of an Addr is the end of its address. It only finds a place: that
	// the address is the same is asked of the whole.
	low := *(*uint64)(unsafe.Add(unsafe.Pointer(a), 8))
	e := &k.recentAddr[low*0x9E3779B97F4A7C15>>(64-recentBits)]
	if e.code != 0 && e.addr == *a {
		return e.code
	}
	code, ok := k.addr[*a]
	if !ok {
		if k.addr == nil {
			k.addr = map[netip.Addr]uint32{}
		}
		code = b.learn(k, b.text(f, r))
		k.addr[*a] = code
	}
	e.addr, e.code = *a, code
	return code
}

func (b *Builder) uuidCode(k *coder, u flow.UUID, f flow.FieldID, r *flow.Record) uint32 {
	code, ok := k.uuid[u]
	if !ok {
		if k.uuid == nil {
			k.uuid = map[flow.UUID]uint32{}
		}
		code = b.learn(k, b.text(f, r))
		k.uuid[u] = code
	}
	return code
}
