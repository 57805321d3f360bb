package query

import (
	"encoding/json"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Predicate compiles a condition to a function on one record: a row of Fold, or, in
// live filters and in sinks, a record as it was told. The function is safe for
// concurrent use and keeps nothing.
func Predicate(e Expr) (func(*flow.Record) bool, error) {
	n, err := Lower(e)
	if err != nil {
		return nil, err
	}
	return n2f(n), nil
}

// n2f turns a plain condition into closures.
func n2f(n Node) func(*flow.Record) bool {
	switch n := n.(type) {
	case All:
		fs := all(n)
		if len(fs) == 1 {
			return fs[0]
		}
		return func(r *flow.Record) bool {
			for _, f := range fs {
				if !f(r) {
					return false
				}
			}
			return true
		}
	case Any:
		fs := all(n)
		return func(r *flow.Record) bool {
			for _, f := range fs {
				if f(r) {
					return true
				}
			}
			return false
		}
	case None:
		f := n2f(n.Node)
		return func(r *flow.Record) bool { return !f(r) }
	case Present:
		id := n.ID
		if n.Label == "" {
			return func(r *flow.Record) bool { return r.Has.Has(id) }
		}
		return func(r *flow.Record) bool { s, ok := r.Str(id); _, has := Label(s, n.Label); return ok && has }
	case Test:
		return test(n)
	default:
		return func(*flow.Record) bool { return false }
	}
}

func all(list []Node) []func(*flow.Record) bool {
	fs := make([]func(*flow.Record) bool, 0, len(list))
	for _, x := range list {
		fs = append(fs, n2f(x))
	}
	return fs
}

func test(t Test) func(*flow.Record) bool {
	id, m := t.ID, t.Matcher
	if t.Label != "" {
		return func(r *flow.Record) bool {
			s, ok := r.Str(id)
			if !ok {
				return false
			}
			v, ok := Label(s, t.Label)
			return ok && m.Text(v)
		}
	}
	switch m.Kind {
	case KindText:
		return func(r *flow.Record) bool { s, ok := r.Str(id); return ok && m.Text(s) }
	case KindAddr:
		return func(r *flow.Record) bool { a, ok := r.Addr(id); return ok && m.Addr(a) }
	case KindBool:
		return func(r *flow.Record) bool { b, ok := r.Bool(id); return ok && b == m.Bool }
	case KindUUID:
		return func(r *flow.Record) bool { u, ok := r.Value(id).(flow.UUID); return ok && m.UUID(u) }
	default:
		switch flow.Fields[id].Type {
		case flow.TypeI32, flow.TypeI64, flow.TypeMillis:
			return func(r *flow.Record) bool { v, ok := r.Int(id); return ok && m.Int(v) }
		default:
			return func(r *flow.Record) bool { v, ok := r.Uint(id); return ok && m.Uint(v) }
		}
	}
}

// Label finds the value of a key in labels as JSON, {"key":"value",...}. What is no
// such object has no keys.
func Label(labels, key string) (string, bool) {
	s := skip(labels)
	if s == "" || s[0] != '{' {
		return "", false
	}
	for s = skip(s[1:]); s != "" && s[0] == '"'; s = skip(s[1:]) {
		k, rest, ok := jsonString(s)
		if !ok {
			return "", false
		}
		if s = skip(rest); s == "" || s[0] != ':' {
			return "", false
		}
		v, rest, ok := jsonString(skip(s[1:]))
		if !ok {
			return "", false
		}
		if k == key {
			return v, true
		}
		if s = skip(rest); s == "" || s[0] != ',' {
			return "", false
		}
	}
	return "", false
}

func skip(s string) string { return strings.TrimLeft(s, " \t\r\n") }

// jsonString cuts a string off the beginning of s.
func jsonString(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if strings.IndexByte(s[:i], '\\') < 0 {
				return s[1:i], s[i+1:], true
			}
			err := json.Unmarshal([]byte(s[:i+1]), &value)
			return value, s[i+1:], err == nil
		}
	}
	return "", "", false
}
