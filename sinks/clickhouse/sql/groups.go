package sql

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// The columns of groups are, in this order: the begin of the step in milliseconds (Int64)
// where there are steps; the text of each key (Nullable(String)); and for each aggregate:
//
//	conns, active   UInt64
//	others          UInt64, UInt64: connections with the field and without it, and then
//	sum, rate       Nullable(String): the sum in digits
//	min, max        Nullable(String)
//	p50, p95, p99   UInt64 zeros; bins and their counts, Array(Int32), Array(UInt64), of
//	                positive numbers and again of negative ones (query.Sketch)
//	uniq            Array(UInt64), at most query.UniqExact+1 hashes; Array(UInt64),
//	                Array(UInt64): registers and their values (query.Distinct)
func (c *compiler) groups(st *query.Stats, most int) *Statement {
	var cols, keys []string
	if c.every > 0 {
		cols, keys = append(cols, fmt.Sprintf("toInt64(step * %d)", c.every)), append(keys, "step")
	}
	for i, f := range st.By {
		c.need(f.IDs[0])
		cols = append(cols, fmt.Sprintf("%s AS k%d", text(f), i))
		keys = append(keys, fmt.Sprintf("k%d", i))
	}
	for _, a := range st.Aggs {
		cols = append(cols, c.aggregate(&a)...)
	}
	group := ""
	if len(keys) > 0 {
		group = "\nGROUP BY " + strings.Join(keys, ", ")
	}
	return &Statement{SQL: fmt.Sprintf("SELECT %s\nFROM (%s)\nWHERE %s%s\nLIMIT %d", strings.Join(cols, ",\n    "), c.rows(), c.where, group, most+1)}
}

func (c *compiler) aggregate(a *query.Aggregate) []string {
	switch a.Func {
	case query.Active:
		return []string{"count()"}
	case query.Conns:
		c.need(flow.FFirst)
		return []string{"countIf(ifNull(" + value(flow.FFirst) + ", false))"}
	default:
	}
	id := a.Field.IDs[0]
	c.need(id)
	x := value(id)
	if flow.Fields[id].Type == flow.TypeMillis {
		x = "toUnixTimestamp64Milli(" + x + ")"
	}
	if a.Func == query.Uniq {
		x = text(a.Field)
	}
	out := []string{"countIf(isNotNull(" + x + "))", "countIf(isNull(" + x + "))"}
	switch a.Func {
	case query.Sum, query.Rate:
		return append(out, "CAST(sum(toInt256("+x+")) AS Nullable(String))")
	case query.Min, query.Max:
		return append(out, "CAST("+a.Func.String()+"(toInt128("+x+")) AS Nullable(String))")
	case query.Uniq:
		return append(out, distinct(x)...)
	default:
		return append(out, sketch(x)...)
	}
}

// sketch counts numbers in the bins of query.Sketch.
func sketch(x string) []string {
	v := "toFloat64(ifNull(" + x + ", 0))"
	bins := func(v string) []string {
		m := fmt.Sprintf("sumMapIf([toInt32(ceil(log(abs(%s) + (%s = 0)) / log(%.17g)))], [toUInt64(1)], %s > 0)", v, v, (1+query.SketchError)/(1-query.SketchError), v)
		return []string{"tupleElement(" + m + ", 1)", "tupleElement(" + m + ", 2)"}
	}
	return append(append([]string{"countIf(ifNull(" + x + " = 0, false))"}, bins(v)...), bins("(-"+v+")")...)
}

// distinct gathers hashes, and the registers of query.Distinct for more of them than it
// keeps: the place is a hash's 12 highest bits, the value the number of zeros behind them
// and one.
func distinct(x string) []string {
	h := "xxHash64(ifNull(" + x + ", ''))"
	length := "length(replaceRegexpOne(bin(bitOr(bitShiftLeft(" + h + ", 12), toUInt64(2048))), '^0+', ''))"
	m := fmt.Sprintf("maxMapIf([bitShiftRight(%s, 52)], [toUInt64(65 - %s)], isNotNull(%s))", h, length, x)
	return []string{
		fmt.Sprintf("groupUniqArrayIf(%d)(%s, isNotNull(%s))", query.UniqExact+1, h, x),
		"tupleElement(" + m + ", 1)", "tupleElement(" + m + ", 2)",
	}
}
