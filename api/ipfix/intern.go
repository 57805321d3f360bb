package ipfix

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	minSlots      = 1 << 8
	maxSlots      = 1 << 13
	maxInterned   = 1 << 16
	maxInternLen  = 1 << 10 // longer strings are rare and not kept
	maxInternByte = 8 << 20
)

// interner gives one string for equal bytes, so that a session allocates a name
// once. A cache of two ways stands before the table; the table starts over when
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
	if len(b) == 0 {
		return ""
	}
	return in.lookup(unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

// lookup finds the n > 0 bytes at p. Up to 24 bytes the words that make the hash are
// the whole of the string (they overlap), so they serve to compare as well.
func (in *interner) lookup(p unsafe.Pointer, n int) string {
	if n > 24 {
		if n <= 32 {
			return in.lookupFour(p, n)
		}
		return in.lookupLong(p, n)
	}
	w := wordsOf(p, n)
	h := w.hash(n)
	ways := in.ways(h)
	if v := ways[0]; len(v) == n && wordsOf(unsafe.Pointer(unsafe.StringData(v)), n) == w {
		return v
	}
	if v := ways[1]; len(v) == n && wordsOf(unsafe.Pointer(unsafe.StringData(v)), n) == w {
		return v
	}
	return in.miss(unsafe.Slice((*byte)(p), n), h)
}

// lookupFour is lookup of 25 to 32 bytes, such as the names of nodes and pods. Four
// words are the whole of them; none waits for another to be hashed.
func (in *interner) lookupFour(p unsafe.Pointer, n int) string {
	a, b, c, d := load64(p, 0), load64(p, 8), load64(p, n-16), load64(p, n-8)
	h1, l1 := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd6e8feb86659fd93^uint64(n))
	h2, l2 := bits.Mul64(c^0xa0761d6478bd642f, d^0xe7037ed1a0b428db)
	h := h1 ^ l1 ^ bits.RotateLeft64(h2^l2, 17)
	h ^= h >> 29
	ways := in.ways(h)
	for i := range ways {
		v := ways[i]
		if len(v) != n {
			continue
		}
		q := unsafe.Pointer(unsafe.StringData(v))
		if (load64(q, 0)^a)|(load64(q, 8)^b)|(load64(q, n-16)^c)|(load64(q, n-8)^d) == 0 {
			return v
		}
	}
	return in.miss(unsafe.Slice((*byte)(p), n), h)
}

// lookupLong hashes every word: long names differ in one character in the middle,
// and would else share their two slots.
func (in *interner) lookupLong(p unsafe.Pointer, n int) string {
	h := hashLong(p, n)
	ways := in.ways(h)
	for i := range ways {
		if v := ways[i]; len(v) == n && v == unsafe.String((*byte)(p), n) {
			return v
		}
	}
	return in.miss(unsafe.Slice((*byte)(p), n), h)
}

func hashLong(p unsafe.Pointer, n int) uint64 {
	h := load64(p, n-8) ^ uint64(n)
	for o := 0; o < n-8; o += 8 {
		h = (bits.RotateLeft64(h, 23) ^ load64(p, o)) * 0x9e3779b97f4a7c15
	}
	return h ^ h>>29
}

// ways gives the two slots of a hash: neighbours on one cache line.
func (in *interner) ways(h uint64) *[2]string {
	i := h & uint64(len(in.cache)-2)
	return (*[2]string)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(in.cache)), uintptr(i)*unsafe.Sizeof("")))
}

// words are the first, middle and last bytes of a string.
type words struct{ first, mid, last uint64 }

func wordsOf(p unsafe.Pointer, n int) words {
	switch {
	case n >= 8:
		return words{load64(p, 0), load64(p, n/2-4), load64(p, n-8)}
	case n >= 4:
		return words{uint64(load32(p, 0)), 0, uint64(load32(p, n-4))}
	default:
		b := unsafe.Slice((*byte)(p), n)
		return words{uint64(b[0]) | uint64(b[n/2])<<8, 0, uint64(b[n-1])}
	}
}

func load64(p unsafe.Pointer, o int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(p, o))[:])
}

func load32(p unsafe.Pointer, o int) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(p, o))[:])
}

// hash only picks a slot: strings made to collide cost a look into the table, no more.
func (w words) hash(n int) uint64 {
	const k0, k1 = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	h, l := bits.Mul64(w.first^k0^uint64(n), (w.last+bits.RotateLeft64(w.mid, 23))^k1)
	h ^= l
	return h ^ h>>29
}

func (in *interner) miss(b []byte, h uint64) string {
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
		if n := len(in.cache); len(in.table) > n/4 && n < maxSlots {
			in.cache = make([]string, 2*n)
		}
	}
	ways := in.ways(h)
	ways[1], ways[0] = ways[0], v
	return v
}
