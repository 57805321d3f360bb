package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/weirnet/weir/api/flow"
)

var (
	outputs = []string{"compact", "table", "wide", "json", "jsonl", "csv"}
	errPipe = error(syscall.EPIPE)
)

// printer writes records in one of the output forms.
type printer struct {
	w      *bufio.Writer
	form   string
	style  *style
	n      uint64
	last   int // keep only the newest, print them at the end
	kept   []flow.Record
	widths []int
	line   []byte
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
		_, err = p.w.WriteString(p.compact(r) + "\n")
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
//	03:12:07  shop/cart-6f -> shop/payments:8443  REFUSED  nobody listens (listens: 8080)  60 B/40 B
func (p *printer) compact(r *flow.Record) string {
	st := p.style
	from, to := st.fromTo(r)
	parts := []string{st.when(r), from + " -> " + to, st.paint(r, st.outcome(r))}
	if r.Proto != 6 {
		parts = append(parts, proto(r))
	}
	if s := listens(r); s != "" {
		parts = append(parts, clean(s))
	}
	if b := both(r, flow.FBytes, flow.FRevBytes, size); b != "-" {
		parts = append(parts, b)
	}
	if w := why(r, true); w != "" {
		parts = append(parts, w)
	}
	return strings.Join(parts, "  ")
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
	_, err := p.w.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	return err
}

// close writes what is kept and what ends the form.
func (p *printer) close() error {
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
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
