package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weirnet/weir/internal/canary"
)

// last shows what the aggregator made of the runs that the nodes make by themselves.
func (v *verify) last(ctx context.Context) error {
	var all []canary.NodeRuns
	if err := v.api.getJSON(ctx, "/api/v1/verify", nil, &all); err != nil {
		return err
	}
	var err error
	if v.output == "json" {
		err = writeJSON(v.env.Out, all)
	} else {
		_, err = io.WriteString(v.env.Out, lastText(all, time.Now()))
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for i := range all {
		if bad(&all[i]) {
			return errBroken
		}
	}
	return nil
}

func bad(n *canary.NodeRuns) bool {
	return n.Result == canary.ResultFailed || n.Result == canary.ResultOverdue
}

// lastText is a row a node, then each hop that is not right with what to do.
func lastText(all []canary.NodeRuns, now time.Time) string {
	if len(all) == 0 {
		return "no node runs its probe by itself: set probe.interval of the agents (5m)\n"
	}
	rows := [][]string{{"NODE", "LAST RUN", "HOP", "LAST OK", "EVERY", "OK", "FAILED", "OVERDUE"}}
	var why strings.Builder
	for i := range all {
		n := &all[i]
		hop, right := "-", "never"
		if n.LastOKMs > 0 {
			right = now.Sub(time.UnixMilli(n.LastOKMs)).Round(time.Second).String() + " ago"
		}
		if bad(n) && n.Verdict != nil {
			hop = clean(n.Verdict.Broken)
			fmt.Fprintf(&why, "\n%s: %s\ndo: %s\n", clean(n.Node), clean(n.Verdict.String()), clean(n.Verdict.Remedy))
		}
		rows = append(rows, []string{
			clean(n.Node), clean(string(n.Result)), hop, right, (time.Duration(n.IntervalMs) * time.Millisecond).String(),
			fmt.Sprint(n.Runs.OK), fmt.Sprint(n.Runs.Failed), fmt.Sprint(n.Runs.Overdue),
		})
	}
	var b strings.Builder
	table(&b, rows, nil)
	return b.String() + why.String()
}
