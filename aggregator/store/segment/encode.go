package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
)

// pageRows are the most rows of a page.
const pageRows = 1 << 16

var (
	protocol thrift.CompactProtocol
	levels   = rle.Encoding{BitWidth: 1}
)

// chunk is an encoded column of one row group: its pages, and what the footer says of
// them. Offsets count from the chunk's beginning until it is placed.
type chunk struct {
	pages  []byte
	sum    uint32
	meta   format.ColumnMetaData
	offset format.OffsetIndex
	index  format.ColumnIndex
}

// encoder turns columns into chunks; its buffers are used again. One goroutine each.
type encoder struct {
	codes  []int32
	nums32 []int32
	nums64 []int64
	level  []byte
	bools  []byte
	levels []byte // encoded
	values []byte // encoded
	body   []byte // levels and values
	packed []byte // compressed
	header bytes.Buffer
	seen   distinct // the dictionary of numbers
	dict   bool     // the column has one
}

// column encodes rows of a field; nil is a column without a value.
func (e *encoder) column(f flow.FieldID, c *column.Column, rows int) (*chunk, error) {
	ch := &chunk{}
	ch.meta = format.ColumnMetaData{
		Type: physical(f), PathInSchema: []string{ColumnName(f)}, Codec: format.Zstd, NumValues: int64(rows),
		Encoding: []format.Encoding{format.RLE},
	}
	if c == nil {
		c = &column.Column{Codes: make([]uint32, rows)}
		if column.KindOf(f) == column.Num {
			c = &column.Column{Nums: make([]uint64, rows), Has: make([]byte, rows)}
		}
	}
	var err error
	e.dict = false
	switch {
	case c.Codes != nil:
		err = e.textDict(ch, c.Dict)
	case physical(f) != format.Boolean:
		if e.dict = e.seen.read(c); e.dict {
			err = e.numDict(ch, f, e.seen.list)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", f, err)
	}
	ch.meta.DataPageOffset = int64(len(ch.pages))
	for from := 0; from < rows; from += pageRows {
		if err := e.page(ch, f, c, from, min(rows, from+pageRows)); err != nil {
			return nil, fmt.Errorf("column %s: %w", f, err)
		}
	}
	ch.finish(f)
	return ch, nil
}

func (e *encoder) textDict(ch *chunk, dict []string) error {
	b := e.body[:0]
	for _, s := range dict {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	e.body = b
	return e.dictPage(ch, len(dict))
}

func (e *encoder) numDict(ch *chunk, f flow.FieldID, nums []uint64) error {
	b := e.body[:0]
	for _, v := range nums {
		b = appendPlain(b, f, v)
	}
	e.body = b
	return e.dictPage(ch, len(nums))
}

// appendPlain writes a number as Parquet's PLAIN encoding and its statistics do.
func appendPlain(b []byte, f flow.FieldID, v uint64) []byte {
	switch physical(f) {
	case format.Boolean:
		return append(b, byte(v))
	case format.Int64:
		return binary.LittleEndian.AppendUint64(b, v)
	default:
		return binary.LittleEndian.AppendUint32(b, uint32(v))
	}
}

func (e *encoder) dictPage(ch *chunk, n int) error {
	ch.meta.Encoding = append(ch.meta.Encoding, format.Plain)
	h := format.PageHeader{
		Type:                 format.DictionaryPage,
		DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(n), Encoding: format.Plain}),
	}
	_, err := e.put(ch, &h)
	return err
}

// page encodes rows from..to.
func (e *encoder) page(ch *chunk, f flow.FieldID, c *column.Column, from, to int) error {
	st := stat{}
	var enc format.Encoding
	var err error
	e.level = slices.Grow(e.level[:0], to-from)[:to-from]
	switch {
	case c.Codes != nil:
		enc = format.RLEDictionary
		st = e.textCodes(c, from, to)
		e.values, err = parquet.RLEDictionary.EncodeInt32(e.values, e.codes)
	default:
		enc, st, err = e.numbers(f, c, from, to)
	}
	if err != nil {
		return err
	}
	if e.levels, err = levels.EncodeLevels(e.levels, e.level); err != nil {
		return err
	}
	b := binary.LittleEndian.AppendUint32(e.body[:0], uint32(len(e.levels)))
	b = append(b, e.levels...)
	e.body = append(b, e.values...)
	if !slices.Contains(ch.meta.Encoding, enc) {
		ch.meta.Encoding = append(ch.meta.Encoding, enc)
	}
	h := format.PageHeader{Type: format.DataPage, DataPageHeader: thrift.New(format.DataPageHeader{
		NumValues: int32(to - from), Encoding: enc, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
	})}
	at := len(ch.pages)
	size, err := e.put(ch, &h)
	if err != nil {
		return err
	}
	ch.offset.PageLocations = append(ch.offset.PageLocations, format.PageLocation{
		Offset: int64(at), CompressedPageSize: int32(size), FirstRowIndex: int64(from),
	})
	st.into(ch, f)
	return nil
}

// textCodes gathers the codes of the rows that have a value.
func (e *encoder) textCodes(c *column.Column, from, to int) (st stat) {
	codes := e.codes[:0]
	used := make([]bool, len(c.Dict))
	for i, code := range c.Codes[from:to] {
		if code == 0 {
			e.level[i] = 0
			st.nulls++
			continue
		}
		e.level[i] = 1
		used[code-1] = true
		codes = append(codes, int32(code-1))
	}
	e.codes = codes
	for i, u := range used {
		if !u {
			continue
		}
		s := c.Dict[i]
		if !st.any {
			st.loText, st.hiText, st.any = s, s, true
			continue
		}
		st.loText, st.hiText = min(st.loText, s), max(st.hiText, s)
	}
	return st
}

func (e *encoder) numbers(f flow.FieldID, c *column.Column, from, to int) (enc format.Encoding, st stat, err error) {
	signed, wide := column.Signed(f), physical(f) == format.Int64
	codes, n32, n64, bools := e.codes[:0], e.nums32[:0], e.nums64[:0], e.bools[:0]
	bit := physical(f) == format.Boolean
	n := 0
	for i, v := range c.Nums[from:to] {
		if c.Has != nil && c.Has[from+i] == 0 {
			e.level[i] = 0
			st.nulls++
			continue
		}
		e.level[i] = 1
		st.number(v, signed)
		switch {
		case bit:
			if n&7 == 0 {
				bools = append(bools, 0)
			}
			bools[n>>3] |= byte(v&1) << (n & 7)
		case e.dict:
			codes = append(codes, e.seen.codes[from+i])
		case wide:
			n64 = append(n64, int64(v))
		default:
			n32 = append(n32, int32(uint32(v)))
		}
		n++
	}
	e.codes, e.nums32, e.nums64, e.bools = codes, n32, n64, bools
	switch {
	case bit:
		e.values = append(e.values[:0], bools...)
		return format.Plain, st, nil
	case e.dict:
		e.values, err = parquet.RLEDictionary.EncodeInt32(e.values, codes)
		return format.RLEDictionary, st, err
	case f == flow.FConnID: // random bits: nothing to gain
		e.values = e.values[:0]
		for _, v := range n64 {
			e.values = binary.LittleEndian.AppendUint64(e.values, uint64(v))
		}
		return format.Plain, st, nil
	case wide:
		e.values, err = parquet.DeltaBinaryPacked.EncodeInt64(e.values, n64)
	default:
		e.values, err = parquet.DeltaBinaryPacked.EncodeInt32(e.values, n32)
	}
	return format.DeltaBinaryPacked, st, err
}

// put compresses e.body and appends it to the chunk behind its header. It gives the size of
// both.
func (e *encoder) put(ch *chunk, h *format.PageHeader) (int, error) {
	var err error
	if e.packed, err = parquet.Zstd.Encode(e.packed, e.body); err != nil {
		return 0, err
	}
	if len(e.body) > math.MaxInt32 || len(e.packed) > math.MaxInt32 {
		return 0, fmt.Errorf("a page of %d bytes is too large for the format", len(e.body))
	}
	h.UncompressedPageSize, h.CompressedPageSize = int32(len(e.body)), int32(len(e.packed))
	h.CRC = int32(crc32.ChecksumIEEE(e.packed))
	e.header.Reset()
	if err := thrift.NewEncoder(protocol.NewWriter(&e.header)).Encode(h); err != nil {
		return 0, err
	}
	ch.pages = append(ch.pages, e.header.Bytes()...)
	ch.pages = append(ch.pages, e.packed...)
	ch.meta.TotalUncompressedSize += int64(e.header.Len() + len(e.body))
	size := e.header.Len() + len(e.packed)
	ch.meta.TotalCompressedSize += int64(size)
	return size, nil
}

// stat is what the index says of one page.
type stat struct {
	nulls          int64
	any            bool
	lo, hi         uint64
	loText, hiText string
}

func (s *stat) number(v uint64, signed bool) {
	switch {
	case !s.any:
		s.lo, s.hi, s.any = v, v, true
	case signed:
		if int64(v) < int64(s.lo) {
			s.lo = v
		}
		if int64(v) > int64(s.hi) {
			s.hi = v
		}
	default:
		s.lo, s.hi = min(s.lo, v), max(s.hi, v)
	}
}

// shortText bounds the text in the index; longer ones leave a page without bounds.
const shortText = 64

func (s *stat) into(ch *chunk, f flow.FieldID) {
	x := &ch.index
	x.NullPages = append(x.NullPages, !s.any)
	x.NullCounts = append(x.NullCounts, s.nulls)
	var lo, hi []byte
	switch {
	case !s.any:
	case column.KindOf(f) == column.Dict:
		lo, hi = []byte(s.loText), []byte(s.hiText)
	default:
		lo, hi = appendPlain(nil, f, s.lo), appendPlain(nil, f, s.hi)
	}
	x.MinValues, x.MaxValues = append(x.MinValues, lo), append(x.MaxValues, hi)
}

// finish sums the pages up for the row group's statistics.
func (ch *chunk) finish(f flow.FieldID) {
	st := &ch.meta.Statistics
	signed := column.Signed(f)
	less := func(a, b []byte) bool {
		if column.KindOf(f) == column.Dict {
			return bytes.Compare(a, b) < 0
		}
		x, y := plainBits(a, signed), plainBits(b, signed)
		if signed {
			return int64(x) < int64(y)
		}
		return x < y
	}
	long := false
	for i := range ch.index.NullPages {
		st.NullCount += ch.index.NullCounts[i]
		if ch.index.NullPages[i] {
			continue
		}
		lo, hi := ch.index.MinValues[i], ch.index.MaxValues[i]
		long = long || len(lo) > shortText || len(hi) > shortText
		if st.MinValue == nil || less(lo, st.MinValue) {
			st.MinValue = lo
		}
		if st.MaxValue == nil || less(st.MaxValue, hi) {
			st.MaxValue = hi
		}
	}
	ch.index.BoundaryOrder = format.Unordered
	if long {
		st.MinValue, st.MaxValue = nil, nil
		ch.index = format.ColumnIndex{}
	}
}

// plainBits reads back what appendPlain wrote.
func plainBits(b []byte, signed bool) uint64 {
	switch {
	case len(b) == 8:
		return binary.LittleEndian.Uint64(b)
	case len(b) == 4 && signed:
		return uint64(int64(int32(binary.LittleEndian.Uint32(b))))
	case len(b) == 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case len(b) == 1:
		return uint64(b[0])
	}
	return 0
}
