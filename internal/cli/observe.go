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
	"slices"
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
	first  int
	time   timeRange
	follow bool
	width  int
	noFold bool
	output string
	input  string
	color  string
	quiet  bool
	fail   bool
	style  style
	utc    bool

	aliases []aliased  // what other flags stand for
	expr    query.Expr // all of it together
	skipped uint64
	partial []string // what the answer lacks
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
	v, err := hubbleValue(t.key, v)
	if err != nil {
		return err
	}
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

const observeLong = `Show flows, newest last: those of the history (--last, --since, --until), and those that
come (--follow), in one go where both are given.

In the compact form connections that say the same stand in one line, as REFUSED x31;
with --follow, those of one second.

A condition of the query language picks flows: 'checkout outcome != ok'. So do
selectors, and --print-query says what they are in the language. Values of one
selector are alternatives; different selectors must all hold; --not turns the next
selector around.`

const observeExample = `  weirctl observe 'checkout outcome != ok'
  weirctl observe --last 100 -f --outcome refused
  weirctl observe --since 'yesterday 14:05' --until 'yesterday 14:20' -o markdown
  weirctl observe --from-pod shop/cart --to-port 8443 --since 10m
  weirctl observe -f --namespace shop --not --port 53 -o table
  weirctl observe --input-file flows.jsonl --ip 203.0.113.0/24 -o csv`

func observeCommand(env *Env, c *client) *cobra.Command {
	o := &observe{env: env, api: c}
	cmd := &cobra.Command{
		Use: "observe [CONDITION]", Short: "Show flows, live or from a file", Long: observeLong, Example: observeExample, ValidArgsFunction: c.completeCondition,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.text = strings.Join(args, " ")
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&o.last, "last", 20, "newest N connections (all of them with --since, none with --follow alone)")
	f.IntVar(&o.first, "first", 0, "oldest N connections of the range instead")
	f.StringVar(&o.time.since, "since", "", "connections from then on: "+timeHelp)
	f.StringVar(&o.time.until, "until", "", "connections until then")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with flows as they come")
	f.StringVarP(&o.output, "output", "o", "compact", "compact, table, wide, json (one array), jsonl, csv or markdown")
	f.BoolVar(&o.noFold, "no-fold", false, "a line for each record in the compact form")
	f.IntVar(&o.width, "width", -1, "columns to cut the lines of tables at, 0 for none (default the terminal's)")
	f.StringVar(&o.input, "input-file", "", "read saved JSON lines (- for standard input; gzip is seen) instead of the server")
	f.BoolVar(&o.style.numeric, "numeric", false, "addresses instead of names")
	f.BoolVar(&o.utc, "utc", false, "times in UTC instead of local time")
	f.StringVar(&o.color, "color", "auto", "auto (on a terminal, unless NO_COLOR is set), always or never")
	f.BoolVar(&o.fail, "fail-empty", false, "exit with status 3 where no flow was found")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not say at the end what was lost")
	f.BoolVar(&o.show, "print-query", false, "print the condition that the arguments stand for, and nothing else")
	f.VarPF(notValue{o}, "not", "", "turn the next selector around").NoOptDefVal = "true"
	for _, k := range selector.Keys {
		f.VarP(term{o, k.Name}, k.Name, map[string]string{"namespace": "n", "label": "l"}[k.Name], k.Doc)
	}
	bindHubble(f, o)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions(flow.OutcomeWords, cobra.ShellCompDirectiveNoFileComp))
	for flag, field := range observeFields {
		_ = cmd.RegisterFlagCompletionFunc(flag, c.completeValues(field))
	}
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(flow.ScopeWords, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// observeFields are the selectors whose values the server knows, by the field that has them.
var observeFields = map[string]string{
	"namespace": "ns", "from-namespace": "src.ns", "to-namespace": "dst.ns", "pod": "pod", "from-pod": "src.pod", "to-pod": "dst.pod",
	"workload": "workload", "from-workload": "src.workload", "to-workload": "dst.workload", "node-name": "node", "service": "service",
	"ip": "ip", "from-ip": "src.ip", "to-ip": "dst.ip", "port": "port", "to-port": "dst.port", "zone": "zone", "name": "name",
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
	if x := hubbleOutputs[o.output]; x != "" {
		return usagef("--output: %q has another name here: write -o %s", o.output, x)
	}
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
	if o.first < 0 {
		return usagef("--first: %d is no number of connections: give 1 or more", o.first)
	}
	for _, x := range []struct {
		a, b bool
		text string
	}{
		{o.input != "", o.follow, "--follow and --input-file"},
		{o.time.until != "", o.follow, "--follow and --until"},
		{o.first > 0, o.follow, "--follow and --first"},
		{o.first > 0, cmd.Flags().Changed("last"), "--first and --last"},
	} {
		if x.a && x.b {
			return usagef("%s exclude each other", x.text)
		}
	}
	if (o.follow || o.input != "" || o.time.since != "") && !cmd.Flags().Changed("last") {
		o.last = 0
	}
	o.style.loc, o.style.now = zone(o.utc), o.env.Now()
	o.style.color = o.color == "always" || o.color == "auto" && o.env.Getenv("NO_COLOR") == "" && obs.IsTerminal(o.env.Out)
	match, err := o.condition()
	if err != nil || o.show {
		return err
	}
	since, until, err := o.time.read(o.style.now, o.style.loc)
	if err != nil {
		return err
	}
	p := newPrinter(o.env.Out, o.output, &o.style)
	p.folds = o.output == "compact" && !o.noFold
	if p.width = o.width; p.width < 0 {
		p.width = obs.Width(o.env.Out)
	}
	drop := func(r *flow.Record) bool { return !until.IsZero() && r.End > until.UnixMilli() }
	if o.input != "" {
		p.first, p.last = uint64(o.first), o.last
		err = o.fromFile(cmd.Context(), p, func(r *flow.Record) bool {
			return match(r) && !drop(r) && (since.IsZero() || r.End >= since.UnixMilli())
		})
	} else {
		err = o.fromServer(cmd.Context(), p, since, until)
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

// condition compiles the positional argument and what the selectors stand for; with
// --print-query it prints it.
func (o *observe) condition() (func(*flow.Record) bool, error) {
	expr, err := query.ParseExpr(o.text)
	if err != nil {
		return nil, usageError{fmt.Errorf("condition: %w", err)}
	}
	terms, err := selector.Query(o.terms)
	if err != nil {
		return nil, usageError{err}
	}
	aliases, err := o.aliasExpr()
	if err != nil {
		return nil, usageError{err}
	}
	o.expr = query.Both(query.Both(expr, terms), aliases)
	if o.show && o.expr != nil {
		fmt.Fprintln(o.env.Out, query.FormatExpr(o.expr))
	}
	return query.Predicate(o.expr)
}

func isBrokenPipe(err error) bool {
	return errors.Is(err, os.ErrClosed) || slices.ContainsFunc(errPipes, func(e error) bool { return errors.Is(err, e) })
}

// fromServer prints the history, and then what comes. The stream is opened first, so
// that nothing falls between the two; what both have is printed once.
func (o *observe) fromServer(ctx context.Context, p *printer, since, until time.Time) error {
	before := o.books(ctx)
	var stream io.ReadCloser
	var err error
	if o.follow {
		if stream, err = o.open(ctx, url.Values{"follow": {"true"}, "last": {"0"}}); err != nil {
			return err
		}
		defer stream.Close()
	}
	shown := seam{}
	if o.last > 0 || o.first > 0 || !since.IsZero() || !until.IsZero() {
		if err = o.fromHistory(ctx, p, since, until, shown); err != nil || stream == nil {
			return o.ended(ctx, p, before, err)
		}
	}
	stop := p.everySecond()
	err = o.fromStream(ctx, stream, p, shown.fresh)
	stop()
	return o.ended(ctx, p, before, err)
}

// ended takes the wanted ends, Ctrl-C and `| head`, for none, and says what the flows
// rest on.
func (o *observe) ended(ctx context.Context, p *printer, before *api.Books, err error) error {
	if ctx.Err() != nil || isBrokenPipe(err) {
		err = nil
	}
	if err == nil {
		if e := p.flush(); e != nil && !isBrokenPipe(e) {
			return fmt.Errorf("write: %w", e)
		}
		o.farewell(context.WithoutCancel(ctx), p.n, before)
	}
	return err
}

func (o *observe) printHistory(p *printer, h *history, shown seam) error {
	for i := range h.recs {
		r := &h.recs[i]
		shown.add(r)
		if err := p.print(r, i == len(h.recs)-1); err != nil {
			return err
		}
	}
	if h.cut {
		o.partial = append(o.partial, fmt.Sprintf("only the newest %d connections of the range are shown: take a shorter range or a narrower condition", len(h.recs)))
	}
	for i := range h.tail.Partial {
		o.partial = append(o.partial, missing(&h.tail.Partial[i]))
	}
	return p.flush()
}

func (o *observe) open(ctx context.Context, q url.Values) (io.ReadCloser, error) {
	if o.expr != nil {
		q.Set("query", query.FormatExpr(o.expr))
	}
	return o.api.get(ctx, "/api/v1/flows", q)
}

// fromRing shows the newest records of an aggregator that keeps no history.
func (o *observe) fromRing(ctx context.Context, p *printer, since, until time.Time, shown seam) error {
	if o.first > 0 {
		return errors.New("--first needs a history and this aggregator keeps none: set history.enabled, or use --last")
	}
	q := url.Values{"follow": {"false"}, "last": {strconv.Itoa(o.last)}}
	putRange(q, since, time.Time{})
	body, err := o.open(ctx, q)
	if err != nil {
		return err
	}
	defer body.Close()
	o.partial = append(o.partial, "this aggregator keeps no history (history.enabled): only the newest records, which it holds in memory, were searched")
	return o.fromStream(ctx, body, p, func(r *flow.Record) bool {
		if !until.IsZero() && r.End > until.UnixMilli() {
			return false
		}
		shown.add(r)
		return true
	})
}

// fromStream prints the records of /api/v1/flows until its end.
func (o *observe) fromStream(ctx context.Context, body io.Reader, p *printer, want func(*flow.Record) bool) error {
	ended := false
	err := o.lines(body, p, func(line []byte) (bool, error) {
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
	}, want)
	if err == nil && !ended && ctx.Err() == nil {
		err = fmt.Errorf("%s: the stream broke off: the server stopped or the network did", o.api.base.Host)
	}
	return err
}

// maxLine bounds a line of flows or of an answer, in bytes.
const maxLine = 1 << 20

var errLongLine = errors.New("a line is longer than 1 MiB")

// readLine reads up to and with the next newline, at most maxLine bytes: an endless line
// would take all memory.
func readLine(br *bufio.Reader) (line []byte, err error) {
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, errLongLine
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// lines parses a stream of JSON lines; special takes those that are no flows.
func (o *observe) lines(in io.Reader, p *printer, special func([]byte) (bool, error), want func(*flow.Record) bool) error {
	br := bufio.NewReaderSize(in, 64<<10)
	var rec flow.Record
	for n := 1; ; n++ {
		line, err := readLine(br)
		if errors.Is(err, errLongLine) {
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

// interruptible reads until ctx is done, though r may block for ever: a pipe or a terminal
// whose other end is silent. What r gives after that is lost.
type interruptible struct {
	ctx  context.Context
	r    io.Reader
	buf  []byte
	left []byte
	err  error
	came chan int
}

func (i *interruptible) Read(b []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, i.ctx.Err()
	}
	if len(i.left) == 0 && i.err == nil {
		if i.came == nil {
			i.buf, i.came = make([]byte, 64<<10), make(chan int)
		}
		go func() {
			var n int
			n, i.err = i.r.Read(i.buf)
			select {
			case i.came <- n:
			case <-i.ctx.Done():
			}
		}()
		select {
		case n := <-i.came:
			i.left = i.buf[:n]
		case <-i.ctx.Done():
			return 0, i.ctx.Err()
		}
	}
	n := copy(b, i.left)
	if i.left = i.left[n:]; len(i.left) == 0 && n == 0 {
		return 0, i.err
	}
	return n, nil
}

func (o *observe) fromFile(ctx context.Context, p *printer, want func(*flow.Record) bool) error {
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
	br := bufio.NewReader(&interruptible{ctx: ctx, r: in})
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
	err := o.lines(in, p, note, want)
	if err == nil || isBrokenPipe(err) || ctx.Err() != nil { // what was read so far is shown
		return nil
	}
	if p.n == 0 && strings.Contains(err.Error(), "line 1:") {
		return fmt.Errorf("%s: %w: flows are JSON lines, as -o jsonl writes them", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}
