package clickhouse

import (
	"encoding/binary"
	"strings"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// encoder turns batches of records into columns. It is not safe for concurrent use.
type encoder struct {
	columns  []*column
	ids      []flow.FieldID
	pos      numbers
	inserted proto.ColDateTime
	spool    proto.ColLowCardinality[string]
	input    proto.Input
	body     strings.Builder
}

// numbers is a column of UInt64 that counts up.
type numbers struct {
	buf []byte
}

func newEncoder() *encoder {
	e := &encoder{spool: *new(proto.ColStr).LowCardinality()}
	for _, c := range ddl.Columns() {
		e.columns = append(e.columns, newColumn(&c))
		e.ids = append(e.ids, c.ID)
	}
	return e
}

// run is how many records are taken at once: few enough that all their columns are
// filled while they are near.
const run = 64

// encode takes a batch. Columns that none of its records has are left out, and so take
// no room on the way. What it gives is good until the next call.
func (e *encoder) encode(recs []flow.Record, spool string, pos []uint64, inserted uint32) proto.Input {
	var has flow.Mask
	for i := range recs {
		has = has.Or(recs[i].Has)
	}
	e.input = e.input[:0]
	active := make([]*column, 0, len(e.columns))
	for i, c := range e.columns {
		if has.Has(e.ids[i]) {
			c.reset()
			active = append(active, c)
		}
	}
	for i := 0; i < len(recs); i += run {
		part := recs[i:min(i+run, len(recs))]
		for _, c := range active {
			c.fill(part)
		}
	}
	for _, c := range active {
		e.input = append(e.input, proto.InputColumn{Name: c.name, Data: c})
	}
	e.pos.buf = e.pos.buf[:0]
	for _, p := range pos {
		e.pos.buf = binary.LittleEndian.AppendUint64(e.pos.buf, p)
	}
	e.spool.Reset()
	e.inserted.Reset()
	for range recs {
		e.spool.Append(spool)
		e.inserted.Data = append(e.inserted.Data, proto.DateTime(inserted))
	}
	e.input = append(e.input, proto.InputColumn{Name: ddl.Spool, Data: &e.spool},
		proto.InputColumn{Name: ddl.Pos, Data: &e.pos}, proto.InputColumn{Name: ddl.Inserted, Data: &e.inserted})
	return e.input
}

// release lets go of the texts of the last batch.
func (e *encoder) release() {
	for _, c := range e.columns {
		if c.rows > 0 {
			c.reset()
		}
	}
}

// statement is the INSERT for what encode gave.
func (e *encoder) statement(table string) string {
	e.body.Reset()
	e.body.WriteString("INSERT INTO " + table + " (")
	for i := range e.input {
		if i > 0 {
			e.body.WriteString(", ")
		}
		e.body.WriteString(ddl.Ident(e.input[i].Name))
	}
	e.body.WriteString(") VALUES")
	return e.body.String()
}

// Type implements proto.ColInput.
func (n *numbers) Type() proto.ColumnType { return proto.ColumnTypeUInt64 }

// Rows implements proto.ColInput.
func (n *numbers) Rows() int { return len(n.buf) / 8 }

// EncodeColumn implements proto.ColInput.
func (n *numbers) EncodeColumn(b *proto.Buffer) { b.PutRaw(n.buf) }

// WriteColumn implements proto.ColInput.
func (n *numbers) WriteColumn(w *proto.Writer) { w.ChainBuffer(n.EncodeColumn) }
