package main

import (
	"net/url"
	"strings"
)

// rule is an alert rule, with what its reader needs: what happened, what shows more, the
// runbook, and Weir's page with a query over the time that matters.
type rule struct {
	Alert, Expr, For, Severity string
	Summary, More              string // More says which command shows more
	Query                      string // of the link; {label} is the value of a label of the alert
	Since                      string // how long before the alert the link's range begins, seconds
}

type group struct {
	Name  string
	Doc   string
	Rules []rule
}

const (
	repository = "https://github.com/weirnet/weir/blob/main/"
	// pageOf is the address of Weir's page: the external label weir_url of Prometheus.
	pageOf   = `{{ or $externalLabels.weir_url "https://localhost:8443" }}`
	timeForm = `{{ with query "TIME" }}{{ (. | first | value | toTime).Format "2006-01-02T15:04:05Z" }}{{ end }}`
)

func clock(expr string) string { return strings.ReplaceAll(timeForm, "TIME", expr) }

// link is the annotation with Weir's page.
func (r *rule) link() string {
	q := strings.ReplaceAll(url.QueryEscape(r.Query), "+", "%20")
	for _, l := range []string{"src_ns", "dst_ns", "node", "instance"} { // labels that queries name
		q = strings.ReplaceAll(q, "%7B"+l+"%7D", "{{ $labels."+l+" | urlquery }}")
	}
	since := r.Since
	if since == "" {
		since = "3600"
	}
	return pageOf + "/?q=" + q + "&since=" + clock("time() - "+since) + "&until=" + clock("time()")
}

// annotations of the rule.
func (r *rule) annotations() map[string]string {
	return map[string]string{"summary": r.Summary, "description": r.More, "runbook_url": repository + "docs/runbooks/" + r.Alert + ".md", "weir_url": r.link()}
}

// failing are the outcomes of connections that went wrong by no policy.
const failing = `outcome!~"ok|unknown|denied"`

var groups = []group{
	{"weir-coverage", "what can be seen at all", []rule{
		{
			"WeirTrafficNotSeen", `sum by (traffic, family) (weir_coverage_nodes{seen="no"}) > 0`, "10m", "warning",
			"{{ $value }} nodes do not see {{ $labels.traffic }} {{ $labels.family }} traffic", "weirctl check node --server shows why, and what to do.", "| stats conns by src.node, scope", "",
		},
		{
			"WeirNodeSilent", `max(weir_coverage_nodes{seen="silent"}) > 0`, "5m", "warning",
			"{{ $value }} nodes have not told anything for more than a minute", "weirctl check node --server names them; weirctl verify on such a node names the hop that does not work.", "| stats conns, max(end) by observer", "",
		},
	}},
	{"weir-conntrack", "the nodes' tables", []rule{
		{
			"WeirConntrackFillsUp", `weir_conntrack_full_in_seconds < 1800 and weir_conntrack_fill_ratio > 0.5`, "5m", "warning",
			"the conntrack table of {{ $labels.instance }} will be full in {{ $value | humanizeDuration }}", "weirctl check node names the largest owners; net.netfilter.nf_conntrack_max is its size.", "| stats conns by src.node, src.ns, src.workload | top 20", "",
		},
		{
			"WeirConntrackDrops", `rate(weir_exporter_kernel_drops_total[5m]) + rate(weir_exporter_kernel_early_drops_total[5m]) > 0`, "1m", "critical",
			"the conntrack table of {{ $labels.instance }} is full: the kernel drops connections", "weirctl check node names the largest owners; raise net.netfilter.nf_conntrack_max.", "| stats conns by src.node, src.ns, src.workload | top 20", "",
		},
	}},
	{"weir-verify", "the probe; two runs in a row (probe.interval: 5m); with another interval make it somewhat longer", []rule{
		{
			"WeirHopBroken", `max by (node, hop) (weir_verify_failed_hop) == 1`, "6m", "critical",
			"flows of {{ $labels.node }} are not booked right: broken at {{ $labels.hop }}", "weirctl verify --last shows why and what to do; weirctl verify on that node looks again.", `canary = true node = "{node}"`, "",
		},
		{
			"WeirVerifyStale", `time() - max by (node) (weir_verify_last_success_timestamp_seconds) > 4 * max by (node) (weir_verify_interval_seconds)`, "1m", "critical",
			"no run of the probe of {{ $labels.node }} was right for {{ $value | humanizeDuration }}", "weirctl verify --last shows what became of the last one; weirctl verify on that node looks again.", `canary = true node = "{node}"`, "",
		},
	}},
	{"weir-collect", "what comes in", []rule{
		{
			"WeirAggregatorGone", `absent(weir_collect_sessions)`, "5m", "critical",
			"no aggregator is scraped: flows may be collected or not, nobody knows", "weirctl ledger asks one directly; kubectl -n weir get pods -l app.kubernetes.io/name=weir-aggregator.", "| stats conns", "",
		},
		{
			"WeirNothingCollected", `sum(rate(weir_collect_records_total[10m])) == 0`, "10m", "critical",
			"no flow record came in for ten minutes", "weirctl check node --server names the nodes that are silent; weirctl verify on a node names the hop.", "| stats conns, max(end) by observer", "",
		},
		{
			"WeirRecordsLostOnTheWire", `sum by (instance) (increase(weir_collect_sequence_lost_total[10m])) > 0`, "1m", "warning",
			"{{ $value | humanize }} records were lost between agents and {{ $labels.instance }}", "weirctl ledger shows between which stages; over TCP or TLS none is lost.", "| stats conns by observer", "",
		},
		{
			"WeirMalformedMessages", `sum by (instance) (increase(weir_collect_malformed_total[10m])) > 0`, "1m", "warning",
			"{{ $value | humanize }} messages that {{ $labels.instance }} got are no IPFIX", "weirctl ledger shows what came of whom; look for a foreign sender in the aggregator's log.", "| stats conns by observer", "",
		},
		{
			"WeirRecordsLost", `sum by (stage, reason) (increase(weir_ledger_lost_records_total[10m])) > 0`, "1m", "warning",
			"{{ $labels.stage }} lost {{ $value | humanize }} records: {{ $labels.reason }}", "weirctl ledger shows every stage and reason; weirctl ledger --minutes 60 shows when.", "| stats conns, active", "",
		},
	}},
	{"weir-sinks", "what goes out", []rule{
		{
			"WeirSinkFails", `max by (sink, instance) (weir_sink_failing) == 1`, "5m", "warning",
			"sink {{ $labels.sink }} of {{ $labels.instance }} takes nothing", "The aggregator's log has its error and the remedy; records wait in the spool; weirctl ledger shows how many.", "| stats conns", "",
		},
		{
			"WeirSinkFallsBehind", `weir_sink_held_records{sink!="history"} > 1e5 and deriv(weir_sink_held_records{sink!="history"}[15m]) > 0`, "15m", "warning",
			"{{ $value | humanize }} records wait for sink {{ $labels.sink }}, and their number grows", "weirctl ledger shows what waits; spool.maxBytes bounds it.", "| stats conns every 5m", "",
		},
		{
			"WeirClickHousePoisoned", `sum by (sink) (increase(weir_clickhouse_poisoned_rows_total[1h])) > 0`, "1m", "warning",
			"ClickHouse can never take {{ $value | humanize }} records of sink {{ $labels.sink }}", "The aggregator's log names conn_id and id of each; weirctl ledger has them as poisoned.", "| stats conns by observer", "",
		},
	}},
	{"weir-aggregator", "the aggregator itself", []rule{
		{
			"WeirLongHistoryFails", `sum by (instance) (rate(weir_api_long_failures_total[5m])) > 0`, "5m", "warning",
			"ClickHouse does not answer the queries of {{ $labels.instance }}: answers are partial", "weirctl query --since 240h '| stats conns' says why.", "| stats conns", "864000",
		},
		{
			"WeirHistoryNotWritten", `sum by (instance) (increase(weir_history_seal_failures_total[10m])) > 0`, "1m", "critical",
			"{{ $labels.instance }} cannot write its history", "The aggregator's log names the error; weirctl ledger shows what waits in the spool history.", "| stats conns", "",
		},
		{
			"WeirHistoryDamaged", `sum by (instance) (increase(weir_history_corrupt_segments_total[1h])) > 0`, "1m", "warning",
			"damaged segments of the history of {{ $labels.instance }} were set aside: {{ $value | humanize }}", "weirctl query says in its notes what an answer lacks.", "| stats conns every 1h", "604800",
		},
		{
			"WeirCertificateNotReloaded", `sum by (instance) (increase(weir_certificate_reload_failures_total[15m])) > 0`, "1m", "critical",
			"{{ $labels.instance }} cannot use its new certificate; the old one will expire", "Its log names the file; weirctl check node and weirctl ledger fail once it has expired.", "| stats conns by observer", "",
		},
		{
			"WeirTokenFileBad", `max by (instance) (weir_api_token_file_bad) == 1`, "1m", "warning",
			"the token file of {{ $labels.instance }} has an error; the old tokens stay in force", "Its log names the line; weirctl version shows whether your token is taken.", "| stats conns", "",
		},
	}},
	{"weir-flows", "the traffic, where a sink of kind prom counts it", []rule{
		{
			"WeirConnectionsFail",
			`sum by (src_ns, dst_ns) (rate(weir_flow_connections_total{` + failing + `}[10m])) > 0.1 * sum by (src_ns, dst_ns) (rate(weir_flow_connections_total[10m])) and sum by (src_ns, dst_ns) (rate(weir_flow_connections_total{` + failing + `}[10m])) > 0.1`,
			"10m", "warning", "more than a tenth of the connections from {{ $labels.src_ns }} to {{ $labels.dst_ns }} fail", "weirctl findings says what is otherwise than before; weirctl why names the cause for a pair.",
			`src.ns = "{src_ns}" dst.ns = "{dst_ns}" outcome not in (ok, unknown, denied) | stats active by src.workload, dst.workload, dst.port, outcome`, "",
		},
		{
			"WeirDenialsRise", `sum by (src_ns, dst_ns) (rate(weir_flow_connections_total{outcome="denied"}[10m])) > 10 * sum by (src_ns, dst_ns) (rate(weir_flow_connections_total{outcome="denied"}[10m] offset 1d)) + 0.1`,
			"10m", "warning", "policies deny {{ $value | humanize }} connections a second from {{ $labels.src_ns }} to {{ $labels.dst_ns }}, ten times what they did a day ago", "weirctl why names the rule for a pair, and the nearest allow.",
			`src.ns = "{src_ns}" dst.ns = "{dst_ns}" verdict = denied | stats active by src.workload, dst.workload, dst.port`, "",
		},
	}},
}
