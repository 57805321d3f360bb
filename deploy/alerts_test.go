package deploy

import (
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/testenv"
)

const rulesFile = "alerts/weir.yaml"

type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alertRules(t *testing.T) map[string]alertRule {
	t.Helper()
	raw, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Groups []struct{ Rules []alertRule }
	}
	if err := yaml.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]alertRule{}
	for _, g := range list.Groups {
		for _, r := range g.Rules {
			if _, twice := out[r.Alert]; twice {
				t.Errorf("two rules are called %s", r.Alert)
			}
			out[r.Alert] = r
		}
	}
	return out
}

// TestAlertsNameMetrics: every metric of the alert rules is in docs/metrics.md, every rule
// says what to do, and has a runbook.
func TestAlertsNameMetrics(t *testing.T) {
	docs, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	metric := regexp.MustCompile(`weir_[a-z0-9_]+`)
	rules := alertRules(t)
	for _, r := range rules {
		names := metric.FindAllString(r.Expr, -1)
		if r.For == "" || r.Labels["severity"] == "" || !strings.Contains(r.Annotations["description"], "weirctl") && !strings.Contains(r.Annotations["description"], "log") || len(names) == 0 {
			t.Errorf("%s: a rule has a time, a severity, a metric and says what shows more", r.Alert)
		}
		for _, n := range names {
			if !strings.Contains(string(docs), "`"+n+"`") {
				t.Errorf("%s: docs/metrics.md does not have %s", r.Alert, n)
			}
		}
		book, err := os.ReadFile(filepath.Join("..", "docs", "runbooks", r.Alert+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, part := range []string{"# " + r.Alert + "\n", "## What it means", "## Look", "## Do"} {
			if !strings.Contains(string(book), part) {
				t.Errorf("docs/runbooks/%s.md has no %q", r.Alert, part)
			}
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbooks/"+r.Alert+".md") {
			t.Errorf("%s: its runbook is %q", r.Alert, r.Annotations["runbook_url"])
		}
	}
	books, err := filepath.Glob("../docs/runbooks/Weir*.md")
	if err != nil || len(books) != len(rules) {
		t.Errorf("%d runbooks for %d rules, %v", len(books), len(rules), err)
	}
}

// firing is a case in which an alert fires, and the time before at which it does not.
type firing struct {
	series  map[string]string // in promtool's notation, a sample a minute
	quiet   string            // not yet
	fires   string
	labels  map[string]string // besides the severity
	summary string
	query   string        // of the link
	before  time.Duration // how long before the alert its range begins; 0 for an hour
}

var firings = map[string]firing{
	"WeirTrafficNotSeen": {
		series: map[string]string{`weir_coverage_nodes{traffic="service",family="ipv6",seen="no",instance="a"}`: "0x5 3x60"}, quiet: "14m", fires: "17m",
		labels: map[string]string{"traffic": "service", "family": "ipv6"}, summary: "3 nodes do not see service ipv6 traffic", query: "| stats conns by src.node, scope",
	},
	"WeirNodeSilent": {
		series: map[string]string{`weir_coverage_nodes{seen="silent",instance="a"}`: "0x5 2x60", `weir_coverage_nodes{seen="silent",instance="b"}`: "0x60"}, quiet: "9m", fires: "12m",
		summary: "2 nodes have not told anything for more than a minute", query: "| stats conns, max(end) by observer",
	},
	"WeirConntrackFillsUp": {
		series: map[string]string{`weir_conntrack_full_in_seconds{instance="n1"}`: "600x60", `weir_conntrack_fill_ratio{instance="n1"}`: "0.7x60", `weir_conntrack_full_in_seconds{instance="n2"}`: "600x60", `weir_conntrack_fill_ratio{instance="n2"}`: "0.3x60"},
		quiet:  "4m", fires: "6m", labels: map[string]string{"instance": "n1"}, summary: "the conntrack table of n1 will be full in 10m 0s", query: "| stats conns by src.node, src.ns, src.workload | top 20",
	},
	"WeirConntrackDrops": {
		series: map[string]string{`weir_exporter_kernel_drops_total{instance="n1"}`: "0x10 0+60x50", `weir_exporter_kernel_early_drops_total{instance="n1"}`: "0x60"}, quiet: "10m", fires: "14m",
		labels: map[string]string{"instance": "n1"}, summary: "the conntrack table of n1 is full: the kernel drops connections", query: "| stats conns by src.node, src.ns, src.workload | top 20",
	},
	// node-2 breaks at a hop for long, node-3 for one run.
	"WeirHopBroken": {
		series: map[string]string{`weir_verify_failed_hop{node="node-2",hop="sink/files",instance="a"}`: "_x9 1x51", `weir_verify_failed_hop{node="node-3",hop="collect",instance="a"}`: "_x9 1x4 stale"}, quiet: "14m", fires: "17m",
		labels: map[string]string{"node": "node-2", "hop": "sink/files"}, summary: "flows of node-2 are not booked right: broken at sink/files", query: `canary = true node = "node-2"`,
	},
	// node-1 is right, and of two aggregators one judged no canary of it; node-4 is right no more.
	"WeirVerifyStale": {
		series: map[string]string{
			`weir_verify_interval_seconds{node="node-1",instance="a"}`: "300x60", `weir_verify_interval_seconds{node="node-1",instance="b"}`: "300x60", `weir_verify_interval_seconds{node="node-4",instance="a"}`: "300x60",
			`weir_verify_last_success_timestamp_seconds{node="node-1",instance="a"}`: "0+60x60", `weir_verify_last_success_timestamp_seconds{node="node-1",instance="b"}`: "0x60",
			`weir_verify_last_success_timestamp_seconds{node="node-4",instance="a"}`: "0+60x10 600x50",
		},
		quiet: "29m", fires: "40m", labels: map[string]string{"node": "node-4"}, summary: "no run of the probe of node-4 was right for 30m 0s", query: `canary = true node = "node-4"`,
	},
	"WeirAggregatorGone": {
		series: map[string]string{`weir_collect_sessions{instance="a"}`: "3x10 stale"}, quiet: "13m", fires: "17m", summary: "no aggregator is scraped: flows may be collected or not, nobody knows", query: "| stats conns",
	},
	"WeirNothingCollected": {
		series: map[string]string{`weir_collect_records_total{instance="a"}`: "0+600x10 6000x60"}, quiet: "25m", fires: "32m", summary: "no flow record came in for ten minutes", query: "| stats conns, max(end) by observer",
	},
	"WeirRecordsLostOnTheWire": {
		series: map[string]string{`weir_collect_sequence_lost_total{instance="a"}`: "0x10 100x50"}, quiet: "10m", fires: "15m",
		labels: map[string]string{"instance": "a"}, summary: "100 records were lost between agents and a", query: "| stats conns by observer",
	},
	"WeirMalformedMessages": {
		series: map[string]string{`weir_collect_malformed_total{instance="a"}`: "0x10 9x50"}, quiet: "10m", fires: "15m",
		labels: map[string]string{"instance": "a"}, summary: "9 messages that a got are no IPFIX", query: "| stats conns by observer",
	},
	"WeirRecordsLost": {
		series: map[string]string{`weir_ledger_lost_records_total{stage="sink/siem",reason="spool_full"}`: "0x10 900x50", `weir_ledger_lost_records_total{stage="collect",reason="malformed"}`: "7x60"}, quiet: "10m", fires: "15m",
		labels: map[string]string{"stage": "sink/siem", "reason": "spool_full"}, summary: "sink/siem lost 900 records: spool_full", query: "| stats conns, active",
	},
	"WeirSinkFails": {
		series: map[string]string{`weir_sink_failing{sink="siem",instance="a"}`: "0x5 1x60", `weir_sink_failing{sink="files",instance="a"}`: "0x60"}, quiet: "9m", fires: "12m",
		labels: map[string]string{"sink": "siem", "instance": "a"}, summary: "sink siem of a takes nothing", query: "| stats conns",
	},
	"WeirSinkFallsBehind": {
		series: map[string]string{`weir_sink_held_records{sink="siem",instance="a"}`: "0+20000x60", `weir_sink_held_records{sink="history",instance="a"}`: "0+20000x60", `weir_sink_held_records{sink="files",instance="a"}`: "500000-1000x60"}, quiet: "19m", fires: "22m",
		labels: map[string]string{"sink": "siem", "instance": "a"}, summary: "440k records wait for sink siem, and their number grows", query: "| stats conns every 5m",
	},
	"WeirClickHousePoisoned": {
		series: map[string]string{`weir_clickhouse_poisoned_rows_total{sink="long",instance="a"}`: "0x30 2x60"}, quiet: "30m", fires: "40m",
		labels: map[string]string{"sink": "long"}, summary: "ClickHouse can never take 2 records of sink long", query: "| stats conns by observer",
	},
	"WeirLongHistoryFails": {
		series: map[string]string{`weir_api_long_failures_total{instance="a"}`: "0x5 0+6x60"}, quiet: "9m", fires: "13m",
		labels: map[string]string{"instance": "a"}, summary: "ClickHouse does not answer the queries of a: answers are partial", query: "| stats conns", before: 240 * time.Hour,
	},
	"WeirHistoryNotWritten": {
		series: map[string]string{`weir_history_seal_failures_total{instance="a"}`: "0x10 3x50"}, quiet: "10m", fires: "15m", labels: map[string]string{"instance": "a"}, summary: "a cannot write its history", query: "| stats conns",
	},
	"WeirHistoryDamaged": {
		series: map[string]string{`weir_history_corrupt_segments_total{instance="a"}`: "0x30 1x60"}, quiet: "30m", fires: "40m",
		labels: map[string]string{"instance": "a"}, summary: "damaged segments of the history of a were set aside: 1", query: "| stats conns every 1h", before: 168 * time.Hour,
	},
	"WeirCertificateNotReloaded": {
		series: map[string]string{`weir_certificate_reload_failures_total{instance="a"}`: "0x10 1x50"}, quiet: "10m", fires: "15m",
		labels: map[string]string{"instance": "a"}, summary: "a cannot use its new certificate; the old one will expire", query: "| stats conns by observer",
	},
	"WeirTokenFileBad": {
		series: map[string]string{`weir_api_token_file_bad{instance="a"}`: "0x5 1x60"}, quiet: "5m", fires: "8m",
		labels: map[string]string{"instance": "a"}, summary: "the token file of a has an error; the old tokens stay in force", query: "| stats conns",
	},
	"WeirConnectionsFail": {
		series: map[string]string{
			`weir_flow_connections_total{src_ns="shop",dst_ns="bank",outcome="ok"}`: "0+60x60", `weir_flow_connections_total{src_ns="shop",dst_ns="bank",outcome="refused"}`: "0+60x60",
			`weir_flow_connections_total{src_ns="shop",dst_ns="data",outcome="ok"}`: "0+600x60", `weir_flow_connections_total{src_ns="shop",dst_ns="data",outcome="reset"}`: "0+12x60",
		},
		quiet: "10m", fires: "15m", labels: map[string]string{"src_ns": "shop", "dst_ns": "bank"}, summary: "more than a tenth of the connections from shop to bank fail",
		query: `src.ns = "shop" dst.ns = "bank" outcome not in (ok, unknown, denied) | stats active by src.workload, dst.workload, dst.port, outcome`,
	},
	"WeirDenialsRise": {
		series: map[string]string{`weir_flow_connections_total{src_ns="guest",dst_ns="bank",outcome="denied"}`: "0+1x1445 1505+60x60"}, quiet: "24h10m", fires: "24h30m",
		labels: map[string]string{"src_ns": "guest", "dst_ns": "bank"}, summary: "policies deny 1 connections a second from guest to bank, ten times what they did a day ago",
		query: `src.ns = "guest" dst.ns = "bank" verdict = denied | stats active by src.workload, dst.workload, dst.port`,
	},
}

// TestAlertsFire has promtool run every rule over series in which it fires, and says what
// the alert must tell: the labels, the sentence, the runbook, and the link with query and
// range.
func TestAlertsFire(t *testing.T) {
	rules := alertRules(t)
	abs, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var tests []any
	for name, r := range rules {
		f, ok := firings[name]
		if !ok {
			t.Errorf("%s: no case in which it fires", name)
			continue
		}
		tests = append(tests, caseOf(t, &r, &f))
	}
	b, err := yaml.Marshal(map[string]any{"rule_files": []string{abs}, "evaluation_interval": "1m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tests.yaml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool := testenv.NeedTool(t, "promtool")
	if out, err := exec.Command(promtool, "check", "rules", rulesFile).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
	if out, err := exec.Command(promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}

// caseOf is a case as promtool reads it. Its clock begins in 1970.
func caseOf(t *testing.T, r *alertRule, f *firing) map[string]any {
	t.Helper()
	if _, err := query.Parse(f.query); err != nil {
		t.Errorf("%s: the query of the link: %v", r.Alert, err)
	}
	at, err := time.ParseDuration(f.fires)
	if err != nil {
		t.Fatal(err)
	}
	before := f.before
	if before == 0 {
		before = time.Hour
	}
	clock := func(d time.Duration) string { return time.Unix(0, 0).UTC().Add(d).Format("2006-01-02T15:04:05Z") }
	link := "https://weir.example:8443/?q=" + strings.ReplaceAll(url.QueryEscape(f.query), "+", "%20") + "&since=" + clock(at-before) + "&until=" + clock(at)
	labels := map[string]string{"severity": r.Labels["severity"]}
	maps.Copy(labels, f.labels)
	var series []map[string]string
	for s, values := range f.series {
		series = append(series, map[string]string{"series": s, "values": values})
	}
	return map[string]any{
		"interval": "1m", "input_series": series, "external_labels": map[string]string{"weir_url": "https://weir.example:8443"},
		"alert_rule_test": []any{
			map[string]any{"eval_time": f.quiet, "alertname": r.Alert, "exp_alerts": []any{}},
			map[string]any{"eval_time": f.fires, "alertname": r.Alert, "exp_alerts": []any{map[string]any{
				"exp_labels": labels, "exp_annotations": map[string]string{
					"summary": f.summary, "description": r.Annotations["description"], "runbook_url": r.Annotations["runbook_url"], "weir_url": link,
				},
			}}},
		},
	}
}
