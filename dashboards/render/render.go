package render

import (
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/weirnet/weir/dashboards/grafana"
)

// Frame is an answer: of a time series with the columns time, series and value, else as
// the panel shows it. Values are numbers, strings, time.Time or nil.
type Frame struct {
	Columns []string
	Rows    [][]any
}

// Page is a dashboard to draw.
type Page struct {
	Dashboard grafana.Model
	Frames    []Frame // as the panels
	From, To  time.Time
	Step      time.Duration
	Picked    map[string]string // what the variables show; All where nothing is said
}

// Pixels of the grid: 24 columns, rows of 30 with 8 between them.
const (
	Width  = 1440
	margin = 16
	gap    = 8
	row    = 30
	top    = 92
)

const style = `*{box-sizing:border-box;margin:0}body{background:#f4f5f5;color:#1f2937;font:13px/20px system-ui,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums;position:relative}
h1{font-size:18px;font-weight:600}header{position:absolute;left:16px;right:16px;top:12px;display:flex;justify-content:space-between}
.vars{position:absolute;left:16px;top:50px;display:flex;gap:8px}.var{display:flex;border:1px solid #d5d8dc;border-radius:2px;background:#fff;font-size:12px;line-height:26px}.var b{font-weight:500;background:#f0f1f2;padding:0 8px;color:#4b5563}.var span{padding:0 8px}
.panel{position:absolute;background:#fff;border:1px solid #dfe2e5;border-radius:2px;overflow:hidden}.panel>h2{font-size:13px;font-weight:500;padding:6px 10px 2px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.stat{text-align:center;font-size:32px;line-height:1;font-weight:500;padding-top:10px}.none{color:#9ca3af;text-align:center;padding-top:24px}
table{border-collapse:collapse;width:100%;font-size:12px;table-layout:fixed}th,td{padding:0 8px;height:25px;text-align:left;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;border-bottom:1px solid #eceef0}th{font-weight:500;color:#3b6fb6}.n{text-align:right}.more{position:absolute;left:0;right:0;bottom:0;height:18px;line-height:17px;font-size:11px;text-align:center;color:#9ca3af}
.legend{position:absolute;left:10px;right:10px;bottom:5px;font-size:11px;line-height:15px;overflow:hidden;color:#4b5563}.legend i{display:inline-block;width:12px;height:4px;border-radius:2px;margin:0 5px 2px 0;vertical-align:middle}.legend span{margin-right:14px;white-space:nowrap}
text{font-size:10px;fill:#6b7280;font-family:system-ui,"DejaVu Sans",sans-serif}`

// HTML draws the page and tells its height in pixels.
func HTML(p *Page) (text string, height int) {
	var b strings.Builder
	title := "dashboard"
	if p.Dashboard.Title != nil {
		title = *p.Dashboard.Title
	}
	fmt.Fprintf(&b, "<!doctype html><meta charset=utf-8><title>%s</title><style>%s</style>", esc(title), style)
	fmt.Fprintf(&b, "<header><h1>%s</h1><span>%s to %s UTC</span></header><div class=vars>", esc(title), p.From.UTC().Format("2006-01-02 15:04"), p.To.UTC().Format("15:04"))
	for _, v := range p.Dashboard.Templating.List {
		if v.Hide != nil && *v.Hide == dashboard.VariableHideHideVariable {
			continue
		}
		label := v.Name
		if v.Label != nil {
			label = *v.Label
		}
		fmt.Fprintf(&b, "<div class=var><b>%s</b><span>%s</span></div>", esc(label), esc(p.shown(&v)))
	}
	b.WriteString("</div>")
	for i := range p.Dashboard.Panels {
		panel := p.Dashboard.Panels[i].Panel
		if panel == nil || panel.GridPos == nil {
			continue
		}
		x, y, w, h := place(panel.GridPos)
		height = max(height, y+h+margin)
		fmt.Fprintf(&b, "<div class=panel style='left:%dpx;top:%dpx;width:%dpx;height:%dpx'><h2>%s</h2>", x, y, w, h, esc(*panel.Title))
		f := Frame{}
		if i < len(p.Frames) {
			f = p.Frames[i]
		}
		o := optionsOf(panel)
		o.w, o.h = w, h
		switch {
		case len(f.Rows) == 0:
			fmt.Fprintf(&b, "<div class=none>%s</div>", esc(o.none))
		case panel.Type == "stat":
			drawStat(&b, f, &o)
		case panel.Type == "table":
			drawTable(&b, f, &o)
		default:
			drawSeries(&b, p, f, &o)
		}
		b.WriteString("</div>\n")
	}
	fmt.Fprintf(&b, "<style>body{height:%dpx}</style>", height)
	return b.String(), height
}

func (p *Page) shown(v *dashboard.VariableModel) string {
	if s, ok := p.Picked[v.Name]; ok {
		return s
	}
	if v.Current != nil && v.Current.Text.String != nil {
		return *v.Current.Text.String
	}
	if v.Type == dashboard.VariableTypeDatasource {
		return "default"
	}
	return "All"
}

func place(g *dashboard.GridPos) (x, y, w, h int) {
	col := func(n uint32) int { return margin + int(n)*(Width-2*margin+gap)/24 }
	x, y = col(g.X), top+int(g.Y)*(row+gap)
	return x, y, col(g.X+g.W) - gap - x, int(g.H)*(row+gap) - gap
}

func esc(s string) string { return html.EscapeString(s) }
