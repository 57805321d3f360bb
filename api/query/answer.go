package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// Limits bound what a query may keep.
type Limits struct {
	Groups int // of a stats stage
	Rows   int // of a list, and of the answer
	Fold   int // connections held while records are folded
}

// DefaultLimits are generous for a person and small for a server.
func DefaultLimits() Limits { return Limits{Groups: 100_000, Rows: 10_000, Fold: 1_000_000} }

// Answer gathers the rows of a query and makes the result of them. Answers of parts of
// the connections merge. It is not safe for concurrent use.
type Answer struct {
	Query        *Query
	Since, Until int64 // milliseconds since the epoch
	Scanned      Scanned

	// Visible confines the answer: connections that it does not see are as if they were
	// not there, not even scanned, and what it hides of the rest is hidden before the
	// query's condition is asked. Nil for all. Whoever fills the answer heeds it.
	Visible *flow.Visibility

	// Whole asks for connections with all that is known of them, not only the columns that
	// the query shows. A store that has whole records at hand need not look at it.
	Whole bool

	limits Limits
	table  *Table
	list   []flow.Record
	order  []Sort // of the list before its first limit, the last sort first
	keep   int    // rows of the list that can matter
	notes  []string
	stream *stream
}

// NewAnswer begins an answer over [since, until).
func NewAnswer(q *Query, since, until int64, l Limits) (*Answer, error) {
	if until <= since {
		return nil, errors.New("the range is empty: its end is not after its begin")
	}
	if _, err := q.Steps(since, until); err != nil {
		return nil, err
	}
	a := &Answer{Query: q, Since: since, Until: until, limits: l}
	if s := q.Stats(); s != nil {
		a.table = NewTable(s, l.Groups)
		return a, nil
	}
	a.keep = l.Rows + 1
	for _, s := range q.Stages {
		if s, ok := s.(*Sort); ok {
			a.order = append(a.order, *s)
		}
		if s, ok := s.(*Limit); ok {
			a.keep = min(a.keep, s.N)
			break
		}
	}
	slices.Reverse(a.order)
	return a, nil
}

// Fresh gives an answer to the same question that has nothing yet, for a store that may
// fail half-way.
func (a *Answer) Fresh() *Answer {
	b := *a
	b.Scanned, b.list, b.notes = Scanned{}, nil, slices.Clone(a.notes) // a stream goes on, as far as it is
	if a.table != nil {
		b.table = NewTable(a.Query.Stats(), a.limits.Groups)
	}
	return &b
}

// Limits are those that NewAnswer was given, and of a stream the rows that it may have.
func (a *Answer) Limits() Limits { return a.limits }

// Table gives the table of a stats query, for a store that fills groups itself; nil for
// a list.
func (a *Answer) Table() *Table { return a.table }

// Wanted is how many of the newest rows a store must add to a list, 0 for all of them.
func (a *Answer) Wanted() int {
	if len(a.order) > 0 {
		return 0
	}
	return a.keep
}

// Note adds a sentence that a reader of the answer must know.
func (a *Answer) Note(text string) {
	if !slices.Contains(a.notes, text) && len(a.notes) < 16 {
		a.notes = append(a.notes, text)
	}
}

// Add takes a row of Fold that satisfies the query's condition. Step is an
// instant of its step, and 0 without every.
func (a *Answer) Add(step int64, row *flow.Record) error {
	if a.table != nil {
		return a.table.Add(step, row)
	}
	if a.stream != nil {
		return a.stream.add(row)
	}
	a.list = append(a.list, *row)
	if len(a.list) >= 2*a.keep+64 {
		a.shrink()
	}
	return nil
}

// shrink orders the list and cuts what can no longer be in the answer.
func (a *Answer) shrink() {
	slices.SortFunc(a.list, func(x, y flow.Record) int { return compareRows(a.order, &x, &y) })
	if len(a.list) > a.keep {
		clear(a.list[a.keep:])
		a.list = a.list[:a.keep]
	}
}

// compareRows orders by sorts, the first one first, then the newest first.
func compareRows(sorts []Sort, x, y *flow.Record) int {
	for _, s := range sorts {
		f, ok := FieldByName(s.By)
		if !ok {
			continue
		}
		if c := compareValues(rowValue(x, f), rowValue(y, f), s.Desc); c != 0 {
			return c
		}
	}
	if x.End != y.End {
		return sign(x.End < y.End)
	}
	if x.ConnID != y.ConnID {
		return sign(x.ConnID > y.ConnID)
	}
	return 0
}

func sign(greater bool) int {
	if greater {
		return 1
	}
	return -1
}

// Part is an Answer on its way to another aggregator.
type Part struct {
	Groups  []*Group          `json:"groups,omitempty"`
	Rows    []json.RawMessage `json:"rows,omitempty"` // flow records
	Scanned Scanned           `json:"scanned"`
	Notes   []string          `json:"notes,omitempty"`
	// Facets are the groups of several stages, where that is what was asked for.
	Facets [][]*Group `json:"facets,omitempty"`
}

// Part gives what another aggregator needs to merge this answer into its own.
func (a *Answer) Part() *Part {
	p := &Part{Scanned: a.Scanned, Notes: a.notes}
	if a.table != nil {
		p.Groups = a.table.Groups()
		return p
	}
	a.shrink()
	for i := range a.list {
		p.Rows = append(p.Rows, flow.AppendJSON(nil, &a.list[i]))
	}
	return p
}

// Merge adds the answer of another aggregator to the same query and range.
func (a *Answer) Merge(p *Part) error {
	a.Scanned.Add(p.Scanned)
	for _, n := range p.Notes {
		a.Note(n)
	}
	if a.table != nil {
		return a.table.MergeGroups(p.Groups)
	}
	for _, raw := range p.Rows {
		var r flow.Record
		if err := flow.ParseJSON(raw, &r); err != nil {
			return fmt.Errorf("a row of another aggregator: %w", err)
		}
		if err := a.Add(0, &r); err != nil {
			return err
		}
	}
	return nil
}

// Result applies the stages and gives at most limit rows (0: as many as the limits
// allow).
func (a *Answer) Result(limit int) (*Result, error) {
	if limit <= 0 || limit > a.limits.Rows {
		limit = a.limits.Rows
	}
	return a.result(limit), nil
}

// Beyond is Result without the limit of rows: all groups, which others bound, where limit
// is 0.
func (a *Answer) Beyond(limit int) *Result {
	if limit == 0 {
		limit = max(a.limits.Groups, a.limits.Rows) + 1 // with the row of the others
	}
	return a.result(limit)
}

func (a *Answer) result(limit int) *Result {
	var res *Result
	if a.table != nil {
		res = a.groups()
	} else {
		res = a.rows()
	}
	if res.Rows == nil {
		res.Rows = []Row{} // an array in JSON, not null
	}
	if len(res.Rows) > limit {
		res.Rows, res.Cut = res.Rows[:limit], true
	}
	res.Scanned, res.Notes = a.Scanned, append(res.Notes, a.notes...)
	return res
}

// DefaultColumns are the columns of a list without a fields stage.
var DefaultColumns = []flow.FieldID{
	flow.FStart, flow.FEnd, flow.FSrcNS, flow.FSrcWorkload, flow.FSrcPod, flow.FSrcIP, flow.FSrcName, flow.FDstNS, flow.FDstWorkload, flow.FDstPod,
	flow.FDstIP, flow.FDstName, flow.FDstPort, flow.FProto, flow.FSvcPortName, flow.FOutcome, flow.FBytes, flow.FRevBytes, flow.FRTT, flow.FConnID,
}

func (a *Answer) rows() *Result {
	a.shrink()
	list := a.list
	limited := false
	for _, s := range a.Query.Stages {
		switch s := s.(type) {
		case *Limit:
			list, limited = list[:min(s.N, len(list))], true
		case *Sort:
			if limited {
				slices.SortStableFunc(list, func(x, y flow.Record) int { return compareRows([]Sort{*s}, &x, &y) })
			}
		default:
		}
	}
	fields := a.fields()
	res := &Result{Columns: columnsOf(fields), Rows: make([]Row, 0, len(list))}
	for i := range list {
		res.Rows = append(res.Rows, rowOf(&list[i], fields))
	}
	return res
}

// fields are what a list shows.
func (a *Answer) fields() (fields []Field) {
	for _, s := range a.Query.Stages {
		if s, ok := s.(*Fields); ok {
			fields = s.List
		}
	}
	if fields != nil {
		return fields
	}
	for _, id := range DefaultColumns {
		fields = append(fields, Field{Name: flow.Fields[id].Name, IDs: []flow.FieldID{id}})
	}
	return fields
}

func columnsOf(fields []Field) (out []Column) {
	for _, f := range fields {
		out = append(out, fieldColumn(f))
	}
	return out
}

func rowOf(r *flow.Record, fields []Field) Row {
	row := Row{Values: make([]any, 0, len(fields))}
	for _, f := range fields {
		row.Values = append(row.Values, rowValue(r, f))
	}
	return row
}

func fieldColumn(f Field) Column {
	c := Column{Name: f.Name, Type: "text"}
	switch f.Kind() {
	case KindNumber:
		c.Type, c.Unit = "number", flow.Fields[f.IDs[0]].Unit
	case KindTime:
		c.Type = "time"
	case KindID:
		if !words(f) {
			c.Type = "number"
		}
	default:
	}
	return c
}

// words says whether a numeric field is shown as text: proto, and identifiers.
func words(f Field) bool {
	row := &flow.Fields[f.IDs[0]]
	return f.IDs[0] == flow.FProto || row.Type == flow.TypeU64 && row.Unit == ""
}

func rowValue(r *flow.Record, f Field) any {
	s, ok := Text(r, f)
	if !ok {
		return nil
	}
	return cellValue(f, s)
}

// cellValue turns the text form of a field into a value of a Row.
func cellValue(f Field, s string) any {
	k := f.Kind()
	if f.Label != "" {
		return s
	}
	switch {
	case f.IDs[0] == flow.FProto:
		for _, p := range flow.Protocols {
			if strconv.Itoa(int(p.Number)) == s {
				return p.Word
			}
		}
	case k == KindBool:
		return s == "true"
	case (k == KindNumber || k == KindID) && !words(f):
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return n
		}
	}
	return s
}

// FormatTime writes milliseconds since the epoch as rows do.
func FormatTime(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// Notes gives what Note added.
func (a *Answer) Notes() []string { return a.notes }

// Records gives the rows of a list as records, in its order, at most as many as matter.
func (a *Answer) Records() []flow.Record {
	a.shrink()
	return a.list
}
