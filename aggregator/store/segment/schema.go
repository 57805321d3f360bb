// Package segment is the file format of history: columns of flow records in Parquet
// files that other tools read as they are.
//
// In: column.Blocks. Out: a file with one row group a block, zstd, dictionaries,
// statistics and a page index; and column.Columns again, page by page, codes and
// dictionaries kept. The schema derives from flow.Fields: a column is named as the
// field with underscores for dots, optional, and left out of a file that has no value of
// it. What is written with a row that this version does not know is not
// read; what an older version wrote lacks the newer columns.
//
// parquet-go encodes and decodes; only the order of pages in the file is laid out here,
// because codes that are known need not be looked up again. It keeps no files: that
// is the store's.
package segment

import (
	"strings"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
)

// ColumnName is the name of a field's column in the files.
func ColumnName(f flow.FieldID) string { return strings.ReplaceAll(flow.Fields[f].Name, ".", "_") }

// byColumn finds the field of a column.
var byColumn = makeByColumn()

func makeByColumn() map[string]flow.FieldID {
	m := make(map[string]flow.FieldID, flow.NumFields)
	for f := range flow.FieldID(flow.NumFields) {
		if column.KindOf(f) != column.None {
			m[ColumnName(f)] = f
		}
	}
	return m
}

// physical is the Parquet type of a field's values.
func physical(f flow.FieldID) format.Type {
	if column.KindOf(f) == column.Dict {
		return format.ByteArray
	}
	switch flow.Fields[f].Type {
	case flow.TypeBool:
		return format.Boolean
	case flow.TypeU64, flow.TypeI64, flow.TypeMillis:
		return format.Int64
	default:
		return format.Int32
	}
}

// element describes a column in the file's schema.
func element(f flow.FieldID) format.SchemaElement {
	e := format.SchemaElement{
		Name: ColumnName(f), Type: thrift.New(physical(f)), RepetitionType: thrift.New(format.Optional),
		FieldID: int32(f) + 1, // 0 would not be written
	}
	integer := func(bits int8, signed bool, old deprecated.ConvertedType) {
		e.LogicalType.Value = &format.IntType{BitWidth: bits, IsSigned: signed}
		e.ConvertedType = thrift.New(old)
	}
	if column.KindOf(f) == column.Dict {
		e.LogicalType.Value = &format.StringType{}
		e.ConvertedType = thrift.New(deprecated.UTF8)
		return e
	}
	switch flow.Fields[f].Type {
	case flow.TypeU8:
		integer(8, false, deprecated.Uint8)
	case flow.TypeU16:
		integer(16, false, deprecated.Uint16)
	case flow.TypeU32:
		integer(32, false, deprecated.Uint32)
	case flow.TypeU64:
		integer(64, false, deprecated.Uint64)
	case flow.TypeI32:
		integer(32, true, deprecated.Int32)
	case flow.TypeI64:
		integer(64, true, deprecated.Int64)
	case flow.TypeMillis:
		e.LogicalType.Value = &format.TimestampType{IsAdjustedToUTC: true, Unit: format.TimeUnit{Value: &format.MilliSeconds{}}}
		e.ConvertedType = thrift.New(deprecated.TimestampMillis)
	default: // a bool has no logical type
	}
	return e
}
