package ipfix

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
)

// jsonColumn is one element of a template and the field that fills it.
type jsonColumn struct {
	key   string // "name":
	elem  flow.Element
	field flow.FieldID
}

// jsonWriter writes records as go-ipfix does: {"ipfix":{element names},"@timestamp":...}.
type jsonWriter struct {
	set      ipfix.Set
	v4, v6   []jsonColumn
	leaveOut bool // absent fields are left out; otherwise they are 0 or "", as Antrea writes them
	buf      []byte
}

func newJSONWriter(set ipfix.Set, leaveOut bool) jsonWriter {
	return jsonWriter{set: set, v4: jsonColumns(set.V4), v6: jsonColumns(set.V6), leaveOut: leaveOut}
}

func jsonColumns(t *ipfix.Template) (cols []jsonColumn) {
	for _, e := range t.Elems {
		for f := range flow.FieldID(flow.NumFields) {
			for _, x := range flow.Fields[f].Elems {
				if x.PEN == e.PEN && x.ID == e.ID {
					cols = append(cols, jsonColumn{`"` + e.Name + `":`, e, f})
				}
			}
		}
	}
	return cols
}

func (w *jsonWriter) append(b []byte, r *flow.Record, at time.Time) []byte {
	cols := w.v4
	if w.set.For(r) == w.set.V6 {
		cols = w.v6
	}
	b = append(b, `{"@timestamp":"`...)
	b = at.AppendFormat(b, time.RFC3339)
	b = append(b, `","ipfix":{`...)
	first := true
	for i := range cols {
		c := &cols[i]
		if w.leaveOut && !r.Has.Has(c.field) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, c.key...)
		b = w.jsonValue(b, c, r)
	}
	return append(b, '}', '}', '\n')
}

func (w *jsonWriter) jsonValue(b []byte, c *jsonColumn, r *flow.Record) []byte {
	switch c.elem.Enc {
	case flow.EncUnsigned:
		v, _ := r.Uint(c.field)
		return strconv.AppendUint(b, v, 10)
	case flow.EncSigned, flow.EncMillis:
		v, _ := r.Int(c.field)
		return strconv.AppendInt(b, v, 10)
	case flow.EncSeconds:
		v, _ := r.Int(c.field)
		return strconv.AppendInt(b, v/1000, 10)
	case flow.EncBool:
		v, _ := r.Value(c.field).(bool)
		return strconv.AppendBool(b, v)
	case flow.EncString:
		text, err := json.Marshal(r.Text(c.field))
		if err != nil {
			return append(b, `""`...) // strings always marshal
		}
		return append(b, text...)
	default: // addresses and UUIDs: nothing to escape but a zone, which no packet has
		b = append(b, '"')
		if r.Has.Has(c.field) {
			b = r.AppendText(b, c.field)
		}
		return append(b, '"')
	}
}
