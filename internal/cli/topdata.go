package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/query"
)

// topMetrics are what `top` counts and orders by.
var topMetrics = []string{"conns", "bytes", "failed", "denied", "retransmits"}

// tally is a sum; absent is not zero.
type tally struct {
	n         uint64
	known     bool
	uncounted uint64 // connections that had no value to add
}

func (a *tally) add(v any, uncounted uint64) {
	a.uncounted += uncounted
	n, ok := v.(json.Number)
	if !ok {
		return
	}
	f, err := n.Float64()
	if err != nil || f < 0 {
		return
	}
	a.n += uint64(f)
	a.known = true
}

// topRow is one group within the window.
type topRow struct {
	by     []string // values of the fields; a dash where absent
	values map[string]*tally
}

// sample is one look at the window.
type sample struct {
	until   time.Time
	window  time.Duration
	rows    []topRow
	scanned uint64
	took    float64 // ms
	notes   []string
}

// failures are the outcomes that count as failed; denied is a metric of its own.
var failures = map[string]bool{"refused": true, "reset": true, "timed_out": true, "unanswered": true, "path_loss": true}

// topQuery is the query of one look: outcome is a field more, so that one query counts
// all metrics.
func topQuery(cond string, by []string) string {
	return strings.TrimSpace(cond+" | stats conns, sum(bytes), sum(reverse.bytes), sum(src.retransmits), sum(dst.retransmits) by "+strings.Join(by, ", ")) + ", outcome"
}

// checkTop says what is wrong with a condition or with the fields.
func checkTop(cond string, by []string) error {
	if _, err := query.ParseExpr(cond); err != nil {
		return fmt.Errorf("condition: %w", err)
	}
	if len(by) == 0 || slices.Contains(by, "") {
		return fmt.Errorf("by: name fields, as in src.workload, dst.workload")
	}
	for i, f := range by {
		if _, err := query.Parse("| stats conns by " + f); err != nil {
			return fmt.Errorf("by %s: %w", f, strip(err))
		}
		if slices.Contains(by[:i], f) {
			return fmt.Errorf("by: %s stands twice", f)
		}
	}
	return nil
}

// strip leaves the place out of a query's error: the text is not the person's.
func strip(err error) error {
	_, text, ok := strings.Cut(err.Error(), ": ")
	if !ok || !strings.HasPrefix(err.Error(), "column ") {
		return err
	}
	return fmt.Errorf("%s", text)
}

// askTop looks at the window that ends now.
func askTop(ctx context.Context, c *client, cond string, by []string, window time.Duration) (*sample, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	text := topQuery(cond, by)
	if slices.Contains(by, "outcome") {
		text = strings.TrimSuffix(text, ", outcome")
	}
	body, err := c.postQuery(ctx, url.Values{"q": {text}, "since": {window.String()}})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	s := &sample{window: window}
	groups := map[string]int{}
	head, tail, err := readAnswer(c, body, func(*api.Head) error { return nil }, func(h *api.Head, r *query.Row) error {
		s.addRow(groups, len(by), h, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.until, s.scanned, s.took = head.Until, tail.Scanned.Rows, tail.TookMs
	if tail.Cut {
		s.notes = append(s.notes, "more groups than the server gives: narrow the condition")
	}
	for i := range tail.Partial {
		s.notes = append(s.notes, missing(&tail.Partial[i]))
	}
	if c := tail.Coverage; c != nil && c.Full < c.Nodes {
		s.notes = append(s.notes, c.Summary)
	}
	return s, nil
}

// addRow adds a row of the answer, one outcome of a group, to the group's.
func (s *sample) addRow(groups map[string]int, fields int, h *api.Head, r *query.Row) {
	outcome := ""
	key := make([]string, fields)
	for i, c := range h.Columns {
		v := "-"
		if t, ok := r.Values[i].(string); ok {
			v = clean(t)
		} else if r.Values[i] != nil {
			v = fmt.Sprint(r.Values[i])
		}
		if c.Name == "outcome" {
			outcome = v
		}
		if i < fields {
			key[i] = v
		}
	}
	k := strings.Join(key, "\x00")
	at, ok := groups[k]
	if !ok {
		at = len(s.rows)
		groups[k] = at
		row := topRow{by: key, values: map[string]*tally{}}
		for _, m := range topMetrics {
			row.values[m] = &tally{}
		}
		s.rows = append(s.rows, row)
	}
	row := &s.rows[at]
	for i, c := range h.Columns {
		uncounted := uint64(0)
		if len(r.Uncounted) > i {
			uncounted = r.Uncounted[i]
		}
		switch c.Name {
		case "conns":
			row.values["conns"].add(r.Values[i], 0)
			none := any(json.Number("0"))
			failed, denied := none, none
			if failures[outcome] {
				failed = r.Values[i]
			}
			if outcome == "denied" {
				denied = r.Values[i]
			}
			row.values["failed"].add(failed, 0)
			row.values["denied"].add(denied, 0)
		case "sum(bytes)":
			row.values["bytes"].add(r.Values[i], uncounted)
		case "sum(reverse.bytes)":
			row.values["bytes"].add(r.Values[i], 0)
		case "sum(src.retransmits)", "sum(dst.retransmits)":
			row.values["retransmits"].add(r.Values[i], 0)
		}
	}
}

// order sorts by a metric, largest first; what has none comes last.
func (s *sample) order(metric string, ascending bool) {
	slices.SortStableFunc(s.rows, func(a, b topRow) int {
		x, y := a.values[metric], b.values[metric]
		if x.known != y.known {
			if x.known {
				return -1
			}
			return 1
		}
		c := cmp.Compare(y.n, x.n)
		if ascending {
			c = -c
		}
		return cmp.Or(c, slices.Compare(a.by, b.by))
	})
}

// perSecond is a rate over the window, as a person reads it.
func perSecond(a *tally, window time.Duration, bytes bool) string {
	if !a.known {
		return "-"
	}
	f := float64(a.n) / window.Seconds()
	switch {
	case bytes && f > 0 && f < 1:
		return "<1 B/s"
	case bytes:
		return size(uint64(f)) + "/s"
	case f == 0:
		return "0/s"
	case f < 0.1:
		return "<0.1/s"
	case f < 100:
		return fmt.Sprintf("%.1f/s", f)
	}
	return fmt.Sprintf("%.0f/s", f)
}
