package main

import (
	"fmt"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// addFlow adds the schema of a flow record, of the names of its fields and of its words,
// as api/flow writes them in JSON.
func (s *schemas) addFlow() error {
	var props object
	var all []string
	for i, f := range flow.Fields {
		o, err := s.field(&f, flow.EnumWords[i])
		if err != nil {
			return err
		}
		doc := f.Doc
		if f.Unit != "" && f.Unit != "bit set" {
			doc += " (" + f.Unit + ")"
		}
		props = append(props, member{f.Name, append(o, member{"description", doc + ". Absent: " + f.Absent + "."})})
		all = append(all, f.Name)
	}
	s.add("Flow", object{
		{"type", "object"},
		{"description", "Flow is one flow record. Client is the end that opened the connection, server the other; reverse runs from server to client. " +
			"Absent is not zero, and of what a caller may not see there is nothing."},
		{"properties", props},
	})
	s.add("FieldName", object{{"type", "string"}, {"enum", all}, {"description", "FieldName is the name of a field of Flow."}})
	s.add("Value", object{
		{"type", []string{"string", "number", "boolean", "null"}},
		{"description", "Value is a cell of a QueryRow: null where absent, a time in RFC 3339."},
	})
	return nil
}

// field is the schema of one field.
func (s *schemas) field(f *flow.Field, words []string) (object, error) {
	integer := func(format string, more ...member) object {
		return append(object{{"type", "integer"}, {"format", format}}, more...)
	}
	zero := member{"minimum", 0}
	switch f.Type {
	case flow.TypeU8:
		if words == nil {
			return integer("int32", zero, member{"maximum", 255}), nil
		}
		s.addWords(f, words)
		if f.Unit == "bit set" {
			return object{{"type", "array"}, {"items", ref("schemas", f.Enum)}, {"uniqueItems", true}}, nil
		}
		return ref("schemas", f.Enum), nil
	case flow.TypeU16:
		return integer("int32", zero, member{"maximum", 65535}), nil
	case flow.TypeU32:
		return integer("int64", zero, member{"maximum", int64(1<<32 - 1)}), nil
	case flow.TypeU64:
		if f.Unit == "" {
			return object{{"type", "string"}, {"pattern", "^[0-9a-f]{16}$"}}, nil
		}
		return integer("uint64", zero), nil
	case flow.TypeI32:
		return integer("int32"), nil
	case flow.TypeI64:
		return integer("int64"), nil
	case flow.TypeBool:
		return object{{"type", "boolean"}}, nil
	case flow.TypeMillis:
		return object{{"type", "string"}, {"format", "date-time"}}, nil
	case flow.TypeString, flow.TypeAddr:
		return object{{"type", "string"}}, nil
	case flow.TypeUUID:
		return object{{"type", "string"}, {"format", "uuid"}}, nil
	default:
		return nil, fmt.Errorf("field %s: type %d has no schema", f.Name, f.Type)
	}
}

// addWords adds two schemas for an enum: the words that there are, and what may stand
// there, since a newer exporter may send a value that has no word here.
func (s *schemas) addWords(f *flow.Field, words []string) {
	none := object{{"type", "string"}, {"pattern", "^[0-9]+$"}, {"description", "a value without a word"}}
	if f.Unit == "bit set" {
		none = object{{"type", "string"}, {"pattern", "^bit[0-7]$"}, {"description", "a bit without a word"}}
	}
	s.add(f.Enum+"Word", object{
		{"type", "string"},
		{"enum", slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" })},
		{"description", f.Enum + "Word is a word of " + f.Enum + "."},
	})
	s.add(f.Enum, object{
		{"anyOf", []any{ref("schemas", f.Enum+"Word"), none}},
		{"description", f.Enum + " is a word, or the number of a value that has none."},
	})
}
