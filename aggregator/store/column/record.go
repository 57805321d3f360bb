package column

import (
	"fmt"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
)

// Record writes row i into r, which it clears first. Of fields, only those that the
// row has are set; nil takes all.
func (b *Block) Record(i int, fields []flow.FieldID, r *flow.Record) error {
	*r = flow.Record{}
	if fields == nil {
		for f := range flow.FieldID(flow.NumFields) {
			if err := b.set(i, f, r); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range fields {
		if err := b.set(i, f, r); err != nil {
			return err
		}
	}
	return nil
}

func (b *Block) set(i int, f flow.FieldID, r *flow.Record) error {
	c := b.Cols[f]
	if c == nil || !c.Present(i) {
		return nil
	}
	if c.Codes == nil {
		SetNumber(r, f, c.Nums[i])
		return nil
	}
	s := c.Dict[c.Codes[i]-1]
	if flow.Fields[f].Type == flow.TypeString {
		*(*string)(unsafe.Add(unsafe.Pointer(r), flow.Offsets[f])) = s
		r.Has.Set(f)
		return nil
	}
	if err := r.SetText(f, s); err != nil {
		return fmt.Errorf("row %d: %w", i, err)
	}
	return nil
}

// SetNumber writes the 64 bits of a number into a field of kind Num and marks it present.
func SetNumber(r *flow.Record, f flow.FieldID, v uint64) {
	p := unsafe.Add(unsafe.Pointer(r), flow.Offsets[f])
	switch flow.Fields[f].Type {
	case flow.TypeU64, flow.TypeI64, flow.TypeMillis:
		*(*uint64)(p) = v
	case flow.TypeU32, flow.TypeI32:
		*(*uint32)(p) = uint32(v)
	case flow.TypeU16:
		*(*uint16)(p) = uint16(v)
	case flow.TypeBool:
		*(*bool)(p) = v != 0
	default:
		*(*uint8)(p) = uint8(v)
	}
	r.Has.Set(f)
}
