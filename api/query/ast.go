package query

import (
	"time"

	"github.com/weirnet/weir/api/flow"
)

// Query is a parsed text. Expr is nil where every connection is wanted.
type Query struct {
	Expr   Expr
	Stages []Stage
}

// Expr is a condition on one connection: *And, *Or, *Not, *Cmp, *Has or *Word.
type Expr interface{ expr() }

// And holds where all of its two or more parts hold.
type And struct{ List []Expr }

// Or holds where one of its two or more parts holds.
type Or struct{ List []Expr }

// Not is the complement of a condition.
type Not struct{ Expr Expr }

// Cmp compares a field with a value, or with several where Op is In or NotIn.
type Cmp struct {
	Field  Field
	Op     Op
	Values []Value
}

// Has asks whether a field is present.
type Has struct{ Field Field }

// Word is a name at either end: workload, pod, service, namespace or host name.
type Word struct{ Value Value }

func (*And) expr()  {}
func (*Or) expr()   {}
func (*Not) expr()  {}
func (*Cmp) expr()  {}
func (*Has) expr()  {}
func (*Word) expr() {}

// Field is a field as a query names it, in its canonical name.
type Field struct {
	Name  string         // "src.ns", "ns", "src.label.app", "verdict"
	IDs   []flow.FieldID // one; two for a bare field of either end or of either direction of policy; none for verdict
	Label string         // key of a label, where IDs are the labels
}

// Value is a value as it was typed. Glob says that it is unquoted and has a '*'.
type Value struct {
	Text string
	Glob bool
}

// Op is a comparison.
type Op uint8

// The comparisons.
const (
	Eq Op = iota + 1
	Ne
	Lt
	Le
	Gt
	Ge
	Match   // =~, a whole match of an RE2 expression
	NoMatch // !~
	In
	NotIn
)

var opText = [...]string{Eq: "=", Ne: "!=", Lt: "<", Le: "<=", Gt: ">", Ge: ">=", Match: "=~", NoMatch: "!~", In: "in", NotIn: "not in"}

// String is the operator as it is written.
func (o Op) String() string { return opText[o] }

// negative operators hold where the field is there and the positive one fails.
func (o Op) negative() (positive Op, ok bool) {
	switch o {
	case Ne:
		return Eq, true
	case NoMatch:
		return Match, true
	case NotIn:
		return In, true
	default:
		return o, false
	}
}

// Stage is what is done with the connections found, from left to right: *Stats, *Top,
// *Sort, *Limit or *Fields.
type Stage interface{ stage() }

// Stats groups connections and aggregates each group. Every asks the same of each
// step of that length, aligned to the epoch; 0 for the range as a whole.
type Stats struct {
	Aggs  []Aggregate
	By    []Field
	Every time.Duration
}

// Top keeps the n groups with the largest column and folds the rest into one row
// "other". By is the column's name; "" for the first aggregate.
type Top struct {
	N  int
	By string
}

// Sort orders rows by a column; rows without a value come last.
type Sort struct {
	By   string
	Desc bool
}

// Limit keeps the first n rows.
type Limit struct{ N int }

// Fields picks the columns of a list of connections.
type Fields struct{ List []Field }

func (*Stats) stage()  {}
func (*Top) stage()    {}
func (*Sort) stage()   {}
func (*Limit) stage()  {}
func (*Fields) stage() {}

// Func is what an Aggregate computes.
type Func uint8

// The functions.
const (
	Conns  Func = iota + 1 // connections opened in the range
	Active                 // connections alive in the range
	Sum
	Rate // sum per second of the range, or of the step
	Min
	Max
	P50
	P95
	P99
	Uniq // distinct values
)

var funcText = [...]string{Conns: "conns", Active: "active", Sum: "sum", Rate: "rate", Min: "min", Max: "max", P50: "p50", P95: "p95", P99: "p99", Uniq: "uniq"}

// String is the function's name.
func (f Func) String() string { return funcText[f] }

// Quantile is the rank of P50, P95 and P99, and 0 for the others.
func (f Func) Quantile() float64 {
	switch f {
	case P50:
		return 0.50
	case P95:
		return 0.95
	case P99:
		return 0.99
	default:
		return 0
	}
}

// Aggregate is a function of a field; Conns and Active have none.
type Aggregate struct {
	Func  Func
	Field Field
}

// Name is the name of its column: "conns", "sum(bytes)".
func (a Aggregate) Name() string {
	if a.Func == Conns || a.Func == Active {
		return a.Func.String()
	}
	return a.Func.String() + "(" + a.Field.Name + ")"
}

// Stats gives the query's stats stage, nil where connections are listed.
func (q *Query) Stats() *Stats {
	for _, s := range q.Stages {
		if s, ok := s.(*Stats); ok {
			return s
		}
	}
	return nil
}

// Both joins two conditions that must hold; one of them may be nil.
func Both(a, b Expr) Expr {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	var list []Expr
	for _, e := range []Expr{a, b} {
		if and, ok := e.(*And); ok {
			list = append(list, and.List...)
		} else {
			list = append(list, e)
		}
	}
	return &And{list}
}
