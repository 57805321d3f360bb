package render

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Pixels of tables, legends and the text of axes; the style sheet of the page has the same.
const (
	tableHead  = 28 + 25 // title and names of columns
	tableRow   = 25
	moreLine   = 18 // tells of rows that have no room
	legendLine = 15
	charWidth  = 5.8
)

func drawStat(b *strings.Builder, f Frame, o *options) {
	v, ok := Number(f.Rows[len(f.Rows)-1][len(f.Columns)-1])
	if !ok {
		fmt.Fprintf(b, "<div class=none>%s</div>", esc(o.none))
		return
	}
	fmt.Fprintf(b, "<div class=stat style='color:%s'>%s</div>", o.color(v), esc(Format(v, o.unit)))
}

func drawTable(b *strings.Builder, f Frame, o *options) {
	b.WriteString("<table><colgroup>")
	for _, c := range f.Columns {
		if w := o.fields[c].Width; w > 0 {
			fmt.Fprintf(b, "<col style='width:%gpx'>", w)
		} else {
			b.WriteString("<col>")
		}
	}
	b.WriteString("</colgroup><tr>")
	for i, c := range f.Columns {
		fmt.Fprintf(b, "<th%s>%s</th>", right(f, i), esc(cmp.Or(o.fields[c].Name, c)))
	}
	b.WriteString("</tr>")
	rows := f.Rows
	if len(rows) > (o.h-tableHead)/tableRow { // Grafana scrolls; no row is cut in two
		rows = rows[:max(1, (o.h-tableHead-moreLine)/tableRow)]
	}
	for _, r := range rows {
		b.WriteString("<tr>")
		for i, v := range r {
			x := o.fields[f.Columns[i]]
			text, style := "", ""
			switch v := v.(type) {
			case nil:
				text, style = "none", " style='color:#c3c8ce'"
			case time.Time:
				text = v.UTC().Format("2006-01-02 15:04:05")
			case string:
				if text = v; x.Words[v] != "" {
					style = " style='color:" + x.Words[v] + "'"
				}
			default:
				n, _ := Number(v)
				text = Format(n, cmp.Or(x.Unit, o.unit, "none"))
			}
			fmt.Fprintf(b, "<td%s%s>%s</td>", right(f, i), style, esc(text))
		}
		b.WriteString("</tr>")
	}
	b.WriteString("</table>")
	if n := len(f.Rows) - len(rows); n > 0 {
		fmt.Fprintf(b, "<div class=more>%d more below</div>", n)
	}
}

// right is the class of a column of numbers.
func right(f Frame, col int) string {
	for _, r := range f.Rows {
		if r[col] == nil {
			continue
		}
		if _, ok := Number(r[col]); ok {
			return " class=n"
		}
		return ""
	}
	return ""
}

// chart is where a time series is drawn.
type chart struct {
	p          *Page
	o          *options
	b          *strings.Builder
	l, t, w, h float64
	max        float64
	colors     map[string]string
}

func (c *chart) x(at time.Time) float64 {
	return c.l + c.w*float64(at.Sub(c.p.From))/float64(c.p.To.Sub(c.p.From))
}
func (c *chart) y(v float64) float64 { return c.t + c.h*(1-v/c.max) }

func drawSeries(b *strings.Builder, p *Page, f Frame, o *options) {
	byTime := map[int64]map[string]float64{}
	total := map[string]float64{}
	for _, r := range f.Rows {
		at, ok := r[0].(time.Time)
		v, num := Number(r[2])
		if !ok || !num {
			continue
		}
		name := fmt.Sprint(r[1])
		if byTime[at.Unix()] == nil {
			byTime[at.Unix()] = map[string]float64{}
		}
		byTime[at.Unix()][name] = v
		total[name] += v
	}
	names := make([]string, 0, len(total))
	for n := range total {
		names = append(names, n)
	}
	slices.Sort(names)
	times := make([]int64, 0, len(byTime))
	most := 0.0
	for t, row := range byTime {
		times = append(times, t)
		sum := 0.0
		for _, v := range row {
			if o.stacked {
				sum += v
			} else {
				sum = max(sum, v)
			}
		}
		most = max(most, sum)
	}
	slices.Sort(times)
	legend := legendLine * legendLines(names, o.w-20)
	c := &chart{p: p, o: o, b: b, t: 8, h: float64(o.h - 30 - 8 - 21 - legend), max: most, colors: o.colors(names)}
	step := c.step(most / 4)
	c.max = max(step, math.Ceil(most/step)*step)
	for v := 0.0; v <= c.max*1.0001; v += step {
		c.l = max(c.l, 22+charWidth*float64(len([]rune(Format(v, o.unit)))))
	}
	c.w = float64(o.w) - c.l - 14
	fmt.Fprintf(b, "<svg width=%d height=%d>", o.w, o.h-30-legend)
	c.axes(step)
	if o.bars {
		c.bars(times, byTime, names)
	} else {
		c.lines(times, byTime, names)
	}
	fmt.Fprintf(b, "</svg><div class=legend style='height:%dpx'>", legend)
	for _, n := range names {
		fmt.Fprintf(b, "<span><i style='background:%s'></i>%s</span> ", c.colors[n], esc(n))
	}
	b.WriteString("</div>")
}

func (c *chart) axes(step float64) {
	for v := 0.0; v <= c.max*1.0001; v += step {
		fmt.Fprintf(c.b, "<line x1=%.1f x2=%.1f y1=%.1f y2=%.1f stroke='#e5e7eb'/><text x=%.1f y=%.1f text-anchor=end>%s</text>", c.l, c.l+c.w, c.y(v), c.y(v), c.l-6, c.y(v)+3, esc(Format(v, c.o.unit)))
	}
	every, layout := ticks(c.p.To.Sub(c.p.From), max(2, int(c.w/75)))
	half := charWidth * float64(len(layout)) / 2
	for at := c.p.From.Truncate(every); !at.After(c.p.To); at = at.Add(every) {
		if at.Before(c.p.From) {
			continue
		}
		fmt.Fprintf(c.b, "<text x=%.1f y=%.1f text-anchor=middle>%s</text>", min(c.x(at), float64(c.o.w)-half-6), c.t+c.h+14, at.UTC().Format(layout))
	}
}

// ticks gives the distance of an axis' times, of which so many have room, and how to write
// them so that no two of a range look alike.
func ticks(span time.Duration, room int) (every time.Duration, layout string) {
	every = 24 * time.Hour
	for _, d := range []time.Duration{
		time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	} {
		if span/d <= time.Duration(room) {
			every = d
			break
		}
	}
	for span/every > time.Duration(room) { // days
		every += 24 * time.Hour
	}
	switch {
	case every < time.Minute:
		return every, "15:04:05"
	case every >= 24*time.Hour:
		return every, "01-02"
	case span > 24*time.Hour:
		return every, "01-02 15:04"
	}
	return every, "15:04"
}

// legendLines tells how many lines the names take below a chart, which shows three at most.
func legendLines(names []string, width int) int {
	lines, x := 1, 0.0
	for _, n := range names {
		w := 34 + 6.4*float64(len([]rune(n)))
		if x > 0 && x+w > float64(width) {
			lines, x = lines+1, 0
		}
		x += w
	}
	return min(lines, 3)
}

func (c *chart) bars(times []int64, rows map[int64]map[string]float64, names []string) {
	wide := c.w * float64(c.p.Step) / float64(c.p.To.Sub(c.p.From)) * 0.9
	for _, t := range times {
		base := 0.0
		for _, n := range names {
			v := rows[t][n]
			if v <= 0 {
				continue
			}
			fmt.Fprintf(c.b, "<rect x=%.1f y=%.1f width=%.1f height=%.1f fill='%s' fill-opacity=.85 />", c.x(time.Unix(t, 0)), c.y(base+v), wide, c.y(base)-c.y(base+v), c.colors[n])
			base += v
		}
	}
}

func (c *chart) lines(times []int64, rows map[int64]map[string]float64, names []string) {
	for _, n := range names {
		var pts []string
		for _, t := range times {
			if v, ok := rows[t][n]; ok {
				pts = append(pts, fmt.Sprintf("%.1f,%.1f", c.x(time.Unix(t, 0)), c.y(v)))
			}
		}
		fmt.Fprintf(c.b, "<polyline points='%s' fill=none stroke='%s' stroke-width=1.5 />", strings.Join(pts, " "), c.colors[n])
	}
}

// step is a round step near v, in its unit.
func (c *chart) step(v float64) float64 {
	unit := 1.0
	if c.o.unit == "binBps" || c.o.unit == "bytes" {
		for v/unit > 512 { // a step of 1 MiB reads better than one of 1000 KiB
			unit *= 1024
		}
	}
	return nice(v/unit) * unit
}

// nice is a round step near v.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	e := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5, 10} {
		if v <= m*e {
			return m * e
		}
	}
	return 10 * e
}
