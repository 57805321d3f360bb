// Package sql turns a query of the language into one of ClickHouse over the table of
// flows, with the same meaning: its rows are connections within a range, with what moved
// in it (package query, doc), folded from records in SQL as query.Fold does in memory.
//
// In: a query.Query, a range, the table's name. Out: the text of a SELECT and what its
// columns are. It is text to text; sinks/clickhouse asks it.
package sql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

//go:generate go test . -run ^TestGolden$ -update

// Statement is a SELECT.
type Statement struct {
	SQL string
	// List are the fields of a list of connections, in the order of the columns; each is
	// the field's text, or NULL. Nil for groups, whose columns Groups describes.
	List []flow.FieldID
	// Live are the columns that the table LiveTable must have; see Request.Live.
	Live []flow.FieldID
}

// compiler writes one query.
type compiler struct {
	q            *query.Query
	table        string
	since, until int64
	every        int64 // milliseconds; 0 without steps
	fields       []flow.FieldID
	where        string
	visible      *flow.Visibility
	whole, live  bool
	columns      []flow.FieldID // of records, that rows reads
}

// Request is a query over [Since, Until), milliseconds since the epoch.
type Request struct {
	Query        *query.Query
	Since, Until int64
	Limits       query.Limits     // of rows and groups; one more comes of either, so that it can be told
	Visible      *flow.Visibility // as query.Answer has it
	Whole        bool             // a list has all fields, not only those it shows

	// Live reads LiveTable besides. Of a connection's records there those count that are newer
	// than all that are stored, so that one that is in both counts once.
	Live bool
}

// Compile writes the SELECT for a request to a table.
func Compile(r *Request, table string) (*Statement, error) {
	if r.Until <= r.Since || r.Since < 0 {
		return nil, fmt.Errorf("the range %d to %d is empty or begins before 1970", r.Since, r.Until)
	}
	plain, err := query.Lower(r.Query.Expr)
	if err != nil {
		return nil, err
	}
	c := &compiler{q: r.Query, table: table, since: r.Since, until: r.Until, visible: r.Visible, whole: r.Whole, live: r.Live}
	if c.where, err = condition(plain); err != nil {
		return nil, err
	}
	c.needs(plain)
	c.needsOfMask()
	if st := r.Query.Stats(); st != nil {
		c.every = st.Every.Milliseconds()
		return c.done(c.groups(st, r.Limits.Groups)), nil
	}
	return c.done(c.list(r.Limits.Rows)), nil
}

// done says of a statement what it reads besides the table.
func (c *compiler) done(st *Statement) *Statement {
	if c.live {
		st.Live = c.columns
	}
	return st
}

func (c *compiler) need(ids ...flow.FieldID) {
	for _, id := range ids {
		if !slices.Contains(c.fields, id) {
			c.fields = append(c.fields, id)
		}
	}
}

// needs notes which fields a condition looks at.
func (c *compiler) needs(n query.Node) {
	switch n := n.(type) {
	case query.All:
		for _, x := range n {
			c.needs(x)
		}
	case query.Any:
		for _, x := range n {
			c.needs(x)
		}
	case query.None:
		c.needs(n.Node)
	case query.Present:
		c.need(n.ID)
	case query.Test:
		c.need(n.ID)
	}
}

// list writes connections, the newest first where nothing else is asked for.
func (c *compiler) list(rows int) *Statement {
	shown := slices.Clone(query.DefaultColumns)
	keep := rows + 1
	var sorts []query.Sort
	limited := false
	for _, s := range c.q.Stages {
		switch s := s.(type) {
		case *query.Fields:
			shown = nil
			for _, f := range s.List {
				shown = append(shown, f.IDs...)
			}
		case *query.Sort:
			if f, ok := query.FieldByName(s.By); ok && !limited {
				sorts = append(sorts, *s)
			} else if ok {
				shown = append(shown, f.IDs...)
			}
		case *query.Limit:
			if !limited {
				keep = min(keep, s.N)
			}
			limited = true
		}
	}
	slices.Reverse(sorts)
	var by []string
	for _, s := range sorts {
		f, _ := query.FieldByName(s.By)
		shown = append(shown, f.IDs...)
		dir := "ASC"
		if s.Desc {
			dir = "DESC"
		}
		by = append(by, order(f)+" "+dir+" NULLS LAST")
	}
	shown = append(shown, flow.FEnd, flow.FConnID)
	if c.whole {
		shown = flow.AllFields()
	}
	slices.Sort(shown)
	shown = slices.Compact(shown)
	c.need(shown...)
	by = append(by, value(flow.FEnd)+" DESC", "ifNull("+value(flow.FConnID)+", 0) ASC")
	cols := make([]string, 0, len(shown))
	names := make([]string, 0, len(shown))
	for i, id := range shown {
		cols = append(cols, fmt.Sprintf("%s AS c%d", text(query.Field{Name: flow.Fields[id].Name, IDs: []flow.FieldID{id}}), i))
		names = append(names, fmt.Sprintf("c%d", i))
	}
	if c.visible != nil {
		// The number of a connection is hidden: what is shown alone decides which of two
		// connections comes first. A tuple, as the server compiles code for each key.
		by = append(by, "tuple("+strings.Join(names, ", ")+")")
	}
	return &Statement{
		SQL:  fmt.Sprintf("SELECT %s\nFROM (%s)\nWHERE %s\nORDER BY %s\nLIMIT %d", strings.Join(cols, ",\n    "), c.rows(), c.where, strings.Join(by, ", "), keep),
		List: shown,
	}
}

// counter gives the delta of a counter that a row sums.
func counter(id flow.FieldID) (delta flow.FieldID, ok bool) {
	for _, p := range query.Counters {
		if p.Total == id {
			return p.Delta, true
		}
	}
	return 0, false
}

// rows writes the fold: one row a connection, and a step where there are steps, with the
// columns that value names.
func (c *compiler) rows() string {
	if slices.Contains(c.fields, flow.FFirst) {
		c.need(flow.FStart)
	}
	begin, end := fmt.Sprint(c.since), fmt.Sprint(c.until)
	var step, steps, key string
	if c.every > 0 {
		begin, end = fmt.Sprintf("greatest(step * %d, %d)", c.every, c.since), fmt.Sprintf("least((step + 1) * %d, %d)", c.every, c.until)
		step, key = "step,\n    ", ", step"
		steps = fmt.Sprintf("\n    ARRAY JOIN range(toUInt64(intDiv(greatest(t0, %d), %d)), toUInt64(intDiv(least(t1, %d), %d)) + 1) AS step", c.since, c.every, c.until-1, c.every)
	}
	c.columns = slices.Clone(fold)
	var newest, inner []string
	outer := c.sight()
	shares := c.newSums()
	for _, id := range c.fields {
		delta, summed := counter(id)
		switch {
		case summed:
			c.columns = append(c.columns, delta)
			outer = append(outer, shares.add(id, share(ddl.Ident(ddl.ColumnName(delta)), begin, end), value(id)))
		case id == flow.FFirst:
			newest = append(newest, ddl.Ident(ddl.ColumnName(id)))
			first, start := fmt.Sprintf("newest.%d", len(newest)), fmt.Sprintf("toUnixTimestamp64Milli(newest.%d)", 1+c.place(flow.FStart))
			outer = append(outer, fmt.Sprintf("if(opened OR isNotNull(%s) OR isNotNull(%s), CAST(opened AND ifNull(%s >= %s AND %s < %s, true) AS Nullable(Bool)), NULL) AS %s",
				first, start, start, begin, start, end, value(id)))
		default:
			c.columns = append(c.columns, id)
			newest = append(newest, ddl.Ident(ddl.ColumnName(id)))
			outer = append(outer, c.masked(id, fmt.Sprintf("newest.%d", len(newest)))+" AS "+value(id))
		}
	}
	slices.Sort(c.columns)
	c.columns = slices.Compact(c.columns)
	inner = append(inner, shares.columns()...)
	inner = append(inner, fmt.Sprintf("argMax(tuple(%s), (`end`, ifNull(`final`, false), ifNull(seq, 0), ifNull(records, 0), pos)) AS newest", strings.Join(append(newest, "0"), ", ")))
	inner = append(inner, fmt.Sprintf("max(ifNull(if(isNotNull(start), toUnixTimestamp64Milli(start) >= %s AND toUnixTimestamp64Milli(start) < %s, `first` AND t0 >= %s AND t0 < %s), false)) AS opened", begin, end, begin, end))
	return fmt.Sprintf(`SELECT %s%s
  FROM (
    SELECT %s%s
    FROM (
      SELECT *, toUnixTimestamp64Milli(`+"`end`"+`) AS t1, least(ifNull(toUnixTimestamp64Milli(since), t1), t1) AS t0,
        if(isNull(conn_id), toString((spool, pos)), '') AS lone
      FROM %s
    )%s
    WHERE if(t0 = t1, t1 >= %s AND t1 < %s, t0 < %s AND t1 > %s)
    GROUP BY conn_id, lone%s
  )`, step, strings.Join(outer, ",\n    "), step, strings.Join(inner, ",\n      "), c.records(),
		steps, begin, end, end, begin, key)
}

// fold are the fields by which records are folded.
var fold = []flow.FieldID{flow.FStart, flow.FEnd, flow.FSince, flow.FFirst, flow.FFinal, flow.FSeq, flow.FRecords, flow.FConnID}

// place is where a field stands among those of the newest record.
func (c *compiler) place(id flow.FieldID) int {
	n := 0
	for _, f := range c.fields {
		if f == id {
			return n
		}
		if _, summed := counter(f); !summed {
			n++
		}
	}
	return n
}

func instant(ms int64) string { return fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", ms) }

// share is query.Share: the part of v that falls into [begin, end), where v is spread
// evenly over [t0, t1); NULL where v is.
func share(v, begin, end string) string {
	upTo := func(t string) string {
		return fmt.Sprintf("multiIf(isNull(%s), NULL, %s <= t0, toUInt128(0), %s >= t1, toUInt128(assumeNotNull(%s)), intDiv(toUInt128(assumeNotNull(%s)) * toUInt128(%s - t0), toUInt128(greatest(t1 - t0, 1))))", v, t, t, v, v, t)
	}
	return fmt.Sprintf("if(t0 = t1, toUInt128(%s), toUInt128(%s - %s))", v, upTo(end), upTo(begin))
}
