package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/ledger"
)

// errDifference is the end of `ledger --fail` where the books do not balance.
var errDifference = errors.New("the books do not balance")

type ledgerFlags struct {
	output, unit string
	fail         bool
	minutes      int
}

func ledgerCommand(env *Env, c *client) *cobra.Command {
	var l ledgerFlags
	cmd := &cobra.Command{
		Use: "ledger", Short: "Show what came in, went on, is held and was lost, stage by stage", Args: noArgs,
		Long: `Show the books from end to end: every stage accounts in = out + held + lost(reason).

With --minutes 10 they are shown for every agent and minute: before + in = out + held +
lost, where before is what the minute began with. The last one goes on until now.

A difference other than 0 is a bug, whatever caused it. While flows pass, a stage that
is read in the middle of a batch may show one for an instant.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ok, err := l.run(cmd.Context(), env, c)
			if err != nil {
				return err
			}
			if l.fail && !ok {
				return errDifference
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&l.output, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&l.unit, "unit", "records", "what the table counts: records, connections or bytes")
	cmd.Flags().IntVar(&l.minutes, "minutes", 0, "show each of so many last minutes instead of the sums")
	cmd.Flags().BoolVar(&l.fail, "fail", false, "exit with status 1 where a stage has a difference")
	return cmd
}

// run shows the books; it tells whether they balance.
func (l *ledgerFlags) run(ctx context.Context, env *Env, c *client) (ok bool, err error) {
	if err := oneOf("output", l.output, "table", "json"); err != nil {
		return false, err
	}
	if err := oneOf("unit", l.unit, "records", "connections", "bytes"); err != nil {
		return false, err
	}
	if l.minutes < 0 || l.minutes > 1440 {
		return false, usagef("--minutes %d: want a number between 1 and 1440", l.minutes)
	}
	if l.minutes > 0 {
		return l.minuteByMinute(ctx, env, c)
	}
	b, err := balanced(ctx, c)
	if err != nil {
		return false, err
	}
	if l.output == "json" {
		err = writeJSON(env.Out, b)
	} else if err = printLedger(env.Out, b, l.unit); err == nil {
		_, err = fmt.Fprint(env.Out, canariesFoot(b), coverageFoot(ctx, c), "\n")
	}
	if err != nil {
		return false, fmt.Errorf("write: %w", err)
	}
	return difference(b) == 0, nil
}

// canariesFoot says how much of the books is the probe's.
func canariesFoot(b *api.Books) string {
	if b.Canaries == nil {
		return ""
	}
	return fmt.Sprintf("canaries: %d of the connections that the aggregator took in are the probe's\n", *b.Canaries)
}

// balanced reads the books, and again where a batch was under way.
func balanced(ctx context.Context, c *client) (*api.Books, error) {
	for try := 0; ; try++ {
		b := &api.Books{}
		if err := c.getJSON(ctx, "/api/v1/ledger", nil, b); err != nil {
			return nil, err
		}
		if difference(b) == 0 || try == 4 {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// difference adds up the differences of all stages, whatever their sign and unit.
func difference(b *api.Books) (n uint64) {
	each(b, func(_ string, l *ledger.Line) {
		for _, d := range diffs(l) {
			n += uint64(max(d, -d))
		}
	})
	return n
}

func diffs(l *ledger.Line) [3]int64 {
	r, c, b := l.Diff()
	return [3]int64{r, c, b}
}

// each visits the stages in the order in which flows pass them.
func each(b *api.Books, visit func(process string, l *ledger.Line)) {
	agents := append([]api.AgentBooks(nil), b.Agents...)
	sort.Slice(agents, func(i, j int) bool { return agents[i].Agent < agents[j].Agent })
	for _, a := range agents {
		for i := range a.Stages {
			visit(a.Agent, &a.Stages[i])
		}
	}
	for i := range b.Former {
		visit("aggregator, before", &b.Former[i])
	}
	for i := range b.Stages {
		visit("aggregator", &b.Stages[i])
	}
}

var units = map[string]int{"records": 0, "connections": 1, "bytes": 2}

func amount(a ledger.Amount, unit string) uint64 {
	return [3]uint64{a.Records, a.Connections, a.Bytes}[units[unit]]
}

func printLedger(w io.Writer, b *api.Books, unit string) error {
	rows := [][]string{{"PROCESS", "STAGE", "IN", "OUT", "HELD", "LOST", "DIFFERENCE", "WHY LOST"}}
	each(b, func(process string, l *ledger.Line) {
		var why []string
		for _, r := range l.Reasons() {
			switch n := amount(l.Lost[r], unit); {
			case n > 0:
				why = append(why, fmt.Sprintf("%s %d", clean(r), n))
			case ledger.Unsized(r):
				why = append(why, clean(r))
			}
		}
		rows = append(rows, []string{
			clean(process), clean(l.Stage), count(amount(l.In, unit)), count(amount(l.Out, unit)), count(amount(l.Held, unit)),
			count(amount(l.LostTotal(), unit)), strconv.FormatInt(diffs(l)[units[unit]], 10), strings.Join(why, ", "),
		})
	})
	var text strings.Builder
	table(&text, rows, map[int]bool{2: true, 3: true, 4: true, 5: true, 6: true})
	verdict := "difference 0: every record, connection and byte is accounted for"
	if difference(b) != 0 {
		verdict = "the books do not balance: the stages with a difference lost something without a reason"
	}
	_, err := fmt.Fprintf(w, "%s\n%s (%s)\n", text.String(), verdict, unit)
	return err
}

// books reads the ledger for observe's farewell; a server that cannot tell is no
// reason to fail.
func (o *observe) books(ctx context.Context) *api.Books {
	if o.quiet {
		return nil
	}
	b := &api.Books{}
	if err := o.api.getJSON(ctx, "/api/v1/ledger", nil, b); err != nil {
		return nil
	}
	return b
}

// farewell says how much was shown and what was lost meanwhile.
func (o *observe) farewell(ctx context.Context, shown uint64, before *api.Books) {
	if o.quiet {
		return
	}
	parts := []string{plural(shown, "flow")}
	if o.skipped > 0 {
		parts = append(parts, fmt.Sprintf("%s went by faster than they could be shown", plural(o.skipped, "record")))
	}
	after := o.books(ctx)
	switch {
	case before == nil || after == nil:
		parts = append(parts, "what was lost on the way is not known: the ledger did not answer")
	default:
		lost := lostSince(before, after)
		if len(lost) == 0 {
			if o.skipped == 0 {
				parts = append(parts, "nothing was lost meanwhile")
			}
		} else {
			parts = append(parts, "lost meanwhile: "+strings.Join(lost, ", "))
		}
	}
	fmt.Fprintln(o.env.Err, strings.Join(parts, "; "))
	for _, text := range o.partial {
		fmt.Fprintln(o.env.Err, clean(text))
	}
	fmt.Fprintln(o.env.Err, coverageFoot(ctx, o.api))
}

func plural(n uint64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + word + "s"
}

// lostSince names the losses between two readings of the books.
func lostSince(before, after *api.Books) []string {
	was, known := map[string]uint64{}, map[string]bool{}
	key := func(process string, l *ledger.Line, why string) string { return process + " " + l.Stage + " " + why }
	each(before, func(p string, l *ledger.Line) {
		for why, a := range l.Lost {
			was[key(p, l, why)], known[key(p, l, why)] = a.Records, true
		}
	})
	var out []string
	each(after, func(p string, l *ledger.Line) {
		for _, why := range l.Reasons() {
			k := key(p, l, why)
			switch n := l.Lost[why].Records; {
			case n > was[k]:
				out = append(out, fmt.Sprintf("%s (%s)", clean(k), plural(n-was[k], "record")))
			case !known[k] && ledger.Unsized(why):
				out = append(out, clean(k))
			}
		}
	})
	return out
}
