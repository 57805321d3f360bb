package query

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// ErrEnough is what Add returns once a stream has all the rows that were asked for and
// one more came. Whoever fills the answer ends there.
var ErrEnough = errors.New("there are more rows than the limit")

// stream gives the rows of a list away instead of keeping them.
type stream struct {
	emit func(*flow.Record) error
	left int // rows; below zero for no limit
	last int // rows of a limit stage, after which nothing is missing; below zero for none

	emitted int
}

func (s *stream) add(r *flow.Record) error {
	if s.left == 0 || s.last == 0 {
		if s.last == 0 {
			return errLast
		}
		return ErrEnough
	}
	s.left--
	s.last--
	s.emitted++
	return s.emit(r)
}

// errLast ends a stream whose query asked for no more.
var errLast = errors.New("the query asks for no more rows")

// Stream gives the rows of a list to emit as they are added, and keeps none; at most limit
// of them, 0 for all. Whoever fills such an answer adds the rows in the order of the
// answer: the newest end first, then by FConnID. A row is the callee's until it returns.
// Lists alone can be streamed, and in that order only.
func (a *Answer) Stream(limit int, emit func(*flow.Record) error) error {
	if a.table != nil {
		return errors.New("groups come when all connections were looked at: they cannot be streamed")
	}
	if !a.Streamable() {
		return fmt.Errorf("sort by %s: all connections would have to be kept: leave the sort out, for the newest first, or give a limit of at most %d", a.order[0].By, a.limits.Rows)
	}
	s := &stream{emit: emit, left: -1, last: -1}
	for _, st := range a.Query.Stages {
		if l, ok := st.(*Limit); ok && (s.last < 0 || l.N < s.last) {
			s.last = l.N
		}
	}
	if a.limits.Rows = maxStream; limit > 0 {
		s.left, a.limits.Rows = limit, limit
	}
	a.stream = s
	return nil
}

// maxStream is the limit of rows where there is none, for stores that want a number.
const maxStream = min(1<<40, math.MaxInt/2) // int has 32 bits on arm/v7

// Streamable says that the answer is a list in the order in which lists are found.
func (a *Answer) Streamable() bool {
	return a.table == nil && !slices.ContainsFunc(a.Query.Stages, func(s Stage) bool {
		x, ok := s.(*Sort)
		return ok && (x.By != flow.Fields[flow.FEnd].Name || !x.Desc)
	})
}

// Streams says that the rows of a list are given away as they come; see Stream.
func (a *Answer) Streams() bool { return a.stream != nil }

// Into has the rows of a stream given to another.
func (a *Answer) Into(emit func(*flow.Record) error) { a.stream.emit = emit }

// Beside gives a stream of the same question for what one of several has of the answer,
// with one row more than a asks for, so that it can be told that there are more.
func (a *Answer) Beside() *Answer {
	b, s := a.Fresh(), *a.stream
	if s.left >= 0 {
		s.left++
		b.limits.Rows++
	}
	b.notes, b.stream = nil, &s
	return b
}

// StreamLimit is how many rows a stream may still have, 0 for all.
func (a *Answer) StreamLimit() int { return max(0, a.stream.left) }

// Emitted is how many rows a stream has had.
func (a *Answer) Emitted() int { return a.stream.emitted }

// Ended says whether an error with which a store ended is the end of a stream and none
// of its own: more says that there were rows besides.
func Ended(err error) (more, ok bool) {
	return errors.Is(err, ErrEnough), err == nil || errors.Is(err, ErrEnough) || errors.Is(err, errLast)
}

// Shown are the fields that the columns of a list are made of.
func (a *Answer) Shown() (out []flow.FieldID) {
	for _, f := range a.fields() {
		out = append(out, f.IDs...)
	}
	return out
}

// Columns are those of a list.
func (a *Answer) Columns() []Column { return columnsOf(a.fields()) }

// Rower makes rows of a list of its records.
func (a *Answer) Rower() func(*flow.Record) Row {
	fields := a.fields()
	return func(r *flow.Record) Row { return rowOf(r, fields) }
}

// NewestFirst orders records as a list has them that is sorted by nothing else.
func NewestFirst(x, y *flow.Record) int { return compareRows(nil, x, y) }
