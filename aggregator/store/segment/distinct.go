package segment

import (
	"slices"

	"github.com/weirnet/weir/aggregator/store/column"
)

// fewNumbers is up to how many distinct numbers a column gets a dictionary.
const fewNumbers = 1 << 12

// distinct finds the distinct numbers of a column.
type distinct struct {
	list  []uint64              // in the order in which they came
	codes []int32               // of each row that has a number, its place in list
	slots [4 * fewNumbers]int32 // places in list, from 1, by hash
}

// read tells whether a column has so few that they are worth a dictionary.
func (d *distinct) read(c *column.Column) bool {
	clear(d.slots[:])
	d.list = d.list[:0]
	d.codes = slices.Grow(d.codes[:0], len(c.Nums))[:len(c.Nums)]
	limit := min(fewNumbers, max(2, len(c.Nums)/8))
	var last uint64
	var code int32
	for i, v := range c.Nums {
		if c.Has != nil && c.Has[i] == 0 {
			continue
		}
		if len(d.list) == 0 || v != last {
			if code = d.code(v, limit); code < 0 {
				return false
			}
			last = v
		}
		d.codes[i] = code
	}
	return true
}

// code is the place of a number in the list; below 0 where there is no room for it.
func (d *distinct) code(v uint64, limit int) int32 {
	const bits, mask = 14, 4*fewNumbers - 1
	for at := v * 0x9E3779B97F4A7C15 >> (64 - bits); ; at = (at + 1) & mask {
		n := d.slots[at]
		switch {
		case n == 0 && len(d.list) == limit:
			return -1
		case n == 0:
			d.list = append(d.list, v)
			d.slots[at] = int32(len(d.list))
			return int32(len(d.list)) - 1
		case d.list[n-1] == v:
			return n - 1
		}
	}
}
