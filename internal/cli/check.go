package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/nearest"
)

// checkFor is the promise of `check node`: a look that hangs is given up.
const checkFor = 5 * time.Second

func checkCommand(env *Env, c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Find out what Weir can and cannot see",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneOfArgs("what to check", args[0], []string{"node"})
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(checkNodeCommand(env, c))
	return cmd
}

func checkNodeCommand(env *Env, c *client) *cobra.Command {
	var output, netns string
	cmd := &cobra.Command{
		Use: "node [NAME...]", Short: "Show which traffic of a node can be seen, why not, and what to do",
		Long: `Show for each class of traffic and address family whether this kernel, its rules and
the CNI let it be seen at all.

Without --server it looks at the network namespace in which it runs, or at --netns, and
needs CAP_NET_ADMIN there. With --server, or a node's name, it asks the aggregator what the
agents said of their nodes. It changes nothing; to see whether the kernel tracks connections it sends itself one
datagram a family over loopback.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", output, "table", "json"); err != nil {
				return err
			}
			if len(args) > 0 || cmd.Flags().Changed("server") {
				if netns != "" {
					return usagef("--netns is for a look at this node, which needs neither a name nor --server")
				}
				return checkServer(cmd.Context(), env, c, output, args)
			}
			t, err := lookAround(cmd.Context(), netns)
			if err != nil {
				return err
			}
			return printCoverage(env.Out, output, []coverage.Table{t})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&netns, "netns", "", "path of the network namespace to look at (/run/netns/node-1)")
	return cmd
}

// checkServer shows what the aggregator knows of the nodes, or of those named.
func checkServer(ctx context.Context, env *Env, c *client, output string, names []string) error {
	var all api.Coverage
	if err := c.getJSON(ctx, "/api/v1/coverage", nil, &all); err != nil {
		return err
	}
	tables := make([]coverage.Table, 0, len(all.Tables))
	var known []string
	for _, t := range all.Tables {
		known = append(known, t.Node)
		if len(names) > 0 && !slices.Contains(names, t.Node) {
			continue
		}
		if t.Silent {
			fmt.Fprintf(env.Err, "%s has not told anything since %s: it may look otherwise now\n", clean(t.Node), t.At.UTC().Format(time.RFC3339))
		}
		if t.ClockMs != 0 {
			way, off := "ahead of", time.Duration(t.ClockMs)*time.Millisecond
			if off < 0 {
				way, off = "behind", -off
			}
			fmt.Fprintf(env.Err, "the clock of %s is %v %s the aggregator's: set it (chrony, NTP), then restart the agent\n", clean(t.Node), off.Round(time.Second), way)
		}
		tables = append(tables, t.Table)
	}
	for _, n := range names {
		if slices.Contains(known, n) {
			continue
		}
		if near := nearest.Word(n, known); near != "" {
			return usagef("node %q is not known to the aggregator: did you mean %s?", n, near)
		}
		return fmt.Errorf("node %q is not known to the aggregator: is an agent running there, and is it not older than this weirctl?", n)
	}
	if output == "json" {
		return printCoverage(env.Out, output, tables)
	}
	text := coverageTables(tables)
	if len(names) == 0 {
		text += "\n" + clean(all.Summary) + "\n"
	} else {
		text += "\n" + summary(tables) + "\n"
	}
	if _, err := io.WriteString(env.Out, text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// coverageFoot is the last line of every total.
func coverageFoot(ctx context.Context, c *client) string {
	var all api.Coverage
	if err := c.getJSON(ctx, "/api/v1/coverage", nil, &all); err != nil {
		return "coverage: unknown: " + clean(err.Error())
	}
	return clean(all.Summary)
}

// lookAround inspects this node within checkFor.
func lookAround(ctx context.Context, netns string) (coverage.Table, error) {
	if hereIsNoNode != "" {
		return coverage.Table{}, usagef("check node: %s: name a node, or give --server, to ask the aggregator", hereIsNoNode)
	}
	host, err := os.Hostname()
	if err != nil {
		return coverage.Table{}, fmt.Errorf("name of this node: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	done := make(chan coverage.Table, 1)
	go func() {
		done <- inspectHere(ctx, host, netns)
	}()
	select {
	case t := <-done:
		return t, nil
	case <-ctx.Done():
		return coverage.Table{}, fmt.Errorf("look at this node: not done within %s: the kernel does not answer", checkFor)
	}
}

func printCoverage(w io.Writer, output string, tables []coverage.Table) error {
	if output == "json" {
		if err := writeJSON(w, tables); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	if _, err := io.WriteString(w, coverageText(tables)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// coverageText is the tables and the summary.
func coverageText(tables []coverage.Table) string {
	return coverageTables(tables) + "\n" + summary(tables) + "\n"
}

// summary is the last line.
func summary(tables []coverage.Table) string {
	line, _ := coverage.Summary(tables, len(tables))
	return clean(line)
}

// coverageTables is the table, and below it each reason once with its remedy, the
// sources of evidence and the conntrack tables.
func coverageTables(tables []coverage.Table) string {
	var b strings.Builder
	rows := [][]string{{"NODE", "TRAFFIC", "V4", "V6", "CANARY V4", "CANARY V6"}}
	var notes []string
	for i := range tables {
		t := &tables[i]
		var line []string
		for _, r := range t.Rows {
			if len(line) == 0 || line[1] != clean(r.Class) {
				line = []string{clean(t.Node), clean(r.Class), "", "", "", ""}
				rows = append(rows, line)
			}
			cell := r.Seen.String()
			if r.Why != "" {
				cell += mark(&notes, note(t.Node, r.Why, r.Remedy, len(tables) > 1))
			}
			at := 2
			if r.Family != coverage.V4.String() {
				at = 3
			}
			line[at], line[at+2] = cell, canaryCell(&notes, t.Node, &r, len(tables) > 1)
		}
	}
	table(&b, rows, nil)
	for i, n := range notes {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "(%d) %s\n", i+1, n)
	}
	evidence(&b, tables)
	pressed(&b, tables)
	return b.String()
}

// canaryCell is what trying showed; the reason stands below, unless the row has it.
func canaryCell(notes *[]string, node string, r *coverage.Row, several bool) string {
	if r.Canary == coverage.CanaryNone {
		return "-"
	}
	cell := r.Canary.String()
	if r.CanaryWhy != "" && !strings.Contains(r.Why, r.CanaryWhy) {
		cell += mark(notes, note(node, r.CanaryWhy, "", several))
	}
	return cell
}

func note(node, why, remedy string, several bool) string {
	s := clean(why)
	if several {
		s = clean(node) + ": " + s
	}
	if remedy != "" {
		s += "\n    do: " + clean(remedy)
	}
	return s
}

// mark gives the number of a note, the same for the same words.
func mark(notes *[]string, n string) string {
	for i, have := range *notes {
		if have == n {
			return fmt.Sprintf(" (%d)", i+1)
		}
	}
	*notes = append(*notes, n)
	return fmt.Sprintf(" (%d)", len(*notes))
}

func evidence(b *strings.Builder, tables []coverage.Table) {
	rows := [][]string{{"NODE", "EVIDENCE", "STATE", "WHY"}}
	for i := range tables {
		for _, e := range tables[i].Evidence {
			state := "off"
			if e.On {
				state = "on"
			}
			why := clean(e.Why)
			if e.Remedy != "" {
				why += "; do: " + clean(e.Remedy)
			}
			rows = append(rows, []string{clean(tables[i].Node), clean(e.Name), state, why})
		}
	}
	if len(rows) > 1 {
		b.WriteByte('\n')
		table(b, rows, nil)
	}
}

// pressed shows the conntrack tables.
func pressed(b *strings.Builder, tables []coverage.Table) {
	rows := [][]string{{"NODE", "CONNTRACK", "OF", "FILL", "GROWTH/S", "FULL IN", "DROPS", "EARLY DROPS", "INSERT FAILURES", "WITHIN"}}
	var top []string
	for i := range tables {
		p := tables[i].Pressure
		if p == nil {
			continue
		}
		growth, full := "unknown", "unknown"
		if p.Known {
			growth, full = fmt.Sprintf("%+.1f", p.GrowthPerSecond), "never at this growth"
		}
		if p.FullInMs >= 0 {
			full = (time.Duration(p.FullInMs) * time.Millisecond).Round(time.Second).String()
		}
		rows = append(rows, []string{
			clean(tables[i].Node), count(p.Count), count(p.Max), fmt.Sprintf("%.1f %%", 100*p.Fill()), growth, full,
			count(p.Drops), count(p.EarlyDrops), count(p.InsertFailed), (time.Duration(p.WindowMs) * time.Millisecond).Round(time.Second).String(),
		})
		for _, l := range []struct {
			role string
			list []pressure.Owner
		}{{"opened by", p.Clients}, {"answered by", p.Servers}} {
			var names []string
			for _, o := range l.list {
				names = append(names, clean(o.Name)+" "+count(o.Entries))
			}
			if len(names) > 0 {
				top = append(top, fmt.Sprintf("%s: entries %s %s", clean(tables[i].Node), l.role, strings.Join(names, ", ")))
			}
		}
	}
	if len(rows) == 1 {
		return
	}
	b.WriteByte('\n')
	table(b, rows, map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true})
	for _, s := range top {
		b.WriteString(s + "\n")
	}
}

// table writes rows in columns; right names the columns of numbers.
func table(b *strings.Builder, rows [][]string, right map[int]bool) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, s := range r {
			widths[i] = max(widths[i], len(s))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, s := range r {
			pad := strings.Repeat(" ", widths[i]-len(s))
			if right[i] {
				s = pad + s
			} else {
				s += pad
			}
			line.WriteString(s + "  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
