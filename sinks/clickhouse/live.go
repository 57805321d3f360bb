package clickhouse

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/ext"
	chtype "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/google/uuid"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
	"github.com/weirnet/weir/sinks/clickhouse/sql"
)

// liveTable is a table that goes to the server with one query: some fields of records, with
// the names and types of the table of flows.
func liveTable(fields []flow.FieldID, recs []*flow.Record) (*ext.Table, error) {
	var cols []func(*ext.Table) error
	var ids []flow.FieldID
	for _, c := range ddl.Columns() {
		if slices.Contains(fields, c.ID) {
			cols, ids = append(cols, ext.Column(c.Name, chtype.Type(c.Type))), append(ids, c.ID)
		}
	}
	t, err := ext.NewTable(sql.LiveTable, cols...)
	if err != nil {
		return nil, err
	}
	row := make([]any, len(ids))
	for _, r := range recs {
		for i, id := range ids {
			row[i] = liveValue(r, id)
		}
		if err := t.Append(row...); err != nil {
			return nil, fmt.Errorf("live records: %w", err)
		}
	}
	return t, nil
}

// liveValue is a field as clickhouse-go takes it for the field's column; nil for NULL.
func liveValue(r *flow.Record, id flow.FieldID) any {
	switch v := r.Value(id).(type) {
	case uint64:
		row := &flow.Fields[id]
		switch row.Type {
		case flow.TypeU8:
			if words := flow.EnumWords[id]; words == nil || row.Unit == "bit set" {
				return uint8(v)
			} else if v >= uint64(len(words)) {
				v = ddl.Unlisted
			}
			return int8(v)
		case flow.TypeU16:
			return uint16(v)
		case flow.TypeU32:
			return uint32(v)
		default:
			return v
		}
	case int64:
		if flow.Fields[id].Type == flow.TypeI32 {
			return int32(v)
		}
		return v
	case netip.Addr:
		if !v.IsValid() {
			return netip.IPv6Unspecified()
		}
		return netip.AddrFrom16(v.As16())
	case flow.UUID:
		return uuid.UUID(v)
	default:
		return v
	}
}
