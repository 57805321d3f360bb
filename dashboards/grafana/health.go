package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// Health is a panel over the metrics of agents and aggregators.
type Health struct {
	Panel          // Title, Doc, Kind, W, H, Unit, Alarm
	Targets []Expr // what it shows
	Asks    string // the query of Weir's page behind it; "" for all connections
}

// Expr is a PromQL expression and the name of its series.
type Expr struct{ PromQL, Legend string }

// selects is the part of the pipeline that the variables pick.
const selects = `job=~"$job",instance=~"$instance"`

func rate(metric, by string) string {
	return "sum by (" + by + ") (rate(" + metric + "{" + selects + "}[$__rate_interval]))"
}

// count is Grafana's unit of a number of things, perSecond of so many a second: an axis
// names what it counts.
func count(what string) string     { return "count:" + what }
func perSecond(what string) string { return count(what + "/s") }

// lostShare is what was lost of what came into any stage, over the range of the dashboard.
const lostShare = `sum(increase(weir_ledger_lost_records_total{` + selects + `}[$__range])) / sum(increase(weir_ledger_records_total{side="in",` + selects + `}[$__range]))`

func health() Board {
	s := func(title, doc, unit, promql string, alarm ...float64) Health {
		return Health{Panel: Panel{Title: title, Doc: doc, Kind: Stat, W: 4, H: 3, Unit: unit, Alarm: alarm}, Targets: []Expr{{promql, ""}}}
	}
	l := func(title, doc, unit string, targets ...Expr) Health {
		return Health{Panel: Panel{Title: title, Doc: doc, Kind: Lines, W: 8, H: 8, Unit: unit}, Targets: targets}
	}
	return Board{
		UID: "weir-health", Title: "Weir / Pipeline health", Doc: "Whether the pipeline itself sees, keeps and delivers everything.",
		Health: []Health{
			s("Lost", "Share of the records that some stage of the ledger lost, over the range of the dashboard. weirctl ledger names the reasons.", "percentunit", lostShare, 0.000001, 0.001),
			s("Nodes that are silent", "Nodes that have not told anything for a minute.", "none", `max(weir_coverage_nodes{seen="silent",`+selects+`}) or vector(0)`, 1),
			s("Sinks that fail", "Sinks that take nothing now.", "none", `sum(weir_sink_failing{`+selects+`}) or vector(0)`, 1),
			s("Waiting for sinks", "Records in the spools of all sinks but the built-in history, which keeps its newest rows there.", "short", `sum(weir_sink_held_records{sink!="history",`+selects+`}) or vector(0)`, 100_000, 10_000_000),
			s("Fullest conntrack table", "Share of the table that is taken, at the node where it is largest.", "percentunit", `max(weir_conntrack_fill_ratio{`+selects+`})`, 0.5, 0.8),
			s("Broken hops", "Hops that do not book the probe's connections right. weirctl verify names them.", "none", `count(weir_verify_failed_hop{`+selects+`} == 1) or vector(0)`, 1),
			l("Records collected", "Flow records that aggregators decode a second.", perSecond("records"), Expr{rate("weir_collect_records_total", "instance"), "{{instance}}"}),
			l("Records lost, by stage and reason", "Each is a line of the ledger: nothing is lost silently.", perSecond("records"), Expr{rate("weir_ledger_lost_records_total", "stage, reason") + " > 0", "{{stage}}: {{reason}}"}),
			l("Records delivered by sink", "Records that sinks took a second; the built-in history has taken them when they are in a segment.", perSecond("records"), Expr{rate("weir_sink_out_records_total", "sink"), "{{sink}}"}),
			l("Records that wait, by sink", "In the spool: on disk and in memory. The built-in history keeps its newest rows there.", count("records"), Expr{`sum by (sink) (weir_sink_held_records{` + selects + `})`, "{{sink}}"}),
			l("Time in sinks", "Seconds a second that each sink's writes take: near 1 it is at its limit.", "percentunit", Expr{rate("weir_sink_write_seconds_total", "sink"), "{{sink}}"}),
			l("Failures of sinks", "Calls a second that failed and will be tried again.", perSecond("calls"), Expr{rate("weir_sink_failures_total", "sink"), "{{sink}}"}),
			l("Conntrack fill", "Share of the table that is taken, by node.", "percentunit", Expr{`max by (instance) (weir_conntrack_fill_ratio{` + selects + `})`, "{{instance}}"}),
			l("Kernel drops", "Packets and entries a second that the kernel dropped as the table was full.", perSecond("drops"),
				Expr{rate("weir_exporter_kernel_drops_total", "instance"), "{{instance}}: dropped"}, Expr{rate("weir_exporter_kernel_early_drops_total", "instance"), "{{instance}}: thrown out"}),
			l("Queries", "Queries a second to the API, and those without an answer.", perSecond("queries"),
				Expr{rate("weir_api_queries_total", "job"), "asked"}, Expr{rate("weir_api_queries_failed_total", "job"), "failed"},
				Expr{rate("weir_api_queries_refused_total", "job"), "refused"}, Expr{rate("weir_api_long_failures_total", "job"), "ClickHouse failed"}),
			l("Processor time", "Cores that each process takes: seconds of processor a second.", "suffix:cores", Expr{rate("process_cpu_seconds_total", "job, instance"), "{{job}} {{instance}}"}),
			l("Memory", "Resident memory of each process.", "bytes", Expr{`max by (job, instance) (process_resident_memory_bytes{` + selects + `})`, "{{job}} {{instance}}"}),
			l("History on disk", "Bytes of the segments of the built-in history. Its newest rows, of up to ten minutes, are not among them: they wait in its spool.", "bytes", Expr{`sum by (instance) (weir_history_bytes{` + selects + `})`, "{{instance}}"}),
		},
	}
}

// Build makes a panel of Grafana's of it.
func (h *Health) Build() cog.Builder[dashboard.Panel] {
	ds := source(prometheusPlugin, "prometheus")
	to := []cog.Builder[dashboard.DashboardLink]{link(escape(h.Asks))}
	target := func(i int) *prometheus.DataqueryBuilder {
		q := prometheus.NewDataqueryBuilder().RefId(string(rune('A' + i))).Datasource(ds).Expr(h.Targets[i].PromQL).EditorMode(prometheus.QueryEditorModeCode)
		if h.Targets[i].Legend != "" {
			q.LegendFormat(h.Targets[i].Legend)
		}
		if h.Kind == Stat {
			return q.Instant()
		}
		return q.Range()
	}
	if h.Kind == Stat {
		return statPanel(&h.Panel).Datasource(ds).WithTarget(target(0)).Links(to)
	}
	b := seriesPanel(&h.Panel).Datasource(ds).Links(to)
	for i := range h.Targets {
		b.WithTarget(target(i))
	}
	return b
}

func healthVariables() []cog.Builder[dashboard.VariableModel] {
	label := func(name, title, query string) cog.Builder[dashboard.VariableModel] {
		return dashboard.NewQueryVariableBuilder(name).Label(title).Query(text(query)).Definition(query).Datasource(source(prometheusPlugin, "prometheus")).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).Multi(true).IncludeAll(true).AllValue(".+").Current(allOption())
	}
	return []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("prometheus").Label("Data source").Type(prometheusPlugin), pageVariable(),
		label("job", "Job", "label_values(weir_build_info, job)"), label("instance", "Instance", `label_values(weir_build_info{job=~"$job"}, instance)`),
	}
}
