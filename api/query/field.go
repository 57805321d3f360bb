package query

import (
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/nearest"
)

// pairs are the fields of either end and of either direction of policy, under their
// bare name, worked out from the table: src.x and dst.x, ingress.x and egress.x,
// where no field is called x.
var pairs = makePairs()

func makePairs() map[string][]flow.FieldID {
	m := map[string][]flow.FieldID{}
	for i, f := range flow.Fields {
		for _, p := range [][2]string{{"src.", "dst."}, {"ingress.", "egress."}} {
			bare, ok := strings.CutPrefix(f.Name, p[0])
			if !ok {
				continue
			}
			if _, taken := flow.FieldByName(bare); taken {
				continue
			}
			if other, ok := flow.FieldByName(p[1] + bare); ok && m[bare] == nil {
				m[bare] = []flow.FieldID{flow.FieldID(i), other}
			}
		}
	}
	delete(m, "port") // the server's: an alias in the table
	return m
}

// verdictName is the one field that is no column: it is derived from the outcome and
// from the actions of the rules that decided.
const verdictName = "verdict"

var verdictWords = []string{"allowed", "denied"}

// hidden are the fields that have no meaning for a connection in a range: the row's
// totals are what moved within it.
func hidden(f flow.FieldID) (instead string, ok bool) {
	return strings.CutSuffix(flow.Fields[f].Name, "_delta")
}

// FieldByName finds a field by its name, an alias, or a bare name of either end.
func FieldByName(name string) (Field, bool) {
	name = unalias(name)
	if name == verdictName {
		return Field{Name: name}, true
	}
	if f, ok := labelField(name); ok {
		return f, true
	}
	if id, ok := flow.FieldByName(name); ok {
		if _, no := hidden(id); no {
			return Field{}, false
		}
		return Field{Name: name, IDs: []flow.FieldID{id}}, true
	}
	if ids, ok := pairs[name]; ok {
		if _, no := hidden(ids[0]); no {
			return Field{}, false
		}
		return Field{Name: name, IDs: slices.Clone(ids)}, true
	}
	return Field{}, false
}

func labelField(name string) (Field, bool) {
	for _, l := range []struct {
		prefix string
		ids    []flow.FieldID
	}{
		{"label.", []flow.FieldID{flow.FSrcLabels, flow.FDstLabels}},
		{"src.label.", []flow.FieldID{flow.FSrcLabels}},
		{"dst.label.", []flow.FieldID{flow.FDstLabels}},
	} {
		if key, ok := strings.CutPrefix(name, l.prefix); ok && key != "" {
			return Field{Name: name, IDs: l.ids, Label: key}, true
		}
	}
	return Field{}, false
}

func unalias(name string) string {
	if whole := unaliasWhole(name); whole != name {
		return whole
	}
	prefix, rest := "", name
	for _, a := range flow.PrefixAliases {
		if r, ok := strings.CutPrefix(name, a.Alias); ok {
			prefix, rest = a.Name, r
		}
	}
	for _, p := range []string{"src.", "dst."} {
		if r, ok := strings.CutPrefix(name, p); ok {
			prefix, rest = p, r
		}
	}
	for _, a := range flow.EndAliases {
		if a.Alias == rest {
			rest = a.Name
		}
	}
	return unaliasWhole(prefix + rest)
}

func unaliasWhole(name string) string {
	for _, a := range flow.Aliases {
		if a.Alias == name {
			return a.Name
		}
	}
	return name
}

// Names gives every name that a query may use for a field, labels left out: those of
// the table first, then bare ones, then aliases.
func Names() []string {
	var out, bare []string
	for i, f := range flow.Fields {
		if _, no := hidden(flow.FieldID(i)); !no {
			out = append(out, f.Name)
		}
	}
	for name, ids := range pairs {
		if _, no := hidden(ids[0]); !no {
			bare = append(bare, name)
		}
	}
	slices.Sort(bare)
	out = append(append(out, verdictName), bare...)
	for _, a := range flow.Aliases {
		out = append(out, a.Alias)
	}
	for _, a := range flow.EndAliases {
		out = append(out, a.Alias)
	}
	return out
}

// AliasesOf gives the other names of a field of the table.
func AliasesOf(id flow.FieldID) []string {
	name := flow.Fields[id].Name
	var out []string
	for bare, ids := range pairs {
		if slices.Contains(ids, id) {
			if _, no := hidden(id); !no {
				out = append(out, bare)
			}
		}
	}
	for _, a := range flow.Aliases {
		if a.Name == name {
			out = append(out, a.Alias)
		}
	}
	for _, p := range flow.PrefixAliases {
		if rest, ok := strings.CutPrefix(name, p.Name); ok {
			out = append(out, p.Alias+rest)
		}
	}
	slices.Sort(out)
	return out
}

// bothNames are the names that a bare field stands for.
func (f Field) bothNames() (a, b string) {
	if f.Name == verdictName {
		return "ingress.action", "egress.action"
	}
	if f.Label != "" {
		return "src." + f.Name, "dst." + f.Name
	}
	return flow.Fields[f.IDs[0]].Name, flow.Fields[f.IDs[1]].Name
}

// single says whether the field is one column.
func (f Field) single() bool { return len(f.IDs) == 1 }

// nearestField helps with a name that is no field.
func nearestField(name string) string {
	if id, ok := flow.FieldByName(unalias(name)); ok {
		if instead, no := hidden(id); no {
			return instead
		}
	}
	return nearest.Word(name, Names())
}

// Kind is what a field's values are, for operators, units and aggregates.
type Kind uint8

// The kinds.
const (
	KindText   Kind = iota + 1
	KindWord        // an enum
	KindBits        // a set of words
	KindNumber      // a number with a unit
	KindID          // a number that names something: port, mark, identifier
	KindTime
	KindBool
	KindAddr
	KindUUID
)

// Kind of the field's values.
func (f Field) Kind() Kind {
	if f.Name == verdictName {
		return KindWord
	}
	if f.Label != "" {
		return KindText
	}
	return KindOf(f.IDs[0])
}

// KindOf gives the kind of a field of the table.
func KindOf(id flow.FieldID) Kind {
	row := &flow.Fields[id]
	switch row.Type {
	case flow.TypeString:
		return KindText
	case flow.TypeMillis:
		return KindTime
	case flow.TypeBool:
		return KindBool
	case flow.TypeAddr:
		return KindAddr
	case flow.TypeUUID:
		return KindUUID
	default:
	}
	switch {
	case row.Unit == "bit set":
		return KindBits
	case flow.EnumWords[id] != nil:
		return KindWord
	case units[row.Unit] != nil:
		return KindNumber
	default:
		return KindID
	}
}

// ColumnField gives the field of one column of the table, or of a label in it.
func ColumnField(id flow.FieldID, label string) Field {
	f := Field{Name: flow.Fields[id].Name, IDs: []flow.FieldID{id}, Label: label}
	if label != "" {
		f.Name = strings.TrimSuffix(f.Name, "labels") + "label." + label
	}
	return f
}

// BeginsWith gives a condition on a field of one column that holds where what Shown gives
// begins with prefix, and perhaps elsewhere.
func BeginsWith(f Field, prefix string) Expr {
	if prefix == "" || strings.Contains(prefix, "*") || f.Kind() != KindText {
		return &Has{Field: f}
	}
	like := func(glob string) Expr { return &Cmp{Field: f, Op: Eq, Values: []Value{{Text: glob, Glob: true}}} }
	if f.Label == "" && formOf(f.IDs[0]) == FormOwner && !strings.Contains(prefix, "/") {
		return &Or{List: []Expr{like(prefix + "*"), like(prefix + "*/*")}}
	}
	return like(prefix + "*")
}

// Shown gives the form of a column's text that a person who typed prefix would go on
// with: of an owner the name, unless the kind was typed.
func Shown(f Field, text, prefix string) string {
	if f.Label == "" && f.single() && formOf(f.IDs[0]) == FormOwner && !strings.Contains(prefix, "/") {
		if kind, name, ok := strings.Cut(text, "/"); ok && (prefix == "" || !strings.HasPrefix(kind, prefix)) {
			return name
		}
	}
	if f.Label == "" && f.single() && formOf(f.IDs[0]) == FormService && prefix != "" && !strings.Contains(prefix, "/") {
		if _, name, ok := strings.Cut(text, "/"); ok && strings.HasPrefix(name, prefix) {
			return name
		}
	}
	return text
}

// Units gives the units that a number of the field may be written in.
func Units(id flow.FieldID) []string { return unitOrder[flow.Fields[id].Unit] }
