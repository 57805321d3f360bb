package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirnet/weir/internal/nearest"
)

var stageWords = []string{"stats", "top", "sort", "limit", "fields"}

func (p *parser) stage(q *Query) (Stage, error) {
	t := p.tok
	if t.kind != tWord || !slices.Contains(stageWords, t.text) {
		e := p.fail(fmt.Sprintf("%s is no stage: the stages are %s", t, strings.Join(stageWords, ", ")))
		e.Near = nearest.Word(t.text, stageWords)
		return nil, e
	}
	p.advance()
	switch t.text {
	case "stats":
		if len(q.Stages) > 0 {
			return nil, errAt(p.text, t.pos, "stats must be the first stage")
		}
		return p.stats()
	case "top":
		if q.Stats() == nil {
			return nil, errAt(p.text, t.pos, "top needs groups: put a stats stage before it, or use sort and limit")
		}
		return p.top(q)
	case "sort":
		by, err := p.column(q)
		return &Sort{by, p.take("desc") || p.take("asc") && false}, err
	case "limit":
		n, err := p.count()
		return &Limit{n}, err
	default:
		if q.Stats() != nil {
			return nil, errAt(p.text, t.pos, "fields is for lists of connections: the columns after stats are its aggregates and its by")
		}
		list, err := p.fields(0)
		return &Fields{list}, err
	}
}

func (p *parser) stats() (Stage, error) {
	s := &Stats{}
	for {
		t := p.tok
		a, err := p.aggregate()
		if err != nil {
			return nil, err
		}
		if len(s.Aggs) == maxAggs {
			return nil, errAt(p.text, t.pos, fmt.Sprintf("more than %d aggregates", maxAggs))
		}
		if slices.ContainsFunc(s.Aggs, func(b Aggregate) bool { return a.Name() == b.Name() }) {
			return nil, errAt(p.text, t.pos, a.Name()+" is there already")
		}
		s.Aggs = append(s.Aggs, a)
		if !p.take(",") {
			break
		}
	}
	if p.take("by") {
		var err error
		if s.By, err = p.fields(maxBy); err != nil {
			return nil, err
		}
	}
	if p.take("every") {
		t := p.tok
		d, err := parseDuration(t.text)
		if err != nil {
			return nil, p.failAt(t, err)
		}
		s.Every = d
		p.advance()
	}
	return s, nil
}

func (p *parser) aggregate() (Aggregate, error) {
	t := p.tok
	fn := Func(slices.Index(funcText[1:], t.text) + 1)
	if t.kind != tWord || fn == 0 {
		e := p.fail(fmt.Sprintf("%s is no aggregate: use %s, active or sum, rate, min, max, p50, p95, p99 and uniq of a field", t, funcText[Conns]))
		e.Near = nearest.Word(t.text, funcText[1:])
		return Aggregate{}, e
	}
	p.advance()
	a := Aggregate{Func: fn}
	if fn == Conns || fn == Active {
		if p.tok.is("(") {
			return a, p.fail(fmt.Sprintf("%s counts connections and takes no field", fn))
		}
		return a, nil
	}
	if !p.take("(") {
		return a, p.fail(fmt.Sprintf("%s is unexpected: expected ( and a field, as in %s(bytes)", p.tok, fn))
	}
	f, at, err := p.field()
	if err != nil {
		return a, err
	}
	if err := aggregable(fn, f); err != nil {
		return a, p.failAt(at, err)
	}
	if !p.take(")") {
		return a, p.fail(fmt.Sprintf("%s is unexpected: expected )", p.tok))
	}
	a.Field = f
	return a, nil
}

// aggregable tells whether fn can be computed of f.
func aggregable(fn Func, f Field) error {
	if !f.single() {
		a, b := f.bothNames()
		return fmt.Errorf("%s is two fields: %s or %s?", f.Name, a, b)
	}
	switch k := f.Kind(); {
	case fn == Uniq, k == KindNumber:
		return nil
	case k == KindTime && (fn == Min || fn == Max):
		return nil
	default:
		return fmt.Errorf("%s is no quantity: %s needs a number with a unit, as bytes or rtt; uniq counts values of any field", f.Name, fn)
	}
}

// fields reads a list of columns; at most limit, where it is above zero.
func (p *parser) fields(limit int) ([]Field, error) {
	var list []Field
	for {
		f, t, err := p.field()
		if err != nil {
			return nil, err
		}
		if !f.single() {
			a, b := f.bothNames()
			return nil, errAt(p.text, t.pos, fmt.Sprintf("%s is two fields: %s or %s?", f.Name, a, b))
		}
		if slices.ContainsFunc(list, func(g Field) bool { return g.Name == f.Name }) {
			return nil, errAt(p.text, t.pos, f.Name+" is there already")
		}
		if list = append(list, f); limit > 0 && len(list) > limit {
			return nil, errAt(p.text, t.pos, fmt.Sprintf("more than %d fields", limit))
		}
		if !p.take(",") {
			return list, nil
		}
	}
}

func (p *parser) count() (int, error) {
	n, err := strconv.Atoi(p.tok.text)
	if err != nil || n < 1 || n > maxRows {
		return 0, p.fail(fmt.Sprintf("%s is no number of rows: give 1 to %d", p.tok, maxRows))
	}
	p.advance()
	return n, nil
}

func (p *parser) top(q *Query) (Stage, error) {
	if slices.ContainsFunc(q.Stages, func(s Stage) bool { _, top := s.(*Top); return top }) {
		return nil, p.fail("a second top: the groups are folded already")
	}
	n, err := p.count()
	if err != nil {
		return nil, err
	}
	s := &Top{N: n}
	if p.take("by") {
		t := p.tok
		if s.By, err = p.column(q); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(q.Stats().Aggs, func(a Aggregate) bool { return a.Name() == s.By }) {
			return nil, errAt(p.text, t.pos, s.By+" is no aggregate: top ranks groups by one, as in top 10 by "+q.Stats().Aggs[0].Name())
		}
	}
	return s, nil
}

// timeColumn is the column that `every` adds: the begin of the step.
const timeColumn = "time"

// column reads the name of a column of the rows so far.
func (p *parser) column(q *Query) (string, error) {
	t := p.tok
	stats := q.Stats()
	if stats == nil {
		f, _, err := p.field()
		if err != nil {
			return "", err
		}
		if !f.single() {
			a, b := f.bothNames()
			return "", errAt(p.text, t.pos, fmt.Sprintf("%s is two fields: %s or %s?", f.Name, a, b))
		}
		return f.Name, nil
	}
	var names []string
	if stats.Every > 0 {
		names = append(names, timeColumn)
	}
	for _, f := range stats.By {
		names = append(names, f.Name)
	}
	for _, a := range stats.Aggs {
		names = append(names, a.Name())
	}
	name := t.text
	if p.peek().is("(") {
		a, err := p.aggregate()
		if err != nil {
			return "", err
		}
		name = a.Name()
	} else {
		if f, ok := FieldByName(name); ok && !slices.Contains(names, name) {
			name = f.Name
		}
		p.advance()
	}
	if t.kind != tWord || !slices.Contains(names, name) {
		e := errAt(p.text, t.pos, fmt.Sprintf("%s is no column: the columns are %s", t, strings.Join(names, ", ")))
		if utf8.RuneCountInString(name) > 2 {
			e.Near = nearest.Word(name, names)
		}
		return "", e
	}
	return name, nil
}
