package rollup

// index numbers keys in the order in which they come.
type index struct {
	slots []slot
	n     int32
}

type slot struct {
	key    uint64
	number int32 // from 1
}

const firstSlots = 1 << 12

// of gives the number of a key, from 0, and whether it was there before.
func (x *index) of(key uint64) (number int32, was bool) {
	if 3*int(x.n) >= 2*len(x.slots) {
		x.grow()
	}
	s := x.find(key)
	if s.number != 0 {
		return s.number - 1, true
	}
	x.n++
	*s = slot{key, x.n}
	return x.n - 1, false
}

func (x *index) find(key uint64) *slot {
	h := key * 0x9E3779B97F4A7C15
	mask := uint64(len(x.slots) - 1)
	for i := (h ^ h>>32) & mask; ; i = (i + 1) & mask {
		if s := &x.slots[i]; s.number == 0 || s.key == key {
			return s
		}
	}
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]slot, max(firstSlots, 4*len(old)))
	for _, s := range old {
		if s.number != 0 {
			*x.find(s.key) = s
		}
	}
}
