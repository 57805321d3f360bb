package segment

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
)

const magic = "PAR1"

// Meta is what a file says of itself beside its columns.
type Meta struct {
	Spool   string  `json:"spool"` // ID of the spool that From and To count in
	From    uint64  `json:"from"`  // position of the first record
	To      uint64  `json:"to"`    // position behind the last one
	Groups  []Group `json:"groups"`
	Grouped bool    `json:"grouped,omitempty"` // its groups of kinds Groups and Sole stand for all of kind Sole of a segment
	Again   int     `json:"again,omitempty"`   // records of connections of which an older one may be in a group of kind Sole
}

// Kind says what the rows of a row group are.
type Kind uint8

// The kinds.
const (
	Rows   Kind = iota // records of connections that may have others
	Sole               // records that are the only one of their connection
	Groups             // sums over records of kind Sole within a minute, see Weight
)

// Weight is the field that holds, in row groups of kind Groups, how many connections a row
// stands for.
const Weight = flow.FSeq

// Group is the time that the records of a row group speak of, in ms, both inclusive.
type Group struct {
	Min  int64 `json:"min"`
	Max  int64 `json:"max"`
	Rows int   `json:"rows"`
	Kind Kind  `json:"kind,omitempty"`
	// Sums are the CRC-32C of each column's bytes, in the order of the file's columns:
	// Parquet's own checksums leave the headers of pages out.
	Sums []uint32 `json:"sums"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// footerMark stands, with the CRC-32C of the footer, before the footer.
const footerMark = "WEIR"

// metaKey is the key of Meta in the file's metadata.
const metaKey = "weir"

// Writer writes one file, row group after row group.
type Writer struct {
	w      *bufio.Writer
	at     int64
	fields []flow.FieldID
	meta   Meta
	groups []format.RowGroup
	chunks [][]*chunk // kept for the indexes; without pages
	enc    encoder
	cur    []*chunk
	err    error
}

// NewWriter begins a file with columns for fields, in the table's order.
func NewWriter(w io.Writer, fields []flow.FieldID) (*Writer, error) {
	fields = slices.Clone(fields)
	slices.Sort(fields)
	fields = slices.DeleteFunc(slices.Compact(fields), func(f flow.FieldID) bool { return column.KindOf(f) == column.None })
	if len(fields) == 0 {
		return nil, errors.New("segment: no columns")
	}
	s := &Writer{w: bufio.NewWriterSize(w, 1<<20), fields: fields}
	s.write([]byte(magic))
	return s, s.err
}

// Fields are the columns of the file.
func (s *Writer) Fields() []flow.FieldID { return s.fields }

func (s *Writer) write(b []byte) {
	if s.err != nil {
		return
	}
	n, err := s.w.Write(b)
	s.at += int64(n)
	s.err = err
}

// WriteBlock writes a block as one row group, its columns encoded by workers goroutines.
func (s *Writer) WriteBlock(b *column.Block, kind Kind, workers int) error {
	chunks := make([]*chunk, len(s.fields))
	errs := make([]error, len(s.fields))
	var wg sync.WaitGroup
	next := make(chan int)
	for range max(1, workers) {
		wg.Go(func() {
			var e encoder
			for i := range next {
				f := s.fields[i]
				chunks[i], errs[i] = e.column(f, b.Cols[f], b.Rows)
			}
		})
	}
	for i := range s.fields {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, ch := range chunks {
		s.place(ch)
	}
	return s.EndGroup(Group{Min: b.Min, Max: b.Max, Rows: b.Rows, Kind: kind})
}

// WriteColumn encodes the next column of the row group that is being written: a caller
// that has little memory gives one column at a time, in the order of Fields.
func (s *Writer) WriteColumn(c *column.Column, rows int) error {
	if len(s.cur) == len(s.fields) {
		return errors.New("segment: the row group has all its columns")
	}
	ch, err := s.enc.column(s.fields[len(s.cur)], c, rows)
	if err != nil {
		return err
	}
	s.place(ch)
	return s.err
}

// CopyColumn takes the next column of the row group that is being written from another
// file as it is there.
func (s *Writer) CopyColumn(from *File, group int) error {
	if len(s.cur) == len(s.fields) {
		return errors.New("segment: the row group has all its columns")
	}
	f := s.fields[len(s.cur)]
	if !from.Has(f) {
		return s.WriteColumn(nil, from.Groups[group].Rows)
	}
	ch, err := from.chunk(group, f)
	if err != nil {
		return err
	}
	s.place(ch)
	return s.err
}

// place writes a chunk's pages and turns its offsets into the file's.
func (s *Writer) place(ch *chunk) {
	base := s.at
	ch.sum = crc32.Checksum(ch.pages, castagnoli)
	s.write(ch.pages)
	if ch.meta.DataPageOffset > 0 {
		ch.meta.DictionaryPageOffset = base
	}
	ch.meta.DataPageOffset += base
	for i := range ch.offset.PageLocations {
		ch.offset.PageLocations[i].Offset += base
	}
	ch.pages = nil
	s.cur = append(s.cur, ch)
}

// EndGroup ends a row group.
func (s *Writer) EndGroup(g Group) error {
	if s.err != nil {
		return s.err
	}
	if len(s.cur) != len(s.fields) {
		return fmt.Errorf("segment: %d columns of %d", len(s.cur), len(s.fields))
	}
	g.Sums = nil
	rg := format.RowGroup{NumRows: int64(g.Rows), Ordinal: int16(len(s.groups))}
	for _, ch := range s.cur {
		if ch.meta.NumValues != int64(g.Rows) {
			return fmt.Errorf("segment: column %s has %d rows of %d", ch.meta.PathInSchema[0], ch.meta.NumValues, g.Rows)
		}
		g.Sums = append(g.Sums, ch.sum)
		rg.Columns = append(rg.Columns, format.ColumnChunk{MetaData: ch.meta})
		rg.TotalByteSize += ch.meta.TotalUncompressedSize
		rg.TotalCompressedSize += ch.meta.TotalCompressedSize
	}
	first := &s.cur[0].meta
	rg.FileOffset = first.DataPageOffset
	if first.DictionaryPageOffset > 0 {
		rg.FileOffset = first.DictionaryPageOffset
	}
	s.groups = append(s.groups, rg)
	s.chunks = append(s.chunks, s.cur)
	s.meta.Groups = append(s.meta.Groups, g)
	s.cur = nil
	return nil
}

// Close writes indexes and footer. It gives the file's size.
func (s *Writer) Close(m Meta) (int64, error) {
	if len(s.groups) == 0 && s.err == nil {
		s.err = errors.New("segment: no rows")
	}
	m.Groups = s.meta.Groups
	if err := s.indexes(); err != nil {
		return 0, err
	}
	about, err := json.Marshal(&m)
	if err != nil {
		return 0, err
	}
	root := format.SchemaElement{Name: "flow", NumChildren: thrift.New(int32(len(s.fields)))}
	fm := format.FileMetaData{
		Version: 2, Schema: []format.SchemaElement{root}, RowGroups: s.groups, CreatedBy: "weir",
		KeyValueMetadata: []format.KeyValue{{Key: metaKey, Value: string(about)}},
	}
	for _, f := range s.fields {
		fm.Schema = append(fm.Schema, element(f))
		fm.ColumnOrders = append(fm.ColumnOrders, format.ColumnOrder{Value: &format.TypeDefinedOrder{}})
	}
	for _, g := range m.Groups {
		fm.NumRows += int64(g.Rows)
	}
	footer, err := thrift.Marshal(&protocol, &fm)
	if err != nil {
		return 0, err
	}
	s.write(binary.LittleEndian.AppendUint32([]byte(footerMark), crc32.Checksum(footer, castagnoli)))
	s.write(footer)
	s.write(binary.LittleEndian.AppendUint32(nil, uint32(len(footer))))
	s.write([]byte(magic))
	if s.err == nil {
		s.err = s.w.Flush()
	}
	return s.at, s.err
}

func (s *Writer) indexes() error {
	for g := range s.groups {
		for i, ch := range s.chunks[g] {
			if len(ch.index.NullPages) == 0 {
				continue
			}
			s.groups[g].Columns[i].ColumnIndexOffset = s.at
			n, err := s.thrift(&ch.index)
			if err != nil {
				return err
			}
			s.groups[g].Columns[i].ColumnIndexLength = int32(n)
		}
	}
	for g := range s.groups {
		for i, ch := range s.chunks[g] {
			s.groups[g].Columns[i].OffsetIndexOffset = s.at
			n, err := s.thrift(&ch.offset)
			if err != nil {
				return err
			}
			s.groups[g].Columns[i].OffsetIndexLength = int32(n)
		}
	}
	return nil
}

func (s *Writer) thrift(v any) (int, error) {
	var buf bytes.Buffer
	if err := thrift.NewEncoder(protocol.NewWriter(&buf)).Encode(v); err != nil {
		return 0, err
	}
	s.write(buf.Bytes())
	return buf.Len(), s.err
}

// Groups are the row groups that were written.
func (s *Writer) Groups() []Group { return s.meta.Groups }
