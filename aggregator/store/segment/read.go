package segment

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
)

// ErrCorrupt is wrapped by the error of a file whose bytes are not what was written.
var ErrCorrupt = errors.New("segment is damaged")

// maxRows bounds what a footer may claim of a row group.
const maxRows = 1 << 24

// File is one segment, open for reading. Its methods may be called from any goroutine.
type File struct {
	Meta
	f    *os.File
	size int64
	pq   *parquet.File
	cols [flow.NumFields]int // number of a field's column, from 1
}

// Open reads the footer of a file. An error that is ErrCorrupt says that the file is
// not whole; another that it could not be looked at.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := open(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return s, nil
}

func open(f *os.File) (s *File, err error) {
	defer guard(&err)
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkFooter(f, st.Size()); err != nil {
		return nil, err
	}
	pq, err := parquet.OpenFile(f, st.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	s = &File{f: f, pq: pq, size: st.Size()}
	about, ok := pq.Lookup(metaKey)
	if !ok {
		return nil, fmt.Errorf("%w: its footer does not say which records it has", ErrCorrupt)
	}
	if err := json.Unmarshal([]byte(about), &s.Meta); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	groups := pq.RowGroups()
	if len(groups) != len(s.Groups) {
		return nil, fmt.Errorf("%w: %d row groups, its footer names %d", ErrCorrupt, len(groups), len(s.Groups))
	}
	for i, g := range groups {
		if len(s.Groups[i].Sums) != len(g.ColumnChunks()) {
			return nil, fmt.Errorf("%w: %d checksums for %d columns", ErrCorrupt, len(s.Groups[i].Sums), len(g.ColumnChunks()))
		}
		if g.NumRows() != int64(s.Groups[i].Rows) || s.Groups[i].Rows < 1 || s.Groups[i].Rows > maxRows {
			return nil, fmt.Errorf("%w: row group %d has %d rows, its footer names %d", ErrCorrupt, i, g.NumRows(), s.Groups[i].Rows)
		}
	}
	for i, c := range pq.Root().Columns() {
		f, ok := byColumn[c.Name()]
		if ok && c.Leaf() && format.Type(c.Type().Kind()) == physical(f) {
			s.cols[f] = i + 1
		}
	}
	return s, nil
}

// checkFooter compares the footer with its checksum before anything in it is believed.
func checkFooter(f *os.File, size int64) error {
	var tail [8]byte
	if _, err := f.ReadAt(tail[:], size-8); size < 16 || err != nil {
		return fmt.Errorf("%w: %d bytes are no segment", ErrCorrupt, size)
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(tail[4:]) != magic || n+16 > size {
		return fmt.Errorf("%w: it ends without a footer", ErrCorrupt)
	}
	b := make([]byte, 8+n)
	if _, err := f.ReadAt(b, size-16-n); err != nil {
		return err
	}
	if string(b[:4]) != footerMark || binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return fmt.Errorf("%w: its footer fails its checksum", ErrCorrupt)
	}
	return nil
}

// guard turns a panic of the decoder on damaged bytes into an error.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrCorrupt, p)
	}
}

// Close closes the file.
func (s *File) Close() error { return s.f.Close() }

// Has tells whether the file has a column for a field.
func (s *File) Has(f flow.FieldID) bool { return s.cols[f] > 0 }

// Fields are the fields that have a column.
func (s *File) Fields() (fs []flow.FieldID) {
	for f := range flow.FieldID(flow.NumFields) {
		if s.Has(f) {
			fs = append(fs, f)
		}
	}
	return fs
}

// Rows is the number of records in the file.
func (s *File) Rows() (n int) {
	for _, g := range s.Groups {
		n += g.Rows
	}
	return n
}

// Column reads one column of a row group; nil where the file does not have it.
func (s *File) Column(group int, f flow.FieldID) (c *column.Column, err error) {
	if !s.Has(f) {
		return nil, nil
	}
	defer guard(&err)
	raw, err := s.raw(group, s.cols[f]-1)
	if err != nil {
		return nil, fmt.Errorf("%s: column %s: %w", s.f.Name(), f, err)
	}
	chunk, ok := s.pq.RowGroups()[group].ColumnChunks()[s.cols[f]-1].(*parquet.FileColumnChunk)
	if !ok {
		return nil, fmt.Errorf("%s: column %s: the Parquet library gives a %T", s.f.Name(), f, chunk)
	}
	pages := chunk.PagesFrom(raw)
	defer func() {
		if cerr := pages.Close(); err == nil && cerr != nil {
			err = cerr
		}
	}()
	d := decoder{f: f, rows: s.Groups[group].Rows, c: &column.Column{}, full: true}
	for {
		p, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: column %s: %w: %w", s.f.Name(), f, ErrCorrupt, err)
		}
		err = d.page(p)
		parquet.Release(p)
		if err != nil {
			return nil, fmt.Errorf("%s: column %s: %w: %w", s.f.Name(), f, ErrCorrupt, err)
		}
	}
	if d.n != d.rows {
		return nil, fmt.Errorf("%s: column %s: %w: %d rows of %d", s.f.Name(), f, ErrCorrupt, d.n, d.rows)
	}
	if d.full {
		d.c.Has = nil
	}
	return d.c, nil
}

// window is a part of a file in memory, at the place that it has in the file.
type window struct {
	b  []byte
	at int64
}

// ReadAt implements io.ReaderAt.
func (w *window) ReadAt(p []byte, off int64) (int, error) {
	if off < w.at || off >= w.at+int64(len(w.b)) {
		return 0, io.EOF
	}
	n := copy(p, w.b[off-w.at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// raw reads the bytes of a column and compares them with their checksum.
func (s *File) raw(group, col int) (*window, error) {
	m := &s.pq.Metadata().RowGroups[group].Columns[col].MetaData
	w := &window{at: m.DataPageOffset}
	if m.DictionaryPageOffset > 0 {
		w.at = m.DictionaryPageOffset
	}
	if m.TotalCompressedSize < 0 || m.TotalCompressedSize > s.size {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, m.TotalCompressedSize)
	}
	w.b = make([]byte, m.TotalCompressedSize)
	if _, err := s.f.ReadAt(w.b, w.at); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it is cut short", ErrCorrupt)
		}
		return nil, err
	}
	if crc32.Checksum(w.b, castagnoli) != s.Groups[group].Sums[col] {
		return nil, fmt.Errorf("%w: it fails its checksum", ErrCorrupt)
	}
	return w, nil
}

// chunk reads a column as it stands in the file, with its indexes, for another file.
func (s *File) chunk(group int, f flow.FieldID) (ch *chunk, err error) {
	defer guard(&err)
	raw, err := s.raw(group, s.cols[f]-1)
	if err != nil {
		return nil, fmt.Errorf("%s: column %s: %w", s.f.Name(), f, err)
	}
	col := &s.pq.Metadata().RowGroups[group].Columns[s.cols[f]-1]
	ch = &chunk{pages: raw.b, meta: col.MetaData}
	ch.meta.DataPageOffset -= raw.at
	ch.meta.DictionaryPageOffset = 0
	for _, x := range []struct {
		at int64
		n  int32
		to any
	}{{col.OffsetIndexOffset, col.OffsetIndexLength, &ch.offset}, {col.ColumnIndexOffset, col.ColumnIndexLength, &ch.index}} {
		if x.n == 0 {
			continue
		}
		if x.n < 0 || int64(x.n) > s.size {
			return nil, fmt.Errorf("%s: column %s: %w: an index of %d bytes", s.f.Name(), f, ErrCorrupt, x.n)
		}
		b := make([]byte, x.n)
		if _, err := s.f.ReadAt(b, x.at); err != nil {
			return nil, fmt.Errorf("%s: column %s: %w", s.f.Name(), f, err)
		}
		if err := thrift.Unmarshal(&protocol, b, x.to); err != nil {
			return nil, fmt.Errorf("%s: column %s: %w: %w", s.f.Name(), f, ErrCorrupt, err)
		}
	}
	for i := range ch.offset.PageLocations {
		ch.offset.PageLocations[i].Offset -= raw.at
	}
	return ch, nil
}

// decoder puts the pages of a column into arrays.
type decoder struct {
	f    flow.FieldID
	rows int
	n    int
	full bool // no row is absent so far
	c    *column.Column
	nums []uint64 // the dictionary of numbers
}

func (d *decoder) page(p parquet.Page) error {
	rows := int(p.NumRows())
	if rows < 0 || d.n+rows > d.rows {
		return errors.New("more rows than the footer names")
	}
	has := p.DefinitionLevels()
	if len(has) != 0 && len(has) != rows {
		return fmt.Errorf("%d definition levels for %d rows", len(has), rows)
	}
	if rows > 0 && len(has) == 0 {
		return errors.New("no definition levels")
	}
	d.full = d.full && bytes.IndexByte(has, 0) < 0
	var err error
	if column.KindOf(d.f) == column.Dict {
		err = d.codes(p, has)
	} else {
		err = d.numbers(p, has)
	}
	d.n += rows
	return err
}

func (d *decoder) codes(p parquet.Page, has []byte) error {
	if d.c.Codes == nil {
		d.c.Codes = make([]uint32, d.rows)
	}
	dict := p.Dictionary()
	if dict == nil {
		return errors.New("text without a dictionary")
	}
	if d.c.Dict == nil {
		values := dict.Page().Data()
		text, offsets := values.ByteArray()
		d.c.Dict = make([]string, max(0, len(offsets)-1))
		all := string(text) // one allocation for all
		for i := range d.c.Dict {
			d.c.Dict[i] = all[offsets[i]:offsets[i+1]]
		}
	}
	data := p.Data()
	codes := data.Int32()
	out := d.c.Codes[d.n : d.n+len(has)]
	if len(codes) == len(has) && bytes.IndexByte(has, 0) < 0 { // every row has one
		for i, c := range codes {
			if uint32(c) >= uint32(len(d.c.Dict)) {
				return errCode
			}
			out[i] = uint32(c) + 1
		}
		return nil
	}
	k := 0
	for i, h := range has {
		if h == 0 {
			continue
		}
		if k >= len(codes) || uint32(codes[k]) >= uint32(len(d.c.Dict)) {
			return errCode
		}
		out[i] = uint32(codes[k]) + 1
		k++
	}
	return nil
}

func (d *decoder) numbers(p parquet.Page, has []byte) error {
	if d.c.Nums == nil {
		d.c.Nums, d.c.Has = make([]uint64, d.rows), make([]byte, d.rows)
	}
	copy(d.c.Has[d.n:], has)
	out := d.c.Nums[d.n : d.n+len(has)]
	data := p.Data()
	if dict := p.Dictionary(); dict != nil {
		if d.nums == nil {
			values := dict.Page().Data()
			d.nums = widen(make([]uint64, 0, dict.Len()), &values, d.f)
		}
		return spread(out, has, data.Int32(), func(code int32) (uint64, bool) {
			if uint32(code) >= uint32(len(d.nums)) {
				return 0, false
			}
			return d.nums[code], true
		})
	}
	signed := column.Signed(d.f)
	switch physical(d.f) {
	case format.Boolean:
		bits := data.Boolean()
		k := 0
		for i, h := range has {
			if h == 0 {
				continue
			}
			if k>>3 >= len(bits) {
				return errShort
			}
			out[i] = uint64(bits[k>>3] >> (k & 7) & 1)
			k++
		}
		return nil
	case format.Int64:
		return spread(out, has, data.Int64(), func(v int64) (uint64, bool) { return uint64(v), true })
	default:
		return spread(out, has, data.Int32(), func(v int32) (uint64, bool) {
			if signed {
				return uint64(int64(v)), true
			}
			return uint64(uint32(v)), true
		})
	}
}

// ColumnSize is how many bytes a column of a row group takes in the file.
func (s *File) ColumnSize(group int, f flow.FieldID) int64 {
	if !s.Has(f) {
		return 0
	}
	return s.pq.Metadata().RowGroups[group].Columns[s.cols[f]-1].MetaData.TotalCompressedSize
}
