package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	explain "github.com/weirnet/weir/aggregator/why"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/cluster"
)

// answer is a command that asks one path of the API and prints what it says.
type answer struct {
	env    *Env
	api    *client
	time   timeRange
	utc    bool
	output string
	fail   bool
}

func (a *answer) bind(cmd *cobra.Command, since string, outputs ...string) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&a.time.since, "since", since, "begin of the range: "+timeHelp)
	f.StringVar(&a.time.until, "until", "", "end of the range (default now)")
	a.outputs(cmd, outputs...)
}

// outputs are the flags of every answer.
func (a *answer) outputs(cmd *cobra.Command, outputs ...string) {
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&a.utc, "utc", false, "times are in UTC instead of local time")
	f.StringVarP(&a.output, "output", "o", outputs[0], strings.Join(outputs, ", "))
	f.BoolVar(&a.fail, "fail-empty", false, "exit with status 3 where nothing was found")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

// get asks for path within the range.
func (a *answer) get(ctx context.Context, path string, v url.Values, into any) error {
	if err := a.time.put(v, a.env.Now(), zone(a.utc)); err != nil {
		return err
	}
	return a.api.getJSON(ctx, path, v, into)
}

// basis says on standard error what the answer rests on.
func (a *answer) basis(b *api.Basis) {
	fmt.Fprintf(a.env.Err, "%s to %s; scanned %d records\n", b.Since.Format(time.RFC3339), b.Until.Format(time.RFC3339), b.Scanned.Rows)
	for _, n := range b.Notes {
		fmt.Fprintln(a.env.Err, clean(n))
	}
	for i := range b.Partial {
		fmt.Fprintln(a.env.Err, missing(&b.Partial[i]))
	}
	seenOf(a.env.Err, b.Coverage)
}

// when is a moment of the cluster's changes.
func (a *answer) when(ms int64) string {
	return time.UnixMilli(ms).In(zone(a.utc)).Format("2006-01-02 15:04:05")
}

// writeJSON is how every command writes what is JSON: indented, and with what a terminal
// obeys escaped.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines {
		lines[i] = string(cleanJSON([]byte(l)))
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

// endAndPort parts NAME[:PORT]; an address of IPv6 with a port stands in brackets.
func endAndPort(s string) (name, port string, err error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, "", nil
	}
	name = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		name, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", "", usagef("%q: %q is no port from 1 to 65535: write NAME:PORT, as in shop/payments:8443", s, port)
		}
	}
	if name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"); name == "" {
		return "", "", usagef("%q names nothing: write NAMESPACE/NAME, as in shop/payments:8443", s)
	}
	return name, port, nil
}

func whyCommand(env *Env, c *client) *cobra.Command {
	a := &answer{env: env, api: c}
	cmd := &cobra.Command{
		Use: "why FROM TO[:PORT]", Short: "Say why FROM cannot reach TO, and what that rests on",
		Long: `Say why FROM cannot reach TO, the most telling cause first, with its evidence and what to
do next. Both are names as NAMESPACE/NAME of a workload or a pod, TO also of a Service, a
host outside, or addresses.`,
		Example: "  weirctl why shop/cart shop/payments:8443\n  weirctl why shop/cart api.example.com:443 --since 'yesterday 14:05' --until 'yesterday 14:20'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("two names are wanted, as in: weirctl why shop/cart shop/payments:8443")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.why(cmd.Context(), args[0], args[1]) },
	}
	a.bind(cmd, "15m", "text", "json")
	return cmd
}

func (a *answer) why(ctx context.Context, from, to string) error {
	if err := oneOf("output", a.output, "text", "json"); err != nil {
		return err
	}
	dst, port, err := endAndPort(to)
	if err != nil {
		return err
	}
	v := url.Values{"src": {strings.Trim(from, "[]")}, "dst": {dst}}
	if port != "" {
		v.Set("port", port)
	}
	var w api.Why
	if err := a.get(ctx, "/api/v1/why", v, &w); err != nil {
		return err
	}
	if a.output == "json" {
		err = writeJSON(a.env.Out, &w)
	} else {
		err = a.printWhy(&w)
	}
	a.basis(&w.Basis)
	if err == nil && a.fail && w.Conns == 0 {
		return errEmpty
	}
	return err
}

func (a *answer) printWhy(w *api.Why) error {
	var b strings.Builder
	var mix []string
	for o, n := range w.Outcomes {
		mix = append(mix, fmt.Sprintf("%d %s", n, strings.ReplaceAll(o, "_", " ")))
	}
	slices.Sort(mix)
	port := ""
	if w.Port != 0 {
		port = strconv.Itoa(int(w.Port))
	}
	fmt.Fprintf(&b, "%s -> %s: %s", clean(w.Src), withPort(clean(w.Dst), port), plural(uint64(w.Conns), "connection"))
	if len(mix) > 0 {
		fmt.Fprintf(&b, " (%s)", clean(strings.Join(mix, ", ")))
	}
	b.WriteString("\n")
	for _, f := range w.Findings {
		fmt.Fprintf(&b, "\n%s\n", clean(f.Claim))
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "  - %s\n", clean(e))
		}
		if f.Next != "" {
			fmt.Fprintf(&b, "  next: %s\n", clean(f.Next))
		}
	}
	writePolicies(&b, w.Policies)
	writeBoth(&b, w.BothEnds)
	if len(w.Changes) > 0 {
		b.WriteString("\nchanges:\n")
		for i := range w.Changes {
			fmt.Fprintf(&b, "  %s  %s\n", a.when(w.Changes[i].TimeMs), changeText(&w.Changes[i]))
		}
		first := time.UnixMilli(w.Changes[0].TimeMs)
		if first.After(w.Since) {
			first = w.Since
		}
		fmt.Fprintf(&b, "  all of the cluster: weirctl get changes --since %s --until %s\n", first.UTC().Format(time.RFC3339), w.Until.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "\nconnections: weirctl query %s --since %s --until %s\n", clean(query.ShellWord(w.Query)), w.Since.Format(time.RFC3339), w.Until.Format(time.RFC3339))
	_, err := io.WriteString(a.env.Out, b.String())
	return err
}

// writePolicies tells what decided, in order; * is what did.
func writePolicies(b *strings.Builder, list []explain.PolicyStep) {
	direction := ""
	for i := range list {
		s := &list[i]
		if s.Direction != direction {
			direction = s.Direction
			fmt.Fprintf(b, "\npolicies, %s, in the order in which they are asked:\n", clean(direction))
		}
		mark := " "
		switch {
		case s.Decides:
			mark = "*"
		case s.Nearest:
			mark = "~"
		}
		name := strings.ReplaceAll(string(s.Stage), "_", " ")
		if s.Policy != "" {
			name += " " + s.Policy
		}
		if s.Rule != "" {
			name += "[" + s.Rule + "]"
		}
		text := strings.ReplaceAll(string(s.Result), "_", " ")
		if s.Observed {
			text += ", observed"
		}
		if s.Nearest {
			text += ", the nearest allow"
		}
		if s.Skipped {
			text += " (decided before it was asked)"
		}
		if s.Why != "" {
			text += ": " + s.Why
		}
		fmt.Fprintf(b, "  %s %s: %s\n", mark, clean(name), clean(text))
	}
}

// writeBoth tells what both ends counted.
func writeBoth(b *strings.Builder, e *explain.BothEnds) {
	if e == nil {
		return
	}
	fmt.Fprintf(b, "\ncounted by both nodes, of %s:\n", plural(uint64(e.Conns), "connection"))
	for _, x := range []struct {
		what string
		c    explain.Counted
	}{{"packets ->", e.Packets}, {"bytes ->", e.Bytes}, {"packets <-", e.ReversePackets}, {"bytes <-", e.ReverseBytes}} {
		fmt.Fprintf(b, "  %-10s client saw %d, server saw %d, missing %d\n", x.what, x.c.Src, x.c.Dst, x.c.Missing)
	}
}

func changeText(c *cluster.Change) string {
	name := c.Object
	if c.Namespace != "" {
		name = c.Namespace + "/" + name
	}
	return clean(name + " " + c.What)
}

func findingsCommand(env *Env, c *client) *cobra.Command {
	a := &answer{env: env, api: c}
	cmd := &cobra.Command{
		Use: "findings", Short: "Say what is worse than in the period before", Args: noArgs,
		Long: `Compare the range with the period before it, of the same length: edges that fail, new and
gone ones, node pairs that lose packets, nodes that are silent. Each finding has the
query that shows it.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.findings(cmd.Context()) },
	}
	a.bind(cmd, "15m", "text", "json")
	return cmd
}

func (a *answer) findings(ctx context.Context) error {
	if err := oneOf("output", a.output, "text", "json"); err != nil {
		return err
	}
	var r api.FindingsAnswer
	if err := a.get(ctx, "/api/v1/findings", url.Values{}, &r); err != nil {
		return err
	}
	var err error
	if a.output == "json" {
		err = writeJSON(a.env.Out, &r)
	} else {
		var b strings.Builder
		for _, f := range r.Findings {
			b.WriteString(clean(f.Text) + "\n")
			switch {
			case f.Query != "":
				b.WriteString("  weirctl query " + clean(query.ShellWord(f.Query)) + "\n")
			case f.Next != "":
				b.WriteString("  " + clean(f.Next) + "\n")
			}
		}
		if r.Folded > 0 {
			fmt.Fprintf(&b, "%d more of these kinds\n", r.Folded)
		}
		if len(r.Findings) == 0 {
			b.WriteString(clean(r.Calm) + "\n")
		}
		_, err = io.WriteString(a.env.Out, b.String())
	}
	a.basis(&r.Basis)
	if err == nil && a.fail && len(r.Findings) == 0 {
		return errEmpty
	}
	return err
}
