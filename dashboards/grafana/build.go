package grafana

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

const (
	clickhousePlugin = "grafana-clickhouse-datasource"
	prometheusPlugin = "prometheus"
)

// Model is a dashboard as Grafana's servers of all versions import it. Its newer form is
// for those with the newest API only.
type Model = dashboard.Dashboard //nolint:staticcheck // see above

// Query is a query of Grafana's plugin for ClickHouse, version 4.
type Query struct {
	RefID      string               `json:"refId"`
	Datasource common.DataSourceRef `json:"datasource"`
	EditorType string               `json:"editorType"`
	QueryType  string               `json:"queryType"` // timeseries or table
	Format     int                  `json:"format"`    // 0 time series, 1 table
	RawSQL     string               `json:"rawSql"`
}

// ImplementsDataqueryVariant marks it as a query of Grafana's.
func (Query) ImplementsDataqueryVariant() {}

// DataqueryType is the plugin's name.
func (Query) DataqueryType() string { return clickhousePlugin }

// Validate has nothing to check that the builder could get wrong.
func (Query) Validate() error { return nil }

// Equals compares with another query.
func (q Query) Equals(o variants.Dataquery) bool { return reflect.DeepEqual(q, o) }

// Build implements cog.Builder.
func (q Query) Build() (variants.Dataquery, error) { return q, nil }

// link goes to Weir's page with a query and the dashboard's range.
func link(text string) cog.Builder[dashboard.DashboardLink] {
	return dashboard.NewDashboardLinkBuilder("Open in Weir").Type(dashboard.DashboardLinkTypeLink).TargetBlank(true).
		Url("${weir}/?q=" + text + "&since=${__from:date:iso}&until=${__to:date:iso}")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// thresholds colours numbers: quiet below the first alarm, amber from there, red from the
// second on.
func thresholds(alarm []float64) cog.Builder[dashboard.ThresholdsConfig] {
	steps := []dashboard.Threshold{{Color: "text"}}
	for i, v := range alarm {
		steps = append(steps, dashboard.Threshold{Value: new(v), Color: []string{"orange", "red"}[min(i, 1)]})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

// Build makes a panel of Grafana's of it.
func (p *Panel) Build() (cog.Builder[dashboard.Panel], error) {
	sql, err := p.SQL()
	if err != nil {
		return nil, err
	}
	q := Query{RefID: "A", Datasource: source(clickhousePlugin, "datasource"), EditorType: "sql", QueryType: "table", Format: 1, RawSQL: sql}
	to := []cog.Builder[dashboard.DashboardLink]{link("${filter:percentencode}%20" + escape(p.Text("")))}
	switch p.Kind {
	case Stat:
		return statPanel(p).Datasource(q.Datasource).WithTarget(q).Links(to), nil
	case Table:
		b := table.NewPanelBuilder().Title(p.Title).Description(p.Doc).Span(p.W).Height(p.H).NoValue("none").CellHeight(common.TableCellHeightSm).Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})).
			Datasource(q.Datasource).WithTarget(q).Links(to)
		for _, c := range Shown(append(slices.Clone(p.List), p.By...)) {
			b.OverrideByName(c.Name, titled(c.Name))
		}
		for _, a := range p.Aggs {
			b.OverrideByName(a, titled(a))
		}
		return b, nil
	case Bars, Lines:
		q.QueryType, q.Format = "timeseries", 0
		return seriesPanel(p).Datasource(q.Datasource).WithTarget(q).Links(to).Interval("1m").DisplayName("${__field.labels.series}"), nil
	}
	return nil, fmt.Errorf("%s: kind %q", p.Title, p.Kind)
}

func statPanel(p *Panel) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(p.Title).Description(p.Doc).Span(p.W).Height(p.H).Unit(p.Unit).NoValue("none").
		ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).Thresholds(thresholds(p.Alarm)).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
}

// seriesPanel draws bars: nothing joins two points between which nothing was measured.
func seriesPanel(p *Panel) *timeseries.PanelBuilder {
	b := timeseries.NewPanelBuilder().Title(p.Title).Description(p.Doc).Span(p.W).Height(p.H).Unit(p.Unit).NoValue("none").Min(0).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if p.Kind == Bars {
		b.DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).LineWidth(0).BarAlignment(common.BarAlignmentAfter).
			Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
	} else {
		b.DrawStyle(common.GraphDrawStyleLine).LineWidth(1).FillOpacity(0).ShowPoints(common.VisibilityModeNever)
	}
	colors := maps.Clone(p.Colors)
	if colors == nil {
		colors = map[string]string{}
	}
	colors["other"], colors[Absent] = "#9ca3af", "#d1d5db"
	for _, n := range slices.Sorted(maps.Keys(colors)) {
		b.OverrideByName(n, []dashboard.DynamicConfigValue{{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": colors[n]}}})
	}
	return b
}
