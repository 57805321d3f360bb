package flow

import (
	"fmt"
	"net/netip"
	"unsafe"
)

// column is what the text forms and the getters need of a Field, worked out once.
type column struct {
	typ   Type
	bits  bool // a set of bits, one word each
	ident bool // a 64-bit number without a unit: an identifier, written in hex
	words []string
	off   uintptr
}

// columns and byName are computed from the table and never written again.
var (
	columns = makeColumns()
	byName  = makeByName()
)

func makeColumns() (cs [NumFields]column) {
	for i := range cs {
		f := &Fields[i]
		cs[i] = column{
			typ:   f.Type,
			bits:  f.Unit == "bit set",
			ident: f.Type == TypeU64 && f.Unit == "",
			words: EnumWords[i],
			off:   Offsets[i],
		}
	}
	return cs
}

func makeByName() map[string]FieldID {
	m := make(map[string]FieldID, NumFields)
	for i := range NumFields {
		m[Fields[i].Name] = FieldID(i)
	}
	return m
}

// FieldByName finds a field by its Name in the table.
func FieldByName(name string) (FieldID, bool) {
	f, ok := byName[name]
	return f, ok
}

// AllFields gives every FieldID in the order of the table.
func AllFields() []FieldID {
	fs := make([]FieldID, NumFields)
	for i := range fs {
		fs[i] = FieldID(i)
	}
	return fs
}

// String gives the Name of the field in the table.
func (f FieldID) String() string {
	if int(f) >= NumFields {
		return fmt.Sprintf("field(%d)", uint8(f))
	}
	return Fields[f].Name
}

func (r *Record) at(f FieldID) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(r), columns[f].off)
}

// Value gives the value of a field, or nil where it is absent: uint64 for all
// unsigned numbers and enums, int64 for signed numbers and milliseconds, bool,
// string, netip.Addr or UUID. It allocates; hot paths use the struct's fields.
func (r *Record) Value(f FieldID) any {
	if !r.Has.Has(f) {
		return nil
	}
	if v, ok := r.Uint(f); ok {
		return v
	}
	if v, ok := r.Int(f); ok {
		return v
	}
	p := r.at(f)
	switch columns[f].typ {
	case TypeBool:
		return *(*bool)(p)
	case TypeString:
		return *(*string)(p)
	case TypeAddr:
		return *(*netip.Addr)(p)
	case TypeUUID:
		return *(*UUID)(p)
	default:
		return nil
	}
}

// Uint gives the value of an unsigned number or an enum. It reports false where the
// field is absent or of another type.
func (r *Record) Uint(f FieldID) (uint64, bool) {
	if !r.Has.Has(f) {
		return 0, false
	}
	p := r.at(f)
	switch columns[f].typ {
	case TypeU8:
		return uint64(*(*uint8)(p)), true
	case TypeU16:
		return uint64(*(*uint16)(p)), true
	case TypeU32:
		return uint64(*(*uint32)(p)), true
	case TypeU64:
		return *(*uint64)(p), true
	default:
		return 0, false
	}
}

// Int gives the value of a signed number or a time in milliseconds. It reports
// false where the field is absent or of another type.
func (r *Record) Int(f FieldID) (int64, bool) {
	if !r.Has.Has(f) {
		return 0, false
	}
	p := r.at(f)
	switch columns[f].typ {
	case TypeI32:
		return int64(*(*int32)(p)), true
	case TypeI64, TypeMillis:
		return *(*int64)(p), true
	default:
		return 0, false
	}
}

// Str gives the value of a string. It reports false where the field is absent or of
// another type.
func (r *Record) Str(f FieldID) (string, bool) {
	if columns[f].typ != TypeString || !r.Has.Has(f) {
		return "", false
	}
	return *(*string)(r.at(f)), true
}

// Addr gives the value of an address. It reports false where the field is absent or
// of another type.
func (r *Record) Addr(f FieldID) (netip.Addr, bool) {
	if columns[f].typ != TypeAddr || !r.Has.Has(f) {
		return netip.Addr{}, false
	}
	return *(*netip.Addr)(r.at(f)), true
}

// Bool gives the value of a bool. It reports false where the field is absent or of
// another type.
func (r *Record) Bool(f FieldID) (value, ok bool) {
	if columns[f].typ != TypeBool || !r.Has.Has(f) {
		return false, false
	}
	return *(*bool)(r.at(f)), true
}

// Copy sets a field to what it is in another record, and marks it present.
func (r *Record) Copy(f FieldID, from *Record) {
	p, q := r.at(f), from.at(f)
	switch columns[f].typ {
	case TypeU8, TypeBool:
		*(*uint8)(p) = *(*uint8)(q)
	case TypeU16:
		*(*uint16)(p) = *(*uint16)(q)
	case TypeU32, TypeI32:
		*(*uint32)(p) = *(*uint32)(q)
	case TypeU64, TypeI64, TypeMillis:
		*(*uint64)(p) = *(*uint64)(q)
	case TypeString:
		*(*string)(p) = *(*string)(q)
	case TypeAddr:
		*(*netip.Addr)(p) = *(*netip.Addr)(q)
	case TypeUUID:
		*(*UUID)(p) = *(*UUID)(q)
	}
	r.Has.Set(f)
}

// SetCounter sets a field of type u64. It does nothing for another type.
func (r *Record) SetCounter(f FieldID, v uint64) {
	if columns[f].typ == TypeU64 {
		*(*uint64)(r.at(f)) = v
		r.Has.Set(f)
	}
}

// Text gives the value of a field as CSV writes it, unquoted; "" where it is absent.
func (r *Record) Text(f FieldID) string {
	if !r.Has.Has(f) {
		return ""
	}
	return string(r.AppendText(nil, f))
}

// Amounts gives what the ledger counts of a record: one connection at its first
// record, and the bytes of both directions since the last record.
func (r *Record) Amounts() (connections, bytes uint64) {
	if r.First {
		connections = 1
	}
	return connections, r.BytesDelta + r.RevBytesDelta
}
