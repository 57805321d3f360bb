package query

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// ErrGroups is the error of a query with more groups than may be kept.
var ErrGroups = errors.New("too many groups: add a condition, or group by fewer fields or longer steps")

// MaxSteps is the greatest number of steps of `every` in a range.
const MaxSteps = 10_000

// Steps gives the steps of a range: of the query's every, cut at the range, or the
// range itself. Milliseconds since the epoch.
func (q *Query) Steps(since, until int64) ([][2]int64, error) {
	st := q.Stats()
	if st == nil || st.Every == 0 {
		return [][2]int64{{since, until}}, nil
	}
	ms := st.Every.Milliseconds()
	if (until-since)/ms >= MaxSteps {
		return nil, fmt.Errorf("a range of %s has more than %d steps of %s: give a longer step", time.Duration(until-since)*time.Millisecond, MaxSteps, FormatDuration(st.Every))
	}
	var out [][2]int64
	for t := StepOf(since, ms); t < until; t += ms {
		out = append(out, [2]int64{max(t, since), min(t+ms, until)})
	}
	return out, nil
}

// StepOf gives the begin of the step of ms milliseconds that t falls into.
func StepOf(t, ms int64) int64 {
	r := t % ms
	if r < 0 {
		r += ms
	}
	return t - r
}

// Cell is one value of a group's key: the text form of a field, or absent.
type Cell struct {
	Text    string `json:"text,omitempty"`
	Present bool   `json:"present,omitempty"`
}

// Group is a row of a Table.
type Group struct {
	Step int64  `json:"step,omitempty"` // begin of the step on the grid, where there are steps
	Key  []Cell `json:"key,omitempty"`  // as Stats.By
	Accs []Acc  `json:"accs"`           // as Stats.Aggs
}

// Table holds the groups of a stats stage while connections are added. Tables of
// different parts of the connections merge.
type Table struct {
	stats  *Stats
	max    int
	groups map[string]*Group
	key    []byte
	cells  []Cell
}

// NewTable makes a table of at most maxGroups groups.
func NewTable(s *Stats, maxGroups int) *Table {
	return &Table{stats: s, max: maxGroups, groups: map[string]*Group{}, cells: make([]Cell, len(s.By))}
}

// Len is the number of groups.
func (t *Table) Len() int { return len(t.groups) }

// Group gives the group of a key, a new one where there is none; key is copied. Step
// is an instant of the step, 0 without every; the group has the step's begin on the grid,
// whatever the range cuts off. The error is ErrGroups.
func (t *Table) Group(step int64, key []Cell) (*Group, error) {
	if t.stats.Every > 0 {
		step = StepOf(step, t.stats.Every.Milliseconds())
	}
	t.key = binary.BigEndian.AppendUint64(t.key[:0], uint64(step))
	for _, c := range key {
		if !c.Present {
			t.key = append(t.key, 0)
			continue
		}
		t.key = binary.AppendUvarint(append(t.key, 1), uint64(len(c.Text)))
		t.key = append(t.key, c.Text...)
	}
	if g, ok := t.groups[string(t.key)]; ok {
		return g, nil
	}
	if len(t.groups) >= t.max {
		return nil, fmt.Errorf("%w (%d are kept)", ErrGroups, t.max)
	}
	g := &Group{Step: step, Key: slices.Clone(key), Accs: make([]Acc, len(t.stats.Aggs))}
	t.groups[string(t.key)] = g
	return g, nil
}

// Add counts a row of Fold in its group. Step is an instant of the row's step, 0 without
// every.
func (t *Table) Add(step int64, r *flow.Record) error {
	for i, f := range t.stats.By {
		t.cells[i].Text, t.cells[i].Present = Text(r, f)
	}
	g, err := t.Group(step, t.cells)
	if err != nil {
		return err
	}
	for i := range t.stats.Aggs {
		g.Accs[i].add(&t.stats.Aggs[i], r)
	}
	return nil
}

// Merge adds the groups of another table of the same stage.
func (t *Table) Merge(o *Table) error { return t.MergeGroups(o.Groups()) }

// MergeGroups adds groups that came from another aggregator.
func (t *Table) MergeGroups(list []*Group) error {
	for _, g := range list {
		if g == nil {
			return errors.New("a group without content: do all aggregators run one version?")
		}
		if len(g.Key) != len(t.stats.By) || len(g.Accs) != len(t.stats.Aggs) {
			return fmt.Errorf("a group of %d keys and %d aggregates does not fit the query: do all aggregators run one version?", len(g.Key), len(g.Accs))
		}
		own, err := t.Group(g.Step, g.Key)
		if err != nil {
			return err
		}
		for i := range own.Accs {
			own.Accs[i].Merge(&g.Accs[i])
		}
	}
	return nil
}

// Groups gives the groups ordered by step and key.
func (t *Table) Groups() []*Group {
	keys := make([]string, 0, len(t.groups))
	for k := range t.groups {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make([]*Group, 0, len(keys))
	for _, k := range keys {
		out = append(out, t.groups[k])
	}
	return out
}
