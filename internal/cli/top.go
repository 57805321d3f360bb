package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"

	"github.com/weirnet/weir/internal/obs"
)

type top struct {
	env    *Env
	api    *client
	by     string
	metric string
	window time.Duration
	every  time.Duration
	limit  int
	output string
	color  string
	fail   bool
}

const (
	minWindow = 10 * time.Second
	maxWindow = 24 * time.Hour
	minEvery  = 500 * time.Millisecond
	// sizeEvery is how soon a change of the terminal's size is seen.
	sizeEvery = 250 * time.Millisecond
)

const topLong = `Show which groups of connections are largest, over a window that slides along, refreshed
every two seconds. CONNS, FAILED, DENIED and RETRANS are counts within the window, the
others are rates over it; CHANGE is how the column that orders differs from the look
before. Bytes come with the records of a connection, at the latest a minute after they
moved: a window shorter than that misses the newest.

Keys: q quits, s or 1 to 5 sorts by another column, o turns the order around, g groups by
other fields, f filters, w sets the window, p pauses, arrows scroll, ? shows the keys.
Without a terminal, or with -o, it prints once.`

func topCommand(env *Env, c *client) *cobra.Command {
	o := &top{env: env, api: c}
	cmd := &cobra.Command{
		Use: "top [CONDITION]", ValidArgsFunction: c.completeCondition, Short: "Watch the largest groups of connections", Long: topLong,
		Example: `  weirctl top
  weirctl top 'outcome != ok' --by src.workload,dst.workload,dst.port --metric failed
  weirctl top --by src.node,dst.node --metric retransmits -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), strings.Join(args, " ")) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.by, "by", "src.workload,dst.workload", "fields to group by")
	f.StringVar(&o.metric, "metric", "conns", "what orders: "+strings.Join(topMetrics, ", "))
	f.DurationVar(&o.window, "window", time.Minute, "how far back it counts, 10s to 24h")
	f.DurationVar(&o.every, "every", 2*time.Second, "time between two looks")
	f.IntVar(&o.limit, "limit", 20, "groups that are printed at most with -o; 0 for all")
	f.StringVarP(&o.output, "output", "o", "", "print once, as table or json")
	f.StringVar(&o.color, "color", "auto", "auto, always or never")
	f.BoolVar(&o.fail, "fail-empty", false, "exit with status 3 where nothing was found and it prints once")
	_ = cmd.RegisterFlagCompletionFunc("metric", cobra.FixedCompletions(topMetrics, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *top) run(ctx context.Context, cond string) error {
	if err := oneOf("metric", o.metric, topMetrics...); err != nil {
		return err
	}
	if o.output != "" {
		if err := oneOf("output", o.output, "table", "json"); err != nil {
			return err
		}
	}
	if err := oneOf("color", o.color, "auto", "always", "never"); err != nil {
		return err
	}
	if o.window < minWindow || o.window > maxWindow {
		return usagef("--window: %v is out of range: give 10s to 24h", o.window)
	}
	if o.every < minEvery {
		return usagef("--every: %v is too short: give at least %v", o.every, minEvery)
	}
	by := splitFields(o.by)
	if err := checkTop(cond, by); err != nil {
		return usageError{err}
	}
	m := &topModel{cond: cond, by: by, metric: o.metric, window: o.window}
	in, okIn := o.env.In.(*os.File)
	out, okOut := o.env.Out.(*os.File)
	if o.output == "" && okIn && okOut && xterm.IsTerminal(int(in.Fd())) && obs.IsTerminal(out) {
		m.color = o.color == "always" || o.color == "auto" && o.env.Getenv("NO_COLOR") == ""
		return o.live(ctx, m, in, out)
	}
	return o.once(ctx, m)
}

// once prints one look.
func (o *top) once(ctx context.Context, m *topModel) error {
	s, err := askTop(ctx, o.api, m.cond, m.by, m.window)
	if err != nil {
		return err
	}
	m.take(s)
	if o.limit > 0 && len(s.rows) > o.limit {
		s.notes = append(s.notes, fmt.Sprintf("%d groups more (--limit %d)", len(s.rows)-o.limit, o.limit))
		s.rows = s.rows[:o.limit]
	}
	if o.output == "json" {
		err = m.writeJSON(o.env.Out)
	} else {
		err = m.writeTable(o.env.Out)
	}
	for _, n := range s.notes {
		fmt.Fprintln(o.env.Err, clean(n))
	}
	if err == nil && o.fail && len(s.rows) == 0 {
		return errEmpty
	}
	return err
}

func (m *topModel) writeTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	heads := append([]string{}, m.by...)
	for _, c := range topColumns {
		heads = append(heads, c.head)
	}
	fmt.Fprintln(w, strings.Join(append(heads, "CONNS/S"), "\t"))
	for i := range m.now.rows {
		r := &m.now.rows[i]
		cells := m.cells(r)
		fmt.Fprintln(w, strings.Join(append(append([]string{}, r.by...), cells[:len(cells)-1]...), "\t"))
	}
	return w.Flush()
}

// topJSON is a group as -o json prints it.
type topJSON struct {
	By            map[string]string `json:"by"`
	Conns         *uint64           `json:"conns,omitempty"`
	Bytes         *uint64           `json:"bytes,omitempty"`
	Uncounted     uint64            `json:"bytes_uncounted,omitempty"` // connections without a count of bytes
	Failed        *uint64           `json:"failed,omitempty"`
	Denied        *uint64           `json:"denied,omitempty"`
	Retransmits   *uint64           `json:"retransmits,omitempty"`
	WindowSeconds float64           `json:"window_seconds"`
}

func (m *topModel) writeJSON(out io.Writer) error {
	list := []topJSON{}
	for i := range m.now.rows {
		r := &m.now.rows[i]
		j := topJSON{By: map[string]string{}, WindowSeconds: m.now.window.Seconds(), Uncounted: r.values["bytes"].uncounted}
		for k, f := range m.by {
			if r.by[k] != "-" {
				j.By[f] = r.by[k]
			}
		}
		for name, into := range map[string]**uint64{"conns": &j.Conns, "bytes": &j.Bytes, "failed": &j.Failed, "denied": &j.Denied, "retransmits": &j.Retransmits} {
			if a := r.values[name]; a.known {
				*into = &a.n
			}
		}
		list = append(list, j)
	}
	return writeJSON(out, list)
}

// looked is what came of one question.
type looked struct {
	sample *sample
	err    error
	id     int
	fault  string // a panic, with where it was
}

// Screens of xterm (its control sequences, DECSET and DECRST): the alternate one without a
// cursor, in which a line that is too wide, as one of wide letters may be, is cut and
// does not push the others down.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// live shows the model on a terminal until q, Ctrl-C or the end of ctx, and leaves the
// terminal as it was, also where it dies of a fault of its own.
func (o *top) live(ctx context.Context, m *topModel, in, out *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	old, err := xterm.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	fmt.Fprint(out, enterScreen)
	defer func() {
		fmt.Fprint(out, leaveScreen)
		_ = xterm.Restore(int(in.Fd()), old) // the shell sets its own modes again too
	}()
	pieces := make(chan []byte)
	go readPieces(ctx, in, pieces)
	answers := make(chan looked)
	question, asking := 0, false
	put := func() {
		question++
		asking = true
		id, cond, by, window := question, m.cond, m.by, m.window
		go func() {
			var l looked
			defer func() {
				if p := recover(); p != nil { // the loop has the terminal to restore
					l.fault = fmt.Sprintf("%v\n%s", p, debug.Stack())
				}
				select {
				case answers <- l:
				case <-ctx.Done():
				}
			}()
			l.id = id
			l.sample, l.err = askTop(ctx, o.api, cond, by, window)
		}()
	}
	put()
	refresh, size := time.NewTicker(o.every), time.NewTicker(sizeEvery)
	defer refresh.Stop()
	defer size.Stop()
	m.width, m.height = terminalSize(out)
	draw(out, m.view())
	for {
		select {
		case <-ctx.Done():
			return nil
		case piece, ok := <-pieces:
			if !ok {
				return nil
			}
			for _, k := range keys(piece) {
				switch m.press(k) {
				case quit:
					return nil
				case ask:
					put()
				case nothing:
				}
			}
		case a := <-answers:
			if a.fault != "" {
				panic(a.fault)
			}
			if a.id != question { // of a question that was changed meanwhile
				continue
			}
			asking = false
			if a.err != nil {
				m.fault = clean(a.err.Error())
			} else {
				m.take(a.sample)
			}
		case <-refresh.C:
			if !m.paused && !asking {
				put()
			}
			continue
		case <-size.C:
			w, h := terminalSize(out)
			if w == m.width && h == m.height {
				continue
			}
			m.width, m.height = w, h
			fmt.Fprint(out, "\x1b[2J")
		}
		draw(out, m.view())
	}
}

// readPieces hands on what is typed until the terminal or ctx ends.
func readPieces(ctx context.Context, in io.Reader, to chan<- []byte) {
	defer close(to)
	for {
		b := make([]byte, 256)
		n, err := in.Read(b)
		if n > 0 {
			select {
			case to <- b[:n]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

func terminalSize(out *os.File) (w, h int) {
	w, h, err := xterm.GetSize(int(out.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		return 80, 24
	}
	return w, h
}

// draw writes the lines over what stands there, without a flash of an empty screen.
func draw(out io.Writer, lines []string) {
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, _ = io.WriteString(out, b.String()) // the terminal is gone: so is the reader of keys, which ends the loop
}
