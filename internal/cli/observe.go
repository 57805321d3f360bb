package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/obs"
	"github.com/weirnet/weir/internal/selector"
)

type observe struct {
	env    *Env
	api    *client
	text   string // condition of the language
	show   bool   // print the query instead
	terms  []selector.Term
	not    bool // the next selector is negated
	last   int
	since  string
	until  string
	follow bool
	output string
	input  string
	color  string
	quiet  bool
	fail   bool
	style  style
	utc    bool

	skipped uint64
}

// term is the value of a selector flag.
type term struct {
	o   *observe
	key string
}

func (t term) String() string { return "" }
func (t term) Type() string   { return "value" }

// Set compiles the value at once, so that its error names the flag.
func (t term) Set(v string) error {
	s := selector.Term{Key: t.key, Value: v, Not: t.o.not}
	t.o.not = false
	if _, err := selector.New([]selector.Term{s}); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), t.key+": "))
	}
	t.o.terms = append(t.o.terms, s)
	return nil
}

// notValue is --not.
type notValue struct{ o *observe }

func (n notValue) String() string     { return "false" }
func (n notValue) Type() string       { return "bool" }
func (n notValue) Set(s string) error { b, err := strconv.ParseBool(s); n.o.not = b; return err }

const observeLong = `Show flows, newest last: those that the aggregator holds (--last, --since), and those
that come (--follow).

A condition of the query language picks flows: 'checkout outcome != ok'. So do
selectors, and --print-query says what they are in the language. Values of one
selector are alternatives; different selectors must all hold; --not turns the next
selector around.`

const observeExample = `  weirctl observe 'checkout outcome != ok'
  weirctl observe -f --outcome refused
  weirctl observe --from-pod shop/cart --to-port 8443 --since 10m
  weirctl observe -f --namespace shop --not --port 53 -o table
  weirctl observe --input-file flows.jsonl --ip 203.0.113.0/24 -o csv`

func observeCommand(env *Env, c *client) *cobra.Command {
	o := &observe{env: env, api: c}
	cmd := &cobra.Command{
		Use: "observe [CONDITION]", Short: "Show flows, live or from a file", Long: observeLong, Example: observeExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.text = strings.Join(args, " ")
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&o.last, "last", 20, "newest N connections that the server holds (0 with --follow)")
	f.StringVar(&o.since, "since", "", "flows that ended after: 5m ago, or RFC 3339")
	f.StringVar(&o.until, "until", "", "flows that ended before: 5m ago, or RFC 3339")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with flows as they come")
	f.StringVarP(&o.output, "output", "o", "compact", "compact, table, wide, json (one array), jsonl or csv")
	f.StringVar(&o.input, "input-file", "", "read saved JSON lines (- for standard input; gzip is seen) instead of the server")
	f.BoolVar(&o.style.numeric, "numeric", false, "addresses instead of names")
	f.BoolVar(&o.utc, "utc", false, "times in UTC instead of local time")
	f.StringVar(&o.color, "color", "auto", "auto (on a terminal, unless NO_COLOR is set), always or never")
	f.BoolVar(&o.fail, "fail-empty", false, "exit with status 3 where no flow was found")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not say at the end what was lost")
	f.BoolVar(&o.show, "print-query", false, "print the condition that the arguments stand for, and nothing else")
	f.VarPF(notValue{o}, "not", "", "turn the next selector around").NoOptDefVal = "true"
	for _, k := range selector.Keys {
		f.Var(term{o, k.Name}, k.Name, k.Doc)
	}
	f.Lookup("port").Shorthand = ""
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions(flow.OutcomeWords, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(flow.ScopeWords, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		if cmd.Name() != "observe" {
			return usagef("unexpected argument %q: everything is a flag", args[0])
		}
		return usagef("unexpected argument %q: selectors are flags, as in --pod %s", args[0], args[0])
	}
	return nil
}

func (o *observe) run(cmd *cobra.Command) error {
	if err := oneOf("output", o.output, outputs...); err != nil {
		return err
	}
	if err := oneOf("color", o.color, "auto", "always", "never"); err != nil {
		return err
	}
	if o.not {
		return usagef("--not stands before the selector that it turns around, and none follows")
	}
	if o.last < 0 {
		return usagef("--last: %d is no number of connections: give 0 or more", o.last)
	}
	if o.input != "" && o.follow {
		return usagef("--follow and --input-file exclude each other")
	}
	if (o.follow || o.input != "" || o.since != "") && !cmd.Flags().Changed("last") {
		o.last = 0
	}
	o.style.loc, o.style.now = time.Local, o.env.Now()
	if o.utc {
		o.style.loc = time.UTC
	}
	o.style.color = o.color == "always" || o.color == "auto" && o.env.Getenv("NO_COLOR") == "" && obs.IsTerminal(o.env.Out)
	set, err := selector.New(o.terms)
	if err != nil {
		return usageError{err}
	}
	match, err := o.condition()
	if err != nil || o.show {
		return err
	}
	since, until, err := o.interval()
	if err != nil {
		return err
	}
	p := newPrinter(o.env.Out, o.output, &o.style)
	keep := func(r *flow.Record) bool { return !until.IsZero() && r.End > until.UnixMilli() }
	if o.input != "" {
		err = o.fromFile(p, func(r *flow.Record) bool {
			return set.Match(r) && match(r) && !keep(r) && (since.IsZero() || r.End >= since.UnixMilli())
		})
	} else {
		err = o.fromServer(cmd.Context(), p, since, keep)
	}
	if e := p.close(); err == nil && e != nil && !isBrokenPipe(e) {
		err = fmt.Errorf("write: %w", e)
	}
	if err != nil {
		return err
	}
	if o.fail && p.n == 0 {
		return errEmpty
	}
	return nil
}

// condition compiles the positional argument; with --print-query it prints it together
// with what the selectors stand for.
func (o *observe) condition() (func(*flow.Record) bool, error) {
	expr, err := query.ParseExpr(o.text)
	if err != nil {
		return nil, usageError{fmt.Errorf("condition: %w", err)}
	}
	if o.show {
		all, err := selector.Query(o.terms)
		if err != nil {
			return nil, usageError{err}
		}
		expr = query.Both(expr, all)
		if expr != nil {
			fmt.Fprintln(o.env.Out, query.FormatExpr(expr))
		}
	}
	return query.Predicate(expr)
}

func (o *observe) interval() (since, until time.Time, err error) {
	for _, x := range []struct {
		flag, text string
		into       *time.Time
	}{{"since", o.since, &since}, {"until", o.until, &until}} {
		if x.text == "" {
			continue
		}
		if *x.into, err = api.ParseTime(x.text, o.style.now); err != nil {
			return since, until, usagef("--%s: %w", x.flag, err)
		}
	}
	return since, until, nil
}

func isBrokenPipe(err error) bool { return errors.Is(err, os.ErrClosed) || errors.Is(err, errPipe) }

func (o *observe) fromServer(ctx context.Context, p *printer, since time.Time, drop func(*flow.Record) bool) error {
	q := url.Values{"follow": {strconv.FormatBool(o.follow)}, "last": {strconv.Itoa(o.last)}}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if o.text != "" {
		q.Set("query", o.text)
	}
	for _, t := range o.terms {
		q.Add("where", t.String())
	}
	body, err := o.api.get(ctx, "/api/v1/flows", q)
	if err != nil {
		return err
	}
	defer body.Close()
	before := o.books(ctx)
	ended := false
	err = o.lines(body, p, func(line []byte) (bool, error) {
		if !bytes.HasPrefix(line, []byte(`{"weir":`)) {
			return false, nil
		}
		var n api.Note
		if err := json.Unmarshal(line, &n); err != nil {
			return true, err
		}
		if n.Weir.End {
			ended = true
			o.skipped = max(o.skipped, n.Weir.Skipped)
		} else {
			o.skipped += n.Weir.Skipped
		}
		return true, nil
	}, func(r *flow.Record) bool { return !drop(r) })
	switch {
	case ctx.Err() != nil || isBrokenPipe(err): // Ctrl-C, or `| head`: the wanted end
		err = nil
	case err == nil && !ended:
		err = fmt.Errorf("%s: the stream broke off after %d flows: the server stopped or the network did", o.api.base.Host, p.n)
	}
	o.farewell(context.WithoutCancel(ctx), p.n, before)
	return err
}

// lines parses a stream of JSON lines; special takes those that are no flows.
func (o *observe) lines(in io.Reader, p *printer, special func([]byte) (bool, error), want func(*flow.Record) bool) error {
	br := bufio.NewReaderSize(in, 64<<10)
	var rec flow.Record
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if len(line) > 1<<20 {
			return fmt.Errorf("line %d is longer than 1 MiB: this is no file of flows", n)
		}
		if s := bytes.TrimSpace(line); len(s) > 0 && (err == nil || errors.Is(err, io.EOF)) {
			done, e := special(s)
			if e != nil {
				return fmt.Errorf("line %d: %w", n, e)
			}
			if !done {
				rec = flow.Record{}
				if e := flow.ParseJSON(s, &rec); e != nil {
					return fmt.Errorf("line %d: %w", n, e)
				}
				if want(&rec) {
					if e := p.print(&rec, br.Buffered() == 0); e != nil {
						return e
					}
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (o *observe) fromFile(p *printer, want func(*flow.Record) bool) error {
	in := o.env.In
	name := "standard input"
	if o.input != "-" {
		f, err := os.Open(o.input)
		if err != nil {
			return fmt.Errorf("read --input-file: %w", err)
		}
		defer f.Close()
		in, name = f, o.input
	}
	br := bufio.NewReader(in)
	if magic, _ := br.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(br)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		in = z
	} else {
		in = br
	}
	note := func(line []byte) (bool, error) { return bytes.HasPrefix(line, []byte(`{"weir":`)), nil }
	p.last = o.last
	if err := o.lines(in, p, note, want); err != nil && !isBrokenPipe(err) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
