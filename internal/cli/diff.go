package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/query"
)

const diffLong = `Say what is different in a region of the connections: the values of fields that it has
more often, the most telling first. The region is what satisfies CONDITION, from --from to
--to, or both. It is compared with the other connections of the range, or, with
--against previous, with the time before it, as long as it.`

const diffExample = `  weirctl diff 'outcome != ok'
  weirctl diff --from 03:10 --to 03:20 --since 02:00 --until 04:00
  weirctl diff 'dst.workload = payments' --since 15m --against previous`

// diff is weirctl diff.
type diff struct {
	answer
	from, to, against string
}

func diffCommand(env *Env, c *client) *cobra.Command {
	d := &diff{answer: answer{env: env, api: c}}
	cmd := &cobra.Command{
		Use: "diff [CONDITION]", Short: "Say what is different in a region of the connections", Long: diffLong, Example: diffExample,
		ValidArgsFunction: c.completeCondition,
		RunE:              func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), strings.Join(args, " ")) },
	}
	d.bind(cmd, "1h", "table", "json", "csv", "markdown")
	f := cmd.Flags()
	f.StringVar(&d.from, "from", "", "begin of the region, within the range: "+timeHelp)
	f.StringVar(&d.to, "to", "", "end of the region")
	f.StringVar(&d.against, "against", "rest", "what it is compared with: rest (of the range) or previous (the time before)")
	_ = cmd.RegisterFlagCompletionFunc("against", cobra.FixedCompletions([]string{"rest", "previous"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (d *diff) run(ctx context.Context, cond string) error {
	if err := oneOf("output", d.output, "table", "json", "csv", "markdown"); err != nil {
		return err
	}
	if err := oneOf("against", d.against, "rest", "previous"); err != nil {
		return err
	}
	if _, err := query.ParseExpr(cond); err != nil {
		return usageError{fmt.Errorf("condition: %w", err)}
	}
	if cond == "" && d.from == "" && d.to == "" && d.against == "rest" {
		return usagef("a region is wanted: a condition, as in weirctl diff 'outcome != ok', --from and --to, or --against previous")
	}
	v := url.Values{"q": {cond}, "against": {d.against}}
	for key, text := range map[string]string{"from": d.from, "to": d.to} {
		if text == "" {
			continue
		}
		at, err := parseWhen(text, d.env.Now(), zone(d.utc))
		if err != nil {
			return usagef("--%s: %w", key, err)
		}
		v.Set(key, at.UTC().Format(time.RFC3339Nano))
	}
	var x api.Differences
	if err := d.get(ctx, "/api/v1/differences", v, &x); err != nil {
		return err
	}
	err := d.print(&x)
	against := "others of the range"
	if x.Against == api.AgainstPrevious {
		against = "in the time before"
	}
	fmt.Fprintf(d.env.Err, "region %s to %s: %s, %d %s\n", x.From.Format(time.RFC3339), x.To.Format(time.RFC3339), plural(x.Region, "connection"), x.Rest, against)
	d.basis(&x.Basis)
	if err == nil && d.fail && len(x.Differences) == 0 {
		return errEmpty
	}
	return err
}

func (d *diff) print(x *api.Differences) error {
	if d.output == "json" {
		return writeJSON(d.env.Out, x)
	}
	t := &grid{heads: []string{"FIELD", "VALUE", "REGION", "REST"}}
	if x.Against == api.AgainstPrevious {
		t.heads[3] = "BEFORE"
	}
	for _, y := range x.Differences {
		t.add(y.Field, y.Value, share(y.Region, d.output), share(y.Rest, d.output))
	}
	return t.write(d.env.Out, d.output)
}

// share writes a share for people, and for programs as it is.
func share(x float64, form string) string {
	if form == "csv" {
		return strconv.FormatFloat(x, 'g', 4, 64)
	}
	return strconv.FormatFloat(100*x, 'f', 1, 64) + " %"
}
