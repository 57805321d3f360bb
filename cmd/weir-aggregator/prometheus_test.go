package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/ipfix"
	"github.com/weirnet/weir/sinks/remote"
)

const rulesFile = "../../deploy/alerts/weir.yaml"

// scrape is a real Prometheus that scrapes the binary over TLS, as a ServiceMonitor with a
// CA has it do, with the alert rules as they are and once more without their patience.
type scrape struct {
	*testenv.Prometheus
	client *http.Client // of the metrics server
	url    string       // of it
	sink   *ipfix.Sink  // the feed
	next   uint64
}

func newScrape(t *testing.T) *scrape {
	t.Helper()
	dir, ca := t.TempDir(), testenv.NewCA(t)
	cert, key := ca.Issue(t, dir, "metrics", time.Now().Add(time.Hour))
	collect, metrics := port(t), port(t)
	startBinary(t, fmt.Sprintf(`collect: {tls: "", tcp: %q}
metrics: {listen: %q, certFile: %q, keyFile: %q}
history: {enabled: false}
sinks:
- {name: usual, kind: prom, spool: {batchAge: 50ms}}
- {name: busy, kind: prom, spool: {batchAge: 50ms}, prom: {metrics: [{name: pods, value: records, labels: [src.pod], top: 20}, {name: begun, value: connections, labels: [src.ns, dst.ns], top: 20}, {name: moved, value: bytes, labels: [src.pod], top: 20}]}}
- {name: dead, kind: kafka, kafka: {brokers: ["127.0.0.1:1"], timeout: 1s}}
`, collect, metrics, cert, key))
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	hasty := filepath.Join(dir, "hasty.yaml")
	if err := os.WriteFile(hasty, regexp.MustCompile(`(?m)^(    for): .*`).ReplaceAll(rules, []byte("$1: 1s")), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	s := &scrape{url: "https://" + metrics}
	s.Prometheus = testenv.StartPrometheus(t, fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s, external_labels: {weir_url: "https://weir.example"}}
rule_files: [%q, %q]
scrape_configs:
- {job_name: weir-aggregator, scheme: https, tls_config: {ca_file: %q, server_name: localhost}, static_configs: [{targets: [%q]}]}
`, path, hasty, ca.File, metrics))
	tc, err := (remote.TLS{On: true, CA: ca.File}).Config()
	if err != nil {
		t.Fatal(err)
	}
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: tc}}
	t.Cleanup(s.client.CloseIdleConnections)
	c := ipfix.DefaultConfig()
	c.Name, c.Address, c.Protocol, c.Template = "agent", collect, "tcp", "weir"
	if s.sink, err = ipfix.New(c, nil, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.sink.Close() })
	s.until(t, "the scrape works", func() bool { n, ok := s.Number(t, "up"); return ok && n == 1 })
	return s
}

// until waits longer than eventually: members change once a minute.
func (s *scrape) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not in five minutes: %s\nseries: %v", what, s.Query(t, `{__name__=~"weir_flow_.*"}`))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// tell sends n connections, changed by a function, and waits until the sinks have counted them.
func (s *scrape) tell(t *testing.T, n int, change func(i int, r *flow.Record)) {
	t.Helper()
	recs := make([]flow.Record, n)
	for i := range recs {
		recs[i] = flowtest.Sample(s.next)
		external(&recs[i], s.next, time.Now())
		change(i, &recs[i])
		s.next++
	}
	if err := s.sink.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the sinks have counted", func() bool {
		b := s.books(t)
		return b["sink/busy"].Out.Records == s.next && b["sink/usual"].Out.Records == s.next
	})
}

func (s *scrape) books(t *testing.T) map[string]ledger.Line {
	t.Helper()
	return readBooks(t, s.client, s.url)
}

// TestPrometheus: what a real Prometheus has scraped adds up to the ledger, with members
// that changed, other and retired; the alert rules load, are evaluated without an error, and
// those fire that have to.
func TestPrometheus(t *testing.T) {
	s := newScrape(t)
	same := func(int, *flow.Record) {}
	// Of one pair of namespaces, and refused.
	hot := func(i int, r *flow.Record) {
		r.SetSrcPod(fmt.Sprint("hot-", i%10))
		r.SetSrcNS("hot")
		r.SetDstNS("cold")
		r.SetOutcome(flow.OutcomeRefused)
	}
	s.tell(t, 4000, same) // of 2,000 pods
	s.sums(t)
	s.tell(t, 3000, hot)
	s.sums(t)
	if n, ok := s.Number(t, `count(weir_flow_pods_total{src_pod!~"other|retired"})`); !ok || n != 20 {
		t.Errorf("%v members, want 20", n)
	}
	if n, _ := s.Number(t, `weir_flow_pods_total{src_pod="other"}`); n < 4000 {
		t.Errorf("other is %v, want most of all records", n)
	}
	s.until(t, "the busiest pods become members", func() bool {
		n, _ := s.Number(t, `count(weir_flow_pods_total{src_pod=~"hot-.*"})`)
		return n >= 2 // a tenth of the members
	})
	s.tell(t, 3000, hot)
	s.sums(t)
	for _, m := range s.Query(t, `weir_flow_pods_total{src_pod=~"hot-.*|retired"} == 0 or count(weir_flow_pods_total{src_pod!~"other|retired"}) != 20`) {
		if m.Labels["src_pod"] == "retired" || m.Labels["src_pod"] == "" {
			t.Errorf("after members have changed: %v", m)
		}
	}
	s.rules(t)
}

// sums compares what Prometheus has with the ledger.
func (s *scrape) sums(t *testing.T) {
	t.Helper()
	out := s.books(t)["sink/busy"].Out
	if out.Records != s.next || out.Connections != s.next || out.Bytes == 0 {
		t.Fatalf("books: %+v, %d were sent", out, s.next)
	}
	for metric, want := range map[string]uint64{
		"weir_flow_pods_total": out.Records, "weir_flow_begun_total": out.Connections, "weir_flow_moved_total": out.Bytes,
		"weir_flow_connections_total": out.Connections, "weir_flow_bytes_total": out.Bytes,
	} {
		s.until(t, fmt.Sprintf("sum(%s) is %d", metric, want), func() bool {
			n, _ := s.Number(t, "sum("+metric+")")
			return n == float64(want)
		})
	}
	s.until(t, "the ledger's own metric says the same", func() bool {
		n, _ := s.Number(t, `weir_ledger_records_total{stage="sink/busy", side="out"}`)
		return n == float64(out.Records)
	})
}

// rules looks at every alert rule as Prometheus sees it.
func (s *scrape) rules(t *testing.T) {
	t.Helper()
	type alert struct {
		State               string
		Labels, Annotations map[string]string
	}
	type rule struct {
		Name, Health, LastError, State string
		LastEvaluation                 time.Time
		Alerts                         []alert
	}
	var got struct {
		Groups []struct {
			File  string
			Rules []rule
		}
	}
	firing := map[string][]alert{}
	s.until(t, "WeirSinkFails and WeirConnectionsFail fire", func() bool {
		s.Get(t, "rules", &got)
		clear(firing)
		for _, g := range got.Groups {
			for _, r := range g.Rules {
				for _, a := range r.Alerts {
					if a.State == "firing" {
						firing[r.Name] = append(firing[r.Name], a)
					}
				}
			}
		}
		return len(firing["WeirSinkFails"]) > 0 && len(firing["WeirConnectionsFail"]) > 0
	})
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, g := range got.Groups {
		for _, r := range g.Rules {
			if seen++; r.Health != "ok" || r.LastError != "" || r.LastEvaluation.IsZero() {
				t.Errorf("%s: %s is %s: %s", g.File, r.Name, r.Health, r.LastError)
			}
		}
	}
	if want := 2 * strings.Count(string(text), "- alert: "); seen != want || want < 20 {
		t.Errorf("Prometheus has %d rules, want %d", seen, want)
	}
	a := firing["WeirSinkFails"][0]
	if len(firing["WeirSinkFails"]) != 1 || a.Labels["sink"] != "dead" || !strings.HasPrefix(a.Annotations["weir_url"], "https://weir.example/?q=") {
		t.Errorf("WeirSinkFails: %+v", firing["WeirSinkFails"])
	}
	a = firing["WeirConnectionsFail"][0]
	if len(firing["WeirConnectionsFail"]) != 1 || a.Labels["src_ns"] != "hot" || a.Labels["dst_ns"] != "cold" || !strings.Contains(a.Annotations["weir_url"], "hot") {
		t.Errorf("WeirConnectionsFail: %+v", firing["WeirConnectionsFail"])
	}
	for _, name := range []string{"WeirAggregatorGone", "WeirNothingCollected", "WeirRecordsLost", "WeirMalformedMessages"} {
		if len(firing[name]) > 0 {
			t.Errorf("%s fires without a reason: %+v", name, firing[name])
		}
	}
}
