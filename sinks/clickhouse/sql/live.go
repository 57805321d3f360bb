package sql

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// LiveTable is the name of a table, of the client's for this query, with records that the
// table of flows may not have yet.
const LiveTable = "live_records"

// records is what rows folds: the table and, where it is asked for, what is live besides.
func (c *compiler) records() string {
	where := fmt.Sprintf("\n      WHERE `end` >= %s AND (since < %s OR `end` < %s)%s", instant(c.since), instant(c.until), instant(c.until), c.seen())
	if !c.live {
		return c.table + where
	}
	names := make([]string, 0, len(c.columns))
	for _, id := range c.columns {
		names = append(names, ddl.Ident(ddl.ColumnName(id)))
	}
	cols := strings.Join(names, ", ")
	return fmt.Sprintf(`(
      SELECT %s, toString(spool) AS spool, pos, false AS live FROM %s%s
      UNION ALL
      SELECT %s, '' AS spool, toUInt64(0) AS pos, true AS live FROM %s%s
      )`, cols, c.table, where, cols, LiveTable, where)
}

// sums adds up the shares of a connection's records.
type sums struct {
	live   bool
	ids    []flow.FieldID
	shares []string
}

func (c *compiler) newSums() *sums { return &sums{live: c.live} }

// add takes a counter's share of a record, and gives columns that end with the sum over the
// connection under a name.
func (s *sums) add(id flow.FieldID, share, name string) string {
	s.ids, s.shares = append(s.ids, id), append(s.shares, share)
	sum, before := fmt.Sprintf("s%d", id), ""
	if s.live {
		before = fmt.Sprintf("arrayFilter(x -> isNotNull(x), arrayMap(x -> x.%d, fresh)) AS u%d,\n    if(isNull(s%d) AND empty(u%d), NULL, toNullable(ifNull(s%d, toUInt128(0)) + arraySum(x -> assumeNotNull(x), u%d))) AS m%d,\n    ",
			2+len(s.ids), id, id, id, id, id, id)
		sum = fmt.Sprintf("m%d", id)
		if len(s.ids) == 1 {
			before = "arrayFilter(x -> (x.1, x.2) > stored, untold) AS fresh,\n    " + before
		}
	}
	return fmt.Sprintf("%sif(isNull(%s), NULL, toNullable(toUInt64(least(assumeNotNull(%s), toUInt128(18446744073709551615))))) AS %s", before, sum, sum, name)
}

// columns are those by which add's sums are told.
func (s *sums) columns() (out []string) {
	for i, x := range s.shares {
		if s.live {
			out = append(out, fmt.Sprintf("sumIf(%s, NOT live) AS s%d", x, s.ids[i]))
		} else {
			out = append(out, fmt.Sprintf("sum(%s) AS s%d", x, s.ids[i]))
		}
	}
	if s.live && len(s.ids) > 0 {
		out = append(out, "maxIf((`end`, ifNull(seq, 0)), NOT live) AS stored",
			fmt.Sprintf("groupArrayIf((`end`, ifNull(seq, 0), %s), live) AS untold", strings.Join(s.shares, ", ")))
	}
	return out
}
