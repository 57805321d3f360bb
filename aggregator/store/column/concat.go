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

// Gather gives the rows of a column of a field, in that order. Its dictionary has what
// these rows use.
func Gather(c *Column, rows []int32) *Column {
	if c == nil {
		return nil
	}
	out := &Column{}
	if c.Codes == nil {
		out.Nums = make([]uint64, len(rows))
		for k, i := range rows {
			out.Nums[k] = c.Nums[i]
		}
		if c.Has != nil {
			out.Has = make([]byte, len(rows))
			for k, i := range rows {
				out.Has[k] = c.Has[i]
			}
		}
		return out
	}
	out.Codes = make([]uint32, len(rows))
	remap := make([]uint32, len(c.Dict)+1)
	for k, i := range rows {
		code := c.Codes[i]
		if code == 0 {
			continue
		}
		if remap[code] == 0 {
			out.Dict = append(out.Dict, c.Dict[code-1])
			remap[code] = uint32(len(out.Dict))
		}
		out.Codes[k] = remap[code]
	}
	return out
}

// Gather gives the rows of a block, in that order.
func (b *Block) Gather(rows []int32) *Block {
	out := &Block{Rows: len(rows)}
	out.Min, out.Max = emptyTime()
	for f, c := range b.Cols {
		out.Cols[f] = Gather(c, rows)
	}
	since, end := out.Cols[flow.FSince], out.Cols[flow.FEnd]
	for i := range rows {
		var e, s int64
		if end != nil && end.Present(i) {
			e = int64(end.Nums[i])
		}
		if s = e; since != nil && since.Present(i) {
			s = min(e, int64(since.Nums[i]))
		}
		out.Min, out.Max = min(out.Min, s), max(out.Max, e)
	}
	return out
}
