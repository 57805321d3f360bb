package query

import (
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// CanariesNote says in an answer what WithoutCanaries did.
const CanariesNote = "connections of the probe are left out: name the field canary in the query to have a say"

// WithoutCanaries adds "not canary = true" to the condition: the probe's connections are
// in no total that did not ask for them. A query that names the field anywhere stays as
// it is, and ok is false; so does one that has been through here.
func WithoutCanaries(q *Query) (out *Query, ok bool) {
	field := Field{Name: flow.Fields[flow.FCanary].Name, IDs: []flow.FieldID{flow.FCanary}}
	if q.names(flow.FCanary) {
		return q, false
	}
	no := &Not{Expr: &Cmp{Field: field, Op: Eq, Values: []Value{{Text: "true"}}}}
	return &Query{Expr: Both(q.Expr, no), Stages: q.Stages}, true
}

// names says whether a condition or a stage names a field.
func (q *Query) names(id flow.FieldID) bool {
	has := func(f Field) bool { return slices.Contains(f.IDs, id) }
	if named(q.Expr, has) {
		return true
	}
	for _, s := range q.Stages {
		switch s := s.(type) {
		case *Stats:
			if slices.ContainsFunc(s.By, has) || slices.ContainsFunc(s.Aggs, func(a Aggregate) bool { return has(a.Field) }) {
				return true
			}
		case *Sort:
			if s.By == flow.Fields[id].Name {
				return true
			}
		case *Fields:
			if slices.ContainsFunc(s.List, has) {
				return true
			}
		}
	}
	return false
}

func named(e Expr, has func(Field) bool) bool {
	switch e := e.(type) {
	case *And:
		return slices.ContainsFunc(e.List, func(e Expr) bool { return named(e, has) })
	case *Or:
		return slices.ContainsFunc(e.List, func(e Expr) bool { return named(e, has) })
	case *Not:
		return named(e.Expr, has)
	case *Cmp:
		return has(e.Field)
	case *Has:
		return has(e.Field)
	}
	return false
}
