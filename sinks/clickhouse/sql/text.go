package sql

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// value is the column of a row that holds a field.
func value(id flow.FieldID) string { return fmt.Sprintf("v%d", id) }

// label is the value of a key in labels as JSON, NULL where there is none.
func label(id flow.FieldID, key string) string {
	v, k := "ifNull("+value(id)+", '')", ddl.Quote(key)
	return fmt.Sprintf("if(JSONType(%s, %s) = 'String', toNullable(JSONExtractString(%s, %s)), NULL)", v, k, v, k)
}

// text writes a field as flow.Record.Text does, NULL where it is absent.
func text(f query.Field) string {
	id := f.IDs[0]
	if f.Label != "" {
		return label(id, f.Label)
	}
	v := value(id)
	row := &flow.Fields[id]
	switch {
	case row.Type == flow.TypeMillis:
		return nullable(fmt.Sprintf("formatDateTime(%s, '%%Y-%%m-%%dT%%H:%%i:%%S') || '.' || leftPad(toString(toUnixTimestamp64Milli(%s) %% 1000), 3, '0') || 'Z'", v, v))
	case row.Type == flow.TypeAddr:
		return nullable(ddl.AddressText(v))
	case row.Type == flow.TypeU64 && row.Unit == "":
		return nullable("lower(leftPad(hex(" + v + "), 16, '0'))")
	case row.Unit == "bit set":
		parts := make([]string, 0, 8)
		for i := range 8 {
			w := fmt.Sprintf("bit%d", i)
			if words := flow.EnumWords[id]; i < len(words) {
				w = words[i]
			}
			parts = append(parts, fmt.Sprintf("if(bitTest(ifNull(%s, 0), %d), '%s', '')", v, i, w))
		}
		return fmt.Sprintf("if(isNull(%s), NULL, toNullable(arrayStringConcat(arrayFilter(x -> x != '', [%s]), '|')))", v, strings.Join(parts, ", "))
	}
	return nullable(v)
}

func nullable(expr string) string { return "CAST(" + expr + " AS Nullable(String))" }

// order is what a list is sorted by: a number by its value, the rest as it is shown.
func order(f query.Field) string {
	id := f.IDs[0]
	row := &flow.Fields[id]
	switch k := f.Kind(); {
	case id == flow.FProto:
		var nums, words []string
		for _, p := range flow.Protocols {
			nums, words = append(nums, fmt.Sprint(p.Number)), append(words, ddl.Quote(p.Word))
		}
		return fmt.Sprintf("transform(toInt16(ifNull(%s, 0)), [%s], [%s], toString(%s))", value(id), strings.Join(nums, ", "), strings.Join(words, ", "), value(id))
	case k == query.KindTime, k == query.KindNumber, k == query.KindID && (row.Type != flow.TypeU64 || row.Unit != ""):
		return value(id)
	}
	return text(f)
}
