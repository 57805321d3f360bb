package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/weirnet/weir/api/flow"
)

var outputs = []string{"compact", "table", "wide", "json", "jsonl", "csv", "markdown"}

// printer writes records in one of the output forms.
type printer struct {
	w      *bufio.Writer
	form   string
	style  *style
	n      uint64
	last   int    // keep only the newest, print them at the end
	first  uint64 // take no more than so many, where it is not 0
	kept   []flow.Record
	widths []int
	width  int // of a line of a table, 0 for no limit
	line   []byte

	mu    sync.Mutex
	folds bool
	held  fold
}

func newPrinter(w io.Writer, form string, st *style) *printer {
	return &printer{w: bufio.NewWriterSize(w, 64<<10), form: form, style: st}
}

type column struct {
	head  string
	min   int
	right bool
	cell  func(st *style, r *flow.Record) string
}

var tableColumns = []column{
	{"TIME", 8, false, func(st *style, r *flow.Record) string { return st.when(r) }},
	{"FROM", 24, false, func(st *style, r *flow.Record) string { from, _ := st.fromTo(r); return from }},
	{"TO", 28, false, func(st *style, r *flow.Record) string { _, to := st.fromTo(r); return to }},
	{"PROTO", 5, false, func(_ *style, r *flow.Record) string { return proto(r) }},
	{"OUTCOME", 10, false, func(st *style, r *flow.Record) string { return st.outcome(r) }},
	{"BYTES", 15, true, func(_ *style, r *flow.Record) string { return both(r, flow.FBytes, flow.FRevBytes, size) }},
	{"RTT", 7, true, func(_ *style, r *flow.Record) string {
		if r.Has.Has(flow.FRTT) {
			return rtt(r.RTT)
		}
		return "-"
	}},
	{"WHY", 0, false, func(_ *style, r *flow.Record) string { return why(r, false) }},
}

// dash makes an absent text field a dash.
func dash(f flow.FieldID) func(*style, *flow.Record) string {
	return func(_ *style, r *flow.Record) string {
		if s := clean(r.Text(f)); s != "" {
			return s
		}
		return "-"
	}
}

var wideColumns = append(append([]column(nil), tableColumns[:len(tableColumns)-1]...),
	column{"PACKETS", 9, true, func(_ *style, r *flow.Record) string { return both(r, flow.FPackets, flow.FRevPackets, count) }},
	column{"SCOPE", 10, false, dash(flow.FScope)},
	column{"SEEN-BY", 7, false, dash(flow.FSeenBy)},
	column{"FROM-NODE", 9, false, dash(flow.FSrcNode)},
	column{"TO-NODE", 9, false, dash(flow.FDstNode)},
	column{"FROM-WORKLOAD", 13, false, dash(flow.FSrcWorkload)},
	column{"TO-WORKLOAD", 13, false, dash(flow.FDstWorkload)},
	column{"FROM-ADDR", 21, false, func(_ *style, r *flow.Record) string { e := source(r); return withPort(e.ip, e.port) }},
	column{"TO-ADDR", 21, false, func(_ *style, r *flow.Record) string { e := destination(r); return withPort(e.ip, e.port) }},
	column{"EVIDENCE", 9, false, dash(flow.FEvidence)},
	column{"END", 4, false, dash(flow.FEndReason)},
	column{"STATE", 11, false, dash(flow.FTCPState)},
	tableColumns[len(tableColumns)-1],
)

// print writes one record, or keeps it where only the newest are wanted. idle says
// that nothing more is at hand, so that a person should see it now.
func (p *printer) print(r *flow.Record, idle bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first > 0 && p.n >= p.first {
		return nil
	}
	if p.last > 0 {
		if len(p.kept) == 2*p.last {
			p.kept = append(p.kept[:0], p.kept[p.last:]...)
		}
		p.kept = append(p.kept, *r)
		return nil
	}
	if err := p.write(r); err != nil {
		return err
	}
	if idle {
		return p.w.Flush()
	}
	return nil
}

func (p *printer) write(r *flow.Record) error {
	p.n++
	var err error
	switch p.form {
	case "json":
		sep := ",\n"
		if p.n == 1 {
			sep = "[\n"
		}
		p.line = flow.AppendJSON(p.line[:0], r)
		if _, err = p.w.WriteString(sep); err == nil {
			_, err = p.w.Write(cleanJSON(p.line))
		}
	case "jsonl":
		p.line = flow.AppendJSON(p.line[:0], r)
		if _, err = p.w.Write(cleanJSON(p.line)); err == nil {
			err = p.w.WriteByte('\n')
		}
	case "csv":
		if p.n == 1 {
			p.line = endLine(flow.AppendCSVHeader(p.line[:0], flow.AllFields()))
			_, err = p.w.Write(p.line)
		}
		if err == nil {
			p.line = endLine(flow.AppendCSV(p.line[:0], r, flow.AllFields()))
			_, err = p.w.WriteString(clean(strings.TrimRight(string(p.line), "\r\n")) + "\n")
		}
	case "compact":
		if p.folds {
			if p.held.add(p.style, r) {
				err = p.unfold()
			}
			return err
		}
		_, err = p.w.WriteString(p.compact(&folded{others: []flow.Record{*r}, rec: *r}) + "\n")
	case "markdown":
		err = p.markdown(r)
	case "table":
		err = p.row(tableColumns, r)
	case "wide":
		err = p.row(wideColumns, r)
	}
	return err
}

// endLine ends a CSV line with a newline, whether or not it has one.
func endLine(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] == '\n' {
		return b
	}
	return append(b, '\n')
}

// compact is the default line:
//
//	03:12:07  shop/cart-6f -> shop/payments:8443  REFUSED x31  nobody listens (listens: 8080)  1.9 kB/1.2 kB  rtt 0.4 ms
func (p *printer) compact(g *folded) string {
	r, n, rttMin, rttMax := g.line()
	st := p.style
	from, to := st.fromTo(&r)
	outcome := st.paint(&r, st.outcome(&r))
	if n > 1 {
		outcome += " x" + strconv.Itoa(n)
	}
	parts := []string{st.when(&r), from + " -> " + to, outcome}
	if r.Proto != 6 {
		parts = append(parts, proto(&r))
	}
	if s := listens(&r); s != "" {
		parts = append(parts, clean(s))
	}
	if b := both(&r, flow.FBytes, flow.FRevBytes, size); b != "-" {
		parts = append(parts, b+g.uncounted())
	}
	if w := why(&r, true); w != "" {
		parts = append(parts, w)
	}
	switch {
	case !r.Has.Has(flow.FRTT):
	case rtt(rttMin) == rtt(rttMax):
		parts = append(parts, "rtt "+rtt(rttMin))
	default:
		parts = append(parts, "rtt "+strings.TrimSuffix(rtt(rttMin), " ms")+" to "+rtt(rttMax))
	}
	return strings.Join(parts, "  ")
}

// unfold writes the lines that are held back.
func (p *printer) unfold() error {
	for _, g := range p.held.take() {
		if _, err := p.w.WriteString(p.compact(g) + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// flush writes all that is not kept for the end.
func (p *printer) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.unfold(); err != nil {
		return err
	}
	return p.w.Flush()
}

// everySecond writes what is held back each second until stop is called. An error meets
// the next record: the writer keeps it.
func (p *printer) everySecond() (stop func()) {
	if !p.folds {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				_ = p.flush()
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func (p *printer) markdown(r *flow.Record) error {
	var heads, rule, texts []string
	for _, c := range tableColumns {
		heads = append(heads, c.head)
		rule = append(rule, map[bool]string{false: "---", true: "---:"}[c.right])
		texts = append(texts, c.cell(p.style, r))
	}
	m := &markdownRows{p.w}
	if p.n == 1 {
		if err := errors.Join(m.line(heads), m.line(rule)); err != nil {
			return err
		}
	}
	return m.line(texts)
}

// row prints one line of a table; a column grows to the widest cell that it has
// had, since a live stream has no end to wait for.
func (p *printer) row(cols []column, r *flow.Record) error {
	if p.widths == nil {
		p.widths = make([]int, len(cols))
		heads := make([]string, len(cols))
		for i, c := range cols {
			heads[i] = c.head
			p.widths[i] = max(c.min, len(c.head))
		}
		if err := p.cells(cols, heads, nil); err != nil {
			return err
		}
	}
	texts := make([]string, len(cols))
	for i, c := range cols {
		texts[i] = c.cell(p.style, r)
		p.widths[i] = max(p.widths[i], min(utf8.RuneCountInString(texts[i]), 60))
	}
	return p.cells(cols, texts, r)
}

func (p *printer) cells(cols []column, texts []string, r *flow.Record) error {
	var b strings.Builder
	for i, s := range texts {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", max(0, p.widths[i]-utf8.RuneCountInString(s)))
		if r != nil && cols[i].head == "OUTCOME" {
			s = p.style.paint(r, s)
		}
		switch {
		case cols[i].right:
			b.WriteString(pad + s)
		case i == len(texts)-1:
			b.WriteString(s)
		default:
			b.WriteString(s + pad)
		}
	}
	_, err := p.w.WriteString(cut(strings.TrimRight(b.String(), " "), p.width) + "\n")
	return err
}

// cut shortens a line to width columns, 0 for no limit; sequences of colour take none.
func cut(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	n, escaped, painted := 0, false, false
	last := 0 // where the last column that fits begins
	for i, r := range s {
		switch {
		case r == '\x1b':
			escaped, painted = true, true
			continue
		case escaped:
			escaped = r != 'm'
			continue
		}
		if n++; n == width {
			last = i
		}
		if n > width {
			s = s[:last] + "\u2026"
			if painted {
				s += "\x1b[0m"
			}
			return s
		}
	}
	return s
}

// close writes what is kept and what ends the form.
func (p *printer) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.kept); n > 0 {
		for i := max(0, n-p.last); i < n; i++ {
			if err := p.write(&p.kept[i]); err != nil {
				return err
			}
		}
	}
	if p.form == "json" {
		end := "\n]\n"
		if p.n == 0 {
			end = "[]\n"
		}
		if _, err := p.w.WriteString(end); err != nil {
			return err
		}
	}
	err := p.unfold()
	if err == nil {
		err = p.w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
