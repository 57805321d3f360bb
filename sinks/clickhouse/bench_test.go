package clickhouse

import (
	"net"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
	peercol "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	peer "github.com/ClickHouse/clickhouse-go/v2/lib/proto"
	"github.com/google/uuid"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

const benchRows = 20_000

func samples(n int) []flow.Record {
	recs := make([]flow.Record, n)
	for i := range recs {
		recs[i] = flowtest.Sample(uint64(i))
	}
	return recs
}

func squeeze(b *testing.B, buf []byte) int {
	b.Helper()
	w := compress.NewWriter(compress.LevelZero, compress.LZ4)
	if err := w.Compress(buf); err != nil {
		b.Fatal(err)
	}
	return len(w.Data)
}

// BenchmarkEncode is what a batch costs the client: records to columns to a block to LZ4.
func BenchmarkEncode(b *testing.B) {
	recs := samples(benchRows)
	pos := positions(nil, 0, len(recs))
	e := newEncoder()
	var buf proto.Buffer
	b.ReportAllocs()
	n, size, began := 0, 0, testenv.OwnCPU(b)
	for b.Loop() {
		in := e.encode(recs, "spool", pos, 1)
		buf.Reset()
		blk := proto.Block{Columns: len(in), Rows: len(recs)}
		if err := blk.EncodeBlock(&buf, proto.Version, in); err != nil {
			b.Fatal(err)
		}
		size = squeeze(b, buf.Buf)
		n += len(recs)
	}
	b.ReportMetric(float64(testenv.OwnCPU(b)-began)/float64(n), "cpu-ns/row")
	b.ReportMetric(float64(size)/benchRows, "B/row")
}

// BenchmarkRowAppend is the same batch through clickhouse-go's Append, into the same
// columns, to a block and LZ4.
func BenchmarkRowAppend(b *testing.B) {
	recs := samples(benchRows)
	var has flow.Mask
	for i := range recs {
		has = has.Or(recs[i].Has)
	}
	var cols []ddl.Column
	for _, c := range ddl.Columns() {
		if has.Has(c.ID) {
			cols = append(cols, c)
		}
	}
	b.ReportAllocs()
	n, began := 0, testenv.OwnCPU(b)
	now := time.Unix(1, 0)
	for b.Loop() {
		blk := peer.NewBlock()
		blk.ServerContext.Timezone = time.UTC
		for _, c := range cols {
			if err := blk.AddColumn(c.Name, peercol.Type(c.Type)); err != nil {
				b.Fatal(err)
			}
		}
		must(b, blk.AddColumn(ddl.Spool, "LowCardinality(String)"), blk.AddColumn(ddl.Pos, "UInt64"), blk.AddColumn(ddl.Inserted, "DateTime('UTC')"))
		row := make([]any, 0, len(cols)+3)
		for i := range recs {
			row = row[:0]
			for k := range cols {
				row = append(row, boxed(&recs[i], cols[k].ID))
			}
			row = append(row, "spool", uint64(i), now)
			if err := blk.Append(row...); err != nil {
				b.Fatal(err)
			}
		}
		var buf proto.Buffer
		if err := blk.Encode(&buf, proto.Version); err != nil {
			b.Fatal(err)
		}
		squeeze(b, buf.Buf)
		n += len(recs)
	}
	b.ReportMetric(float64(testenv.OwnCPU(b)-began)/float64(n), "cpu-ns/row")
}

func must(b *testing.B, errs ...error) {
	b.Helper()
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
}

// boxed gives a value as clickhouse-go takes it most cheaply.
func boxed(r *flow.Record, id flow.FieldID) any {
	row := &flow.Fields[id]
	if !r.Has.Has(id) {
		return nil
	}
	if v, ok := r.Uint(id); ok {
		switch row.Type {
		case flow.TypeU8:
			if flow.EnumWords[id] != nil && row.Unit != "bit set" {
				return int8(v)
			}
			return uint8(v)
		case flow.TypeU16:
			return uint16(v)
		case flow.TypeU32:
			return uint32(v)
		default:
			return v
		}
	}
	if v, ok := r.Int(id); ok {
		switch row.Type {
		case flow.TypeMillis:
			return time.UnixMilli(v)
		case flow.TypeI32:
			return int32(v)
		default:
			return v
		}
	}
	switch v := r.Value(id).(type) {
	case flow.UUID:
		return uuid.UUID(v)
	default:
		if a, ok := r.Addr(id); ok {
			b := a.As16()
			return net.IP(b[:])
		}
		return v
	}
}
