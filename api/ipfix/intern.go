package ipfix

import (
	"encoding/binary"
	"math/bits"
)

const (
	minSlots      = 1 << 8
	maxSlots      = 1 << 13
	maxInterned   = 1 << 16
	maxInternLen  = 1 << 10 // longer strings are rare and not kept
	maxInternByte = 8 << 20
)

// interner gives one string for equal bytes, so that a session allocates a name
// once. A direct-mapped cache stands before the table; the table starts over when
// it is full, which bounds memory whatever arrives.
type interner struct {
	cache []string // a power of two of slots
	table map[string]string
	bytes int // of the strings in table
}

func newInterner() interner {
	return interner{cache: make([]string, minSlots), table: map[string]string{}}
}

func (in *interner) get(b []byte) string {
	slot := &in.cache[slotHash(b)&uint64(len(in.cache)-1)]
	if *slot == string(b) {
		return *slot
	}
	return in.miss(b, slot)
}

func (in *interner) miss(b []byte, slot *string) string {
	if len(b) > maxInternLen {
		return string(b)
	}
	v, ok := in.table[string(b)]
	if !ok {
		if len(in.table) >= maxInterned || in.bytes+len(b) > maxInternByte {
			clear(in.table)
			in.bytes = 0
		}
		v = string(b)
		in.table[v] = v
		in.bytes += len(v)
		if n := len(in.cache); len(in.table) > n/2 && n < maxSlots {
			in.cache = make([]string, 4*n)
			slot = &in.cache[slotHash(b)&uint64(len(in.cache)-1)]
		}
	}
	*slot = v
	return v
}

// slotHash mixes a string's length, its ends and its middle. It only picks a slot:
// strings made to collide cost a look into the table, no more.
func slotHash(b []byte) uint64 {
	const k0, k1 = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	n := len(b)
	var x, y uint64
	switch {
	case n > 16:
		x = binary.LittleEndian.Uint64(b) + bits.RotateLeft64(binary.LittleEndian.Uint64(b[n/2-4:]), 23)
		y = binary.LittleEndian.Uint64(b[n-8:])
	case n >= 8:
		x = binary.LittleEndian.Uint64(b)
		y = binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		x = uint64(binary.LittleEndian.Uint32(b))
		y = uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		x = uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
	}
	h, l := bits.Mul64(x^k0^uint64(n), y^k1)
	h ^= l
	return h ^ h>>29
}
