package ipfix

import "hash/maphash"

const (
	cacheSlots  = 4096
	maxInterned = 1 << 16
)

// interner gives one string for equal bytes, so that a session allocates a name
// once. A direct-mapped cache stands before the table; the table starts over when
// it is full, which bounds memory whatever arrives.
type interner struct {
	seed  maphash.Seed
	cache []string
	table map[string]string
}

func newInterner() interner {
	return interner{seed: maphash.MakeSeed(), cache: make([]string, cacheSlots), table: map[string]string{}}
}

func (in *interner) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	slot := &in.cache[maphash.Bytes(in.seed, b)%cacheSlots]
	if *slot == string(b) {
		return *slot
	}
	v, ok := in.table[string(b)]
	if !ok {
		if len(in.table) >= maxInterned {
			clear(in.table)
		}
		v = string(b)
		in.table[v] = v
	}
	*slot = v
	return v
}
