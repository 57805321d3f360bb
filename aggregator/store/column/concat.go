package column

import "github.com/weirnet/weir/api/flow"

// Concat puts columns of a field behind each other; a nil one stands for rows without a
// value. Texts that several have get one code.
func Concat(f flow.FieldID, cols []*Column, rows []int) *Column {
	total := 0
	for _, n := range rows {
		total += n
	}
	out := &Column{}
	at := 0
	if KindOf(f) == Num {
		out.Nums, out.Has = make([]uint64, total), make([]byte, total)
		for i, c := range cols {
			if c != nil {
				copy(out.Nums[at:], c.Nums)
				if c.Has == nil {
					for k := range rows[i] {
						out.Has[at+k] = 1
					}
				}
				copy(out.Has[at:], c.Has)
			}
			at += rows[i]
		}
		return out
	}
	out.Codes = make([]uint32, total)
	code := map[string]uint32{}
	for i, c := range cols {
		if c != nil {
			remap := make([]uint32, len(c.Dict)+1)
			for k, s := range c.Dict {
				n, ok := code[s]
				if !ok {
					out.Dict = append(out.Dict, s)
					n = uint32(len(out.Dict))
					code[s] = n
				}
				remap[k+1] = n
			}
			for k, v := range c.Codes {
				out.Codes[at+k] = remap[v]
			}
		}
		at += rows[i]
	}
	return out
}
