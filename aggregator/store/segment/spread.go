package segment

import (
	"bytes"
	"errors"

	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
)

var (
	errShort = errors.New("fewer values than rows that have one")
	errCode  = errors.New("a code without a value")
)

// spread puts the values of a page, which has none for absent rows, at their rows.
func spread[T int32 | int64](out []uint64, has []byte, values []T, conv func(T) (uint64, bool)) error {
	if bytes.IndexByte(has, 0) < 0 { // every row has one
		if len(values) < len(out) {
			return errShort
		}
		for i, v := range values[:len(out)] {
			n, ok := conv(v)
			if !ok {
				return errCode
			}
			out[i] = n
		}
		return nil
	}
	k := 0
	for i, h := range has {
		if h == 0 {
			continue
		}
		if k >= len(values) {
			return errShort
		}
		v, ok := conv(values[k])
		if !ok {
			return errCode
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
