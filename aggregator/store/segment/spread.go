package segment

import (
	"errors"

	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
)

// spread puts the values of a page, which has none for absent rows, at their rows.
func spread[T int32 | int64](out []uint64, has []byte, values []T, conv func(T) (uint64, bool)) error {
	k := 0
	for i, h := range has {
		if h == 0 {
			continue
		}
		if k >= len(values) {
			return errors.New("fewer values than rows that have one")
		}
		v, ok := conv(values[k])
		if !ok {
			return errors.New("a code without a value")
		}
		out[i] = v
		k++
	}
	return nil
}

// widen appends the values of a dictionary of numbers.
func widen(out []uint64, values *encoding.Values, f flow.FieldID) []uint64 {
	if physical(f) == format.Int64 {
		for _, v := range values.Int64() {
			out = append(out, uint64(v))
		}
		return out
	}
	for _, v := range values.Int32() {
		if column.Signed(f) {
			out = append(out, uint64(int64(v)))
		} else {
			out = append(out, uint64(uint32(v)))
		}
	}
	return out
}
