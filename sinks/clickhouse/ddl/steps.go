package ddl

import (
	"fmt"
	"slices"
	"time"
)

// Step is one version of the layout: what makes it out of the one before, and what takes
// it back. Every statement may run again without harm, as several aggregators may begin
// at once.
type Step struct {
	Version  int
	Doc      string
	Up, Down []string
}

// Latest is the newest version that this Weir knows.
const Latest = 3

// Steps gives all steps in their order. Columns are no steps: a field that is new in the
// table of fields is added to what stands (see Missing), and one that is gone stays.
func (l *Layout) Steps() []Step {
	flows := Step{Version: 1, Doc: "the table of flows", Up: l.createFlows(), Down: l.dropTable(Flows)}
	rollups := Step{Version: 2, Doc: "sums by pod, node, policy and minute"}
	for i := range Rollups {
		r := &Rollups[i]
		rollups.Up = append(rollups.Up, l.createRollup(r)...)
		rollups.Down = append(rollups.Down, l.drop("VIEW", viewOf(r.Table)))
		rollups.Down = append(rollups.Down, l.dropTable(r.Table)...)
	}
	view := Step{Version: 3, Doc: "a view with Theia's names", Up: []string{l.createTheia()}, Down: []string{l.drop("VIEW", TheiaView)}}
	return []Step{flows, rollups, view}
}

// Missing gives the statements that bring columns to those of this version: have are the
// names and types that stand, by table (Local names).
func (l *Layout) Missing(have map[string]map[string]string) []string {
	var out []string
	// The sums first: their view must be able to write what the flows can hold.
	for _, r := range Rollups {
		if stands := have[l.Local(r.Table)]; stands != nil {
			for _, c := range Columns() {
				if slices.Contains(r.By, c.ID) && stands[c.Name] != c.Type {
					out = append(out, l.change(r.Table, Ident(c.Name)+" "+c.Type, &c, true)...)
				}
			}
		}
	}
	flows := have[l.Local(Flows)]
	for _, c := range Columns() {
		if typ, ok := flows[c.Name]; !ok || typ != c.Type {
			out = append(out, l.change(Flows, c.Definition(), &c, ok)...)
		}
	}
	return out
}

// change adds or changes a column of a table, and of the Distributed one before it, which
// has no codecs.
func (l *Layout) change(table, def string, c *Column, there bool) []string {
	verb := "ADD COLUMN IF NOT EXISTS"
	if there {
		verb = "MODIFY COLUMN"
	}
	out := []string{fmt.Sprintf("ALTER TABLE %s%s %s %s", l.Name(l.Local(table)), l.on(), verb, def)}
	if l.Cluster != "" {
		out = append(out, fmt.Sprintf("ALTER TABLE %s%s %s %s %s", l.Name(table), l.on(), verb, Ident(c.Name), c.Type))
	}
	return out
}

// Retain gives the statements that set the retention of the tables that stand.
func (l *Layout) Retain() []string {
	alter := func(table, expr string) string {
		if l.Retention <= 0 {
			return fmt.Sprintf("ALTER TABLE %s%s REMOVE TTL", l.Name(l.Local(table)), l.on())
		}
		return fmt.Sprintf("ALTER TABLE %s%s MODIFY TTL %s + INTERVAL %d SECOND", l.Name(l.Local(table)), l.on(), expr, int64(l.Retention/time.Second))
	}
	out := []string{alter(Flows, Inserted)}
	for _, r := range Rollups {
		out = append(out, alter(r.Table, "minute"))
	}
	return out
}
