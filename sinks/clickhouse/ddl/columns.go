// Package ddl writes the text of Weir's ClickHouse schema: a column for each field of
// the one table (api/flow), the tables, rollups and views over them, and the steps up
// and down between versions of that layout.
//
// In: a Layout (database, retention, cluster). Out: statements as text. It opens no
// connection and keeps no state; sinks/clickhouse runs what it writes.
//
// A field that a record does not have is NULL, so that SQL means what the query language
// means: a comparison with it is not true, and an average leaves it out.
package ddl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Column is one column of the table of flows that holds a field.
type Column struct {
	ID    flow.FieldID
	Name  string
	Type  string
	Codec string
	Dict  bool // LowCardinality: values are numbered
}

// Bookkeeping columns, beside those of fields. Together Spool and Pos number every row
// of a sink, so that a sink that was killed goes on exactly where it was.
const (
	Spool    = "spool"    // id of the spool from which the row came
	Pos      = "pos"      // its position in it
	Inserted = "inserted" // when the batch was first tried, by the aggregator's clock
)

// Unlisted is the number, and UnlistedWord the name, of an enum's value that this
// version of Weir has no word for.
const (
	Unlisted     = 127
	UnlistedWord = "unlisted"
)

// ColumnName gives the name of a field's column: src.ns is src_ns.
func ColumnName(id flow.FieldID) string {
	return strings.ReplaceAll(flow.Fields[id].Name, ".", "_")
}

// plain are the texts that are mostly different from row to row, and would only fill a
// dictionary.
var plain = []flow.FieldID{flow.FHTTPVals, flow.FDNSQuery}

// Columns gives the columns in the order of the table of fields.
func Columns() []Column {
	out := make([]Column, 0, flow.NumFields)
	for id := range flow.FieldID(flow.NumFields) {
		c := Column{ID: id, Name: ColumnName(id), Codec: "ZSTD(1)"}
		inner := ""
		switch row := &flow.Fields[id]; row.Type {
		case flow.TypeU8:
			inner = "UInt8"
			if words := flow.EnumWords[id]; words != nil && row.Unit != "bit set" {
				inner = enum(words)
			}
		case flow.TypeU16:
			inner = "UInt16"
		case flow.TypeU32:
			inner, c.Codec = "UInt32", "T64, ZSTD(1)"
		case flow.TypeU64:
			inner = "UInt64"
			if row.Unit != "" {
				c.Codec = "T64, ZSTD(1)"
			}
		case flow.TypeI32:
			inner = "Int32"
		case flow.TypeI64:
			inner, c.Codec = "Int64", "T64, ZSTD(1)"
		case flow.TypeBool:
			inner = "Bool"
		case flow.TypeMillis:
			inner, c.Codec = "DateTime64(3, 'UTC')", "Delta, ZSTD(1)"
		case flow.TypeString:
			inner = "String"
			c.Dict = !slices.Contains(plain, id)
		case flow.TypeAddr:
			inner = "IPv6"
		case flow.TypeUUID:
			inner = "UUID"
		}
		switch {
		case id == flow.FEnd:
			c.Type = inner
		case c.Dict:
			c.Type = "LowCardinality(Nullable(" + inner + "))"
		default:
			c.Type = "Nullable(" + inner + ")"
		}
		out = append(out, c)
	}
	return out
}

func enum(words []string) string {
	parts := make([]string, 0, len(words)+1)
	for i, w := range words {
		parts = append(parts, fmt.Sprintf("'%s' = %d", w, i))
	}
	parts = append(parts, fmt.Sprintf("'%s' = %d", UnlistedWord, Unlisted))
	return "Enum8(" + strings.Join(parts, ", ") + ")"
}

// Definition is the column as CREATE TABLE and ALTER TABLE write it.
func (c *Column) Definition() string {
	row := &flow.Fields[c.ID]
	comment := row.Doc
	if row.Unit != "" {
		comment += " [" + row.Unit + "]"
	}
	return fmt.Sprintf("%s %s COMMENT %s CODEC(%s)", Ident(c.Name), c.Type, Quote(comment), c.Codec)
}

// Ident quotes a name.
func Ident(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

// Quote writes a string literal.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\'', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case 0:
			b.WriteString(`\0`)
		case '\n':
			b.WriteString(`\n`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
