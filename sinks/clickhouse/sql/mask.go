package sql

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// What flow.Visibility does to a record in memory is done here in SQL: records that have no
// end in the caller's namespaces are left out before they are folded, and what is hidden
// of a connection is NULL before any condition looks at it.

// needsOfMask notes the fields that decide what is hidden.
func (c *compiler) needsOfMask() {
	if c.visible != nil {
		c.need(flow.FSrcNS, flow.FDstNS, flow.FSvcPort)
	}
}

// mine says that a namespace is the caller's; it is never NULL.
func (c *compiler) mine(ns string) string {
	names := c.visible.Namespaces()
	if len(names) == 0 {
		return "false"
	}
	quoted := make([]string, 0, len(names))
	for _, n := range names {
		quoted = append(quoted, ddl.Quote(n))
	}
	return fmt.Sprintf("ifNull(%s IN (%s), false)", ns, strings.Join(quoted, ", "))
}

// seen is the condition on records.
func (c *compiler) seen() string {
	if c.visible == nil {
		return ""
	}
	return fmt.Sprintf("\n        AND (%s OR %s)", c.mine(ddl.Ident(ddl.ColumnName(flow.FSrcNS))), c.mine(ddl.Ident(ddl.ColumnName(flow.FDstNS))))
}

// newest is where the newest record of a connection has a field that was noted.
func (c *compiler) newest(id flow.FieldID) string { return fmt.Sprintf("newest.%d", 1+c.place(id)) }

// sight gives columns that say which ends of a connection are the caller's.
func (c *compiler) sight() []string {
	if c.visible == nil {
		return nil
	}
	return []string{c.mine(c.newest(flow.FSrcNS)) + " AS mine_src", c.mine(c.newest(flow.FDstNS)) + " AS mine_dst"}
}

// masked is a field of a connection as the caller sees it, given as x.
func (c *compiler) masked(id flow.FieldID, x string) string {
	if c.visible == nil {
		return x
	}
	const src, dst = "mine_src", "mine_dst"
	if id == flow.FDstPort { // behind a Service of others, the port that was dialled
		svc := c.newest(flow.FSvcPort)
		return fmt.Sprintf("if(NOT %s AND isNotNull(%s), %s, %s)", dst, svc, svc, x)
	}
	shown := "false"
	switch flow.Exposures[id] {
	case flow.ExposeAlways:
		return x
	case flow.ExposeSource:
		shown = src
	case flow.ExposeTarget:
		shown = dst
	case flow.ExposeBoth:
		shown = "(" + src + " AND " + dst + ")"
	default: // never
	}
	return fmt.Sprintf("if(%s, %s, NULL)", shown, x)
}
