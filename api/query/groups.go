package query

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// groups makes the result of a stats query.
func (a *Answer) groups() *Result {
	st := a.Query.Stats()
	list := a.table.Groups()
	if len(list) == 0 && len(st.By) == 0 && st.Every == 0 {
		list = []*Group{{Accs: make([]Acc, len(st.Aggs))}}
	}
	res := &Result{Columns: statsColumns(st), Notes: notes(st, list)}
	by, top := 0, (*Top)(nil)
	for _, s := range a.Query.Stages {
		if s, ok := s.(*Top); ok {
			top = s
			if i := slices.IndexFunc(st.Aggs, func(g Aggregate) bool { return g.Name() == s.By }); i >= 0 {
				by = i
			}
		}
	}
	var other map[*Group]bool
	if top != nil {
		list, other = foldTop(st, list, top.N, by)
	}
	for _, g := range list {
		res.Rows = append(res.Rows, a.groupRow(st, g, other[g]))
	}
	first := len(res.Columns) - len(st.Aggs) + by
	slices.SortStableFunc(res.Rows, func(x, y Row) int {
		if st.Every > 0 {
			if c := compareValues(x.Values[0], y.Values[0], false); c != 0 {
				return c
			}
		}
		if x.Other != y.Other {
			return sign(x.Other)
		}
		return compareValues(x.Values[first], y.Values[first], true)
	})
	for _, s := range a.Query.Stages {
		switch s := s.(type) {
		case *Sort:
			i := slices.IndexFunc(res.Columns, func(c Column) bool { return c.Name == s.By })
			slices.SortStableFunc(res.Rows, func(x, y Row) int {
				if x.Other != y.Other {
					return sign(x.Other)
				}
				return compareValues(x.Values[i], y.Values[i], s.Desc)
			})
		case *Limit:
			res.Rows = res.Rows[:min(s.N, len(res.Rows))]
		default:
		}
	}
	return res
}

func statsColumns(st *Stats) []Column {
	var out []Column
	if st.Every > 0 {
		out = append(out, Column{Name: timeColumn, Type: "time"})
	}
	for _, f := range st.By {
		out = append(out, fieldColumn(f))
	}
	for _, g := range st.Aggs {
		c := Column{Name: g.Name(), Type: "number"}
		switch {
		case g.Func == Conns, g.Func == Active, g.Func == Uniq:
		case g.Field.Kind() == KindTime:
			c.Type = "time"
		default:
			c.Unit = flow.Fields[g.Field.IDs[0]].Unit
			if g.Func == Rate {
				c.Unit += "/s"
			}
		}
		out = append(out, c)
	}
	return out
}

func notes(st *Stats, list []*Group) []string {
	var out []string
	for i, g := range st.Aggs {
		if g.Func.Quantile() > 0 {
			out = append(out, fmt.Sprintf("%s is within %g %% of the value of that rank", g.Name(), SketchError*100))
		}
		if g.Func == Uniq && slices.ContainsFunc(list, func(g *Group) bool { return g.Accs[i].Distinct != nil && g.Accs[i].Distinct.Registers != nil }) {
			out = append(out, fmt.Sprintf("%s is exact up to %d values, above that its standard error is %.1f %%", g.Name(), UniqExact, UniqError*100))
		}
	}
	return out
}

func (a *Answer) groupRow(st *Stats, g *Group, other bool) Row {
	row := Row{Other: other}
	from, to := a.Since, a.Until
	if st.Every > 0 {
		from, to = max(from, g.Step), min(to, g.Step+st.Every.Milliseconds())
		row.Values = append(row.Values, FormatTime(g.Step))
	}
	for i, f := range st.By {
		switch {
		case other && i == 0:
			row.Values = append(row.Values, "other")
		case other || !g.Key[i].Present:
			row.Values = append(row.Values, nil)
		default:
			row.Values = append(row.Values, cellValue(f, g.Key[i].Text))
		}
	}
	keys := len(row.Values)
	for i := range st.Aggs {
		acc := &g.Accs[i]
		v := acc.Value(st.Aggs[i].Func, float64(to-from)/1000)
		if n, ok := v.(int64); ok && st.Aggs[i].Func != Uniq && st.Aggs[i].Field.Name != "" && st.Aggs[i].Field.Kind() == KindTime {
			v = FormatTime(n)
		}
		row.Values = append(row.Values, v)
		if acc.Uncounted > 0 {
			if row.Uncounted == nil {
				row.Uncounted = make([]uint64, keys+len(st.Aggs))
			}
			row.Uncounted[keys+i] = acc.Uncounted
		}
	}
	return row
}

// foldTop keeps the n keys whose aggregate number by is the greatest over all steps, and
// folds the groups of the other keys into one a step.
func foldTop(st *Stats, list []*Group, n, by int) (kept []*Group, other map[*Group]bool) {
	total := NewTable(st, len(list)+1)
	for _, g := range list {
		if t, err := total.Group(0, g.Key); err == nil {
			for i := range t.Accs {
				t.Accs[i].Merge(&g.Accs[i])
			}
		}
	}
	keys := total.Groups()
	if len(keys) <= n {
		return list, nil
	}
	slices.SortStableFunc(keys, func(x, y *Group) int {
		fn := st.Aggs[by].Func
		return compareValues(x.Accs[by].Value(fn, 1), y.Accs[by].Value(fn, 1), true)
	})
	best := NewTable(st, n)
	for _, k := range keys[:n] {
		_, _ = best.Group(0, k.Key) // has room for all
	}
	rest := map[int64]*Group{}
	other = map[*Group]bool{}
	for _, g := range list {
		if _, err := best.Group(0, g.Key); err == nil {
			kept = append(kept, g)
			continue
		}
		o := rest[g.Step]
		if o == nil {
			o = &Group{Step: g.Step, Accs: make([]Acc, len(st.Aggs))}
			rest[g.Step], other[o] = o, true
			kept = append(kept, o)
		}
		for i := range o.Accs {
			o.Accs[i].Merge(&g.Accs[i])
		}
	}
	return kept, other
}

// compareValues orders values of rows; nil comes last either way.
func compareValues(a, b any, desc bool) int {
	if a == nil || b == nil {
		switch {
		case a == nil && b == nil:
			return 0
		case a == nil:
			return 1
		}
		return -1
	}
	c := 0
	x, xn := wide(a)
	y, yn := wide(b)
	switch {
	case xn && yn:
		c = x.Compare(y)
	case isFloat(a) || isFloat(b):
		c = cmp.Compare(float(a), float(b))
	default:
		c = cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
	}
	if desc {
		return -c
	}
	return c
}

func wide(v any) (Wide, bool) {
	switch v := v.(type) {
	case int64:
		return WideInt(v), true
	case uint64:
		return WideUint(v), true
	}
	return Wide{}, false
}

func isFloat(v any) bool { _, ok := v.(float64); return ok }

func float(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	}
	return 0
}
