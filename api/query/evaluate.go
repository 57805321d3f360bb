package query

import (
	"fmt"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// Evaluator answers a query over records that lie in memory, in any order: the live
// state, or a file. A store with columns has its own way to the same answer.
type Evaluator struct {
	answer *Answer
	match  func(*flow.Record) bool
	steps  [][2]int64
	folds  []*Folder
	every  int64
	held   int
}

// NewEvaluator makes the evaluator that fills a.
func NewEvaluator(a *Answer) (*Evaluator, error) {
	match, err := Predicate(a.Query.Expr)
	if err != nil {
		return nil, err
	}
	e := &Evaluator{answer: a, match: match}
	if e.steps, err = a.Query.Steps(a.Since, a.Until); err != nil {
		return nil, err
	}
	if st := a.Query.Stats(); st != nil {
		e.every = st.Every.Milliseconds()
	}
	e.folds = make([]*Folder, len(e.steps))
	return e, nil
}

// Add takes a record.
func (e *Evaluator) Add(r *flow.Record) error {
	if !e.answer.Visible.Sees(r) {
		return nil
	}
	from, to := Covered(r)
	if !InRange(from, to, e.answer.Since, e.answer.Until) {
		return nil
	}
	// Not before: which records are given beside the range may depend on others that the
	// caller must not know of.
	e.answer.Scanned.Rows++
	lo, hi := 0, len(e.steps)-1
	if e.every > 0 {
		base := StepOf(e.answer.Since, e.every)
		lo = max(0, int((StepOf(from, e.every)-base)/e.every))
		hi = min(hi, int((StepOf(to, e.every)-base)/e.every))
	}
	for i := lo; i <= hi; i++ {
		f := e.folds[i]
		if f == nil {
			f = NewFolder(e.steps[i][0], e.steps[i][1])
			e.folds[i] = f
		}
		before := f.Len()
		f.Add(r)
		if e.held += f.Len() - before; e.held > e.answer.limits.Fold {
			return fmt.Errorf("more than %d connections in the range: give a shorter one", e.answer.limits.Fold)
		}
	}
	return nil
}

// Finish puts the rows into the answer.
func (e *Evaluator) Finish() error {
	for i, f := range e.folds {
		if f == nil {
			continue
		}
		step := int64(0)
		if e.every > 0 {
			step = StepOf(e.steps[i][0], e.every)
		}
		rows := f.Rows()
		for k := range rows {
			e.answer.Visible.Mask(&rows[k])
		}
		if e.answer.Streams() {
			slices.SortFunc(rows, func(x, y flow.Record) int { return compareRows(nil, &x, &y) })
		}
		for k := range rows {
			if !e.match(&rows[k]) {
				continue
			}
			if err := e.answer.Add(step, &rows[k]); err != nil {
				return err
			}
		}
		e.folds[i] = nil
	}
	return nil
}
