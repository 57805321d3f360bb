package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirnet/weir/api/query"
)

// topModel is what the screen of `top` shows, and what keys do to it. It has no clock
// and no terminal: keys, samples and sizes go in, lines come out.
type topModel struct {
	cond          string
	by            []string
	metric        string
	ascending     bool
	paused, help  bool
	window        time.Duration
	width, height int
	color         bool

	now    *sample
	before map[string]map[string]uint64 // of the sample before: group, metric
	fault  string                       // why the last question had no answer
	scroll int
	prompt *prompt
}

// prompt is a line that is being written.
type prompt struct {
	label string
	text  []rune
	fault string
	done  func(text string) error
}

// effect is what a key asks the loop to do.
type effect int

const (
	nothing effect = iota
	ask            // the question changed
	quit
)

const topHelp = "q quit  s sort  o order  g group  f filter  p pause  w window  arrows scroll"

// press takes a key.
func (m *topModel) press(k key) effect {
	if k == keyCtrlC {
		return quit
	}
	if m.prompt != nil {
		return m.write(k)
	}
	m.help = k == '?' && !m.help
	switch k {
	case 'q', keyCtrlD:
		return quit
	case 's':
		i := slices.Index(topMetrics, m.metric)
		m.sortBy(topMetrics[(i+1)%len(topMetrics)])
	case '1', '2', '3', '4', '5':
		m.sortBy(topMetrics[k-'1'])
	case 'o':
		m.ascending = !m.ascending
		m.sortBy(m.metric)
	case 'p', ' ':
		if m.paused = !m.paused; !m.paused {
			return ask
		}
	case 'g':
		m.open("group by: ", strings.Join(m.by, ", "), func(text string) error {
			by := splitFields(text)
			if err := checkTop("", by); err != nil {
				return err
			}
			m.by = by
			m.before, m.now = nil, nil
			return nil
		})
	case 'f', '/':
		m.open("filter: ", m.cond, func(text string) error {
			if err := checkTop(text, m.by); err != nil {
				return err
			}
			m.cond = text
			m.before = nil
			return nil
		})
	case 'w':
		m.open("window: ", query.FormatDuration(m.window), func(text string) error {
			d, err := time.ParseDuration(text)
			if err != nil || d < minWindow || d > maxWindow {
				return fmt.Errorf("%q is no window: write 10s to 24h", text)
			}
			m.window, m.before = d, nil
			return nil
		})
	case keyDown, 'j':
		m.scroll++
	case keyUp, 'k':
		m.scroll = max(0, m.scroll-1)
	case keyHome:
		m.scroll = 0
	default: // nothing is bound to it
	}
	return nothing
}

func (m *topModel) sortBy(metric string) {
	m.metric, m.scroll = metric, 0
	if m.now != nil {
		m.now.order(metric, m.ascending)
	}
}

func (m *topModel) open(label, text string, done func(string) error) {
	m.prompt = &prompt{label: label, text: []rune(text), done: done}
}

// write edits the prompt; Enter takes it, Escape leaves it.
func (m *topModel) write(k key) effect {
	p := m.prompt
	p.fault = ""
	switch k {
	case keyEscape:
		m.prompt = nil
	case keyEnter:
		if err := p.done(strings.TrimSpace(string(p.text))); err != nil {
			p.fault = clean(err.Error())
			return nothing
		}
		m.prompt, m.scroll, m.paused = nil, 0, false
		return ask
	case keyBackspace:
		if len(p.text) > 0 {
			p.text = p.text[:len(p.text)-1]
		}
	case keyCtrlU:
		p.text = nil
	default:
		if k >= ' ' && !unsafeRune(rune(k)) && len(p.text) < 1000 {
			p.text = append(p.text, rune(k))
		}
	}
	return nothing
}

// take shows a sample, unless it is paused.
func (m *topModel) take(s *sample) {
	if m.paused {
		return
	}
	m.fault = ""
	if m.now != nil {
		m.before = map[string]map[string]uint64{}
		for _, r := range m.now.rows {
			vs := map[string]uint64{}
			for name, a := range r.values {
				vs[name] = a.n
			}
			m.before[strings.Join(r.by, "\x00")] = vs
		}
	}
	m.now = s
	s.order(m.metric, m.ascending)
}

// topColumn is a column of numbers.
type topColumn struct{ head, metric string }

var topColumns = []topColumn{{"CONNS", "conns"}, {"BYTES/S", "bytes"}, {"FAILED", "failed"}, {"DENIED", "denied"}, {"RETRANS", "retransmits"}}

// cells are the columns after the fields: rates over the window, and how the metric
// that orders changed since the look before.
func (m *topModel) cells(r *topRow) []string {
	var out []string
	for _, c := range topColumns {
		a := r.values[c.metric]
		switch {
		case !a.known:
			out = append(out, "-")
		case c.metric == "bytes":
			out = append(out, perSecond(a, m.now.window, true))
		default:
			out = append(out, strconv.FormatUint(a.n, 10))
		}
	}
	return append(out, perSecond(r.values["conns"], m.now.window, false), m.change(r))
}

func (m *topModel) change(r *topRow) string {
	a := r.values[m.metric]
	if m.before == nil || !a.known {
		return ""
	}
	d := int64(a.n) - int64(m.before[strings.Join(r.by, "\x00")][m.metric])
	switch {
	case d == 0:
		return "="
	case m.metric == "bytes" && d > 0:
		return "+" + size(uint64(d))
	case m.metric == "bytes":
		return "-" + size(uint64(-d))
	}
	return fmt.Sprintf("%+d", d)
}

// table lays the rows out: the heads, then a line each.
func (m *topModel) table() []string {
	heads := slices.Clone(m.by)
	for _, c := range topColumns {
		h := c.head
		if c.metric == m.metric {
			h += map[bool]string{false: "\u25be", true: "\u25b4"}[m.ascending]
		}
		heads = append(heads, h)
	}
	heads = append(heads, "CONNS/S", "CHANGE")
	rows := [][]string{heads}
	for i := range m.now.rows {
		rows = append(rows, append(slices.Clone(m.now.rows[i].by), m.cells(&m.now.rows[i])...))
	}
	widths := make([]int, len(heads))
	for _, r := range rows {
		for i, s := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(s))
		}
	}
	shown := m.fit(widths)
	var lines []string
	for _, r := range rows {
		var b strings.Builder
		for i, s := range r {
			if !shown[i] {
				continue
			}
			if i > 0 {
				b.WriteString("  ")
			}
			s = cut(s, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(s))
			if i < len(m.by) {
				b.WriteString(s + pad)
			} else {
				b.WriteString(pad + s)
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// fit makes a table as narrow as the screen: it cuts long names, leaves columns of numbers
// out, the one that orders never, and then cuts the names further.
func (m *topModel) fit(widths []int) (shown []bool) {
	shown = make([]bool, len(widths))
	for i := range shown {
		shown[i] = true
	}
	over := func() int {
		sum := -2
		for i, w := range widths {
			if shown[i] {
				sum += w + 2
			}
		}
		return sum - m.width
	}
	narrow := func(least int) {
		for over() > 0 {
			widest := 0
			for i := range m.by {
				if widths[i] > widths[widest] {
					widest = i
				}
			}
			if widths[widest] <= least {
				return
			}
			widths[widest]--
		}
	}
	if m.width <= 0 {
		return shown
	}
	narrow(20)
	for i := len(widths) - 1; i >= len(m.by) && over() > 0; i-- {
		shown[i] = i-len(m.by) < len(topColumns) && topColumns[i-len(m.by)].metric == m.metric
	}
	narrow(8)
	return shown
}

// view gives the lines of the screen, as many as it is high and none wider.
func (m *topModel) view() []string {
	state := "every group over the last " + query.FormatDuration(m.window)
	if m.now != nil {
		state = fmt.Sprintf("%d groups over %s to %s  %d records in %.0f ms", len(m.now.rows), query.FormatDuration(m.now.window), m.now.until.UTC().Format("15:04:05Z"), m.now.scanned, m.now.took)
	}
	if m.paused {
		state += "  PAUSED"
	}
	filter := "all connections"
	if m.cond != "" {
		filter = clean(m.cond)
	}
	lines := []string{"weirctl top  " + filter, state}
	if m.now != nil {
		for _, n := range m.now.notes {
			lines = append(lines, clean(n))
		}
	}
	if m.fault != "" {
		lines = append(lines, "no answer: "+m.fault)
	}
	lines = append(lines, "")
	room := m.height - len(lines) - 1
	switch {
	case m.now == nil:
	case len(m.now.rows) == 0:
		lines = append(lines, "no connections in the window")
	default:
		t := m.table()
		lines = append(lines, m.strong(t[0]))
		body := t[1:]
		m.scroll = max(0, min(m.scroll, len(body)-max(1, room-1)))
		body = body[m.scroll:]
		if len(body) > room-1 {
			body = body[:max(0, room-1)]
		}
		lines = append(lines, body...)
	}
	foot := "? help"
	switch {
	case m.prompt != nil && m.prompt.fault != "":
		foot = m.prompt.label + string(m.prompt.text) + "_  " + m.prompt.fault
	case m.prompt != nil:
		foot = m.prompt.label + string(m.prompt.text) + "_"
	case m.help:
		foot = topHelp
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, m.height-1)], foot)
	for i, l := range lines {
		lines[i] = cut(l, m.width)
	}
	return lines
}

func (m *topModel) strong(s string) string {
	if !m.color {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// splitFields reads a list of fields.
func splitFields(s string) []string {
	var out []string
	for f := range strings.SplitSeq(s, ",") {
		out = append(out, strings.TrimSpace(f))
	}
	return out
}
