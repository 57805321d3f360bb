package main

import (
	"context"
	"time"

	"github.com/weirnet/weir/aggregator"
	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/collect"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
	"github.com/weirnet/weir/sinks/prom"
)

// collector is the Collector as a task that drains.
type collector struct {
	*collect.Collector
	drain time.Duration
}

func (c collector) Run(ctx context.Context) error { return c.Collector.Run(ctx, c.drain) }

func makeCollector(cfg *config.Aggregator, deps collect.Deps) (collector, error) {
	c := collect.DefaultConfig()
	c.TCP, c.TLS, c.UDP, c.MaxSessions = cfg.Collect.TCP, cfg.Collect.TLS, cfg.Collect.UDP, cfg.Collect.MaxSessions
	col, err := collect.New(c, deps)
	if err != nil {
		return collector{}, err
	}
	return collector{col, cfg.StopTimeout / 3}, col.Listen()
}

// agentBooks are the books that the agents told last.
func agentBooks(c collector) []api.AgentBooks {
	var out []api.AgentBooks
	for _, b := range c.Books(time.Now()) {
		out = append(out, api.AgentBooks{Agent: b.Observer, Instance: b.Instance, Time: b.At, Stages: b.Lines})
	}
	return out
}

// nodeCoverage is what the nodes said of themselves last.
func nodeCoverage(c collector) api.Coverage {
	now := time.Now()
	nodes := map[string]bool{}
	for _, b := range c.Books(now) {
		nodes[b.Observer] = true
	}
	var tables []api.NodeCoverage
	for _, f := range c.Facts(now) {
		nodes[f.Observer] = true
		if t := coverage.FromFacts(f.Observer, f.Rows); len(t.Rows) > 0 {
			tables = append(tables, api.NodeCoverage{Table: t, At: f.Heard, ClockMs: offMs(f.ClockOff)})
		}
	}
	return api.NewCoverage(now, tables, len(nodes))
}

// offMs is how far a clock is off in ms, 0 within what clocks may differ.
func offMs(d time.Duration) int64 {
	if ms := d.Milliseconds(); ms > canary.ClockTolerance || ms < -canary.ClockTolerance {
		return ms
	}
	return 0
}

// coverageMetrics counts classes of traffic by how they are seen.
func coverageMetrics(c collector) []obs.Metric {
	return []obs.Metric{{
		Name: "weir_coverage_nodes", Kind: obs.Gauge, Labels: []string{"traffic", "family", "seen"},
		Help: "Nodes that say so of each class of traffic and family; seen is silent for nodes that did not tell for a minute.",
		Read: func(emit func(float64, ...string)) {
			type key struct{ class, family, seen string }
			n := map[key]float64{}
			for _, t := range nodeCoverage(c).Tables {
				for _, r := range t.Rows {
					seen := r.Seen.String()
					if t.Silent {
						seen = "silent"
					}
					n[key{r.Class, r.Family, seen}]++
				}
			}
			for k, v := range n {
				emit(v, k.class, k.family, k.seen)
			}
		},
	}}
}

// register names every number of the process.
func register(p *parts, agg *aggregator.Aggregator, col collector, web *api.Server, tls *certificates) error {
	counter := func(name, help string, f func() uint64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Counter, Read: obs.Value(func() float64 { return float64(f()) })}
	}
	gauge := func(name, help string, f func() float64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Gauge, Read: obs.Value(f)}
	}
	s, w := &col.Stats, &web.Stats
	list := []obs.Metric{
		counter("weir_collect_sessions_total", "Stream sessions that were accepted.", s.Sessions.Load),
		counter("weir_collect_sessions_refused_total", "Stream sessions that were refused: too many, or during a stop.", s.Refused.Load),
		counter("weir_collect_tls_failures_total", "TLS handshakes that failed.", s.TLSFailures.Load),
		counter("weir_collect_messages_total", "IPFIX messages that were read.", s.Messages.Load),
		counter("weir_collect_records_total", "Flow records that were decoded.", s.Records.Load),
		counter("weir_collect_ledger_rows_total", "Rows of exporters' books that were read.", s.LedgerRows.Load),
		counter("weir_collect_facts_total", "Facts that nodes told of themselves.", s.Facts.Load),
		counter("weir_collect_facts_refused_total", "Facts left out: too many of one node, too many nodes, or of a process that was replaced.", s.FactsRefused.Load),
		counter("weir_collect_templates_total", "Templates that were read.", s.Templates.Load),
		counter("weir_collect_malformed_total", "Messages that break RFC 7011 and ended their session or were dropped.", s.Malformed.Load),
		counter("weir_collect_sequence_lost_total", "Records that sequence numbers show to be missing.", s.SequenceLost.Load),
		counter("weir_collect_unknown_sets_total", "Data sets whose template never came.", s.UnknownSets.Load),
		gauge("weir_collect_sessions", "Stream sessions now.", func() float64 { return float64(col.Sessions()) }),
		counter("weir_api_requests_total", "Requests to the API.", w.Requests.Load),
		counter("weir_api_denied_total", "Requests without the right to be answered.", w.Denied.Load),
		counter("weir_api_streams_refused_total", "Streams refused because too many were open.", w.StreamsRefused.Load),
		counter("weir_api_paced_total", "Requests refused because their caller asks too often.", w.Paced.Load),
		gauge("weir_api_token_file_bad", "1 while the token file has an error and the tokens that were read before it stay in force.", func() float64 {
			if w := web.Tokens; w != nil && w.Bad() != "" {
				return 1
			}
			return 0
		}),
		counter("weir_api_queries_total", "Queries that were begun.", w.Queries.Load),
		counter("weir_api_queries_refused_total", "Queries refused because too many were running.", w.QueriesRefused.Load),
		counter("weir_api_queries_failed_total", "Queries that ended without an answer: too long, too large.", w.QueriesFailed.Load),
		counter("weir_api_exports_total", "Lists of more than 10,000 rows that were begun to be sent.", w.Exports.Load),
		counter("weir_api_exported_rows_total", "Rows of such lists that were sent.", w.ExportedRows.Load),
		counter("weir_api_peers_missing_total", "Parts of answers that a peer did not give.", w.PeersMissing.Load),
		counter("weir_api_long_queries_total", "Queries that were answered from ClickHouse, as their range begins before the built-in history.", w.LongQueries.Load),
		counter("weir_api_long_failures_total", "Queries that ClickHouse should have answered and did not.", w.LongFailures.Load),
		gauge("weir_api_live_connections", "Connections that queries find before the correlator tells them.", func() float64 { n, _ := web.Live.Len(); return float64(n) }),
		counter("weir_api_live_lost_total", "Sights of connections for which liveConnections had no room; they are found when they are told.", func() uint64 { _, n := web.Live.Len(); return n }),
		counter("weir_api_records_sent_total", "Records sent to streams.", w.Sent.Load),
		counter("weir_api_records_skipped_total", "Records that streams were too slow to take.", w.Skipped.Load),
		gauge("weir_api_streams", "Streams now.", func() float64 { return float64(web.Streams()) }),
	}
	p.reg.Describe(obs.MetricDoc{Name: "weir_sink_lost_records_total", Type: "counter", Labels: []string{"sink", "reason"}, Help: "Records that will not be delivered, and why."})
	p.reg.Describe(obs.MetricDoc{Name: prom.CanariesMetric, Type: "counter", Labels: []string{"sink"}, Help: prom.CanariesHelp})
	for _, m := range prom.DefaultMetrics() {
		p.reg.Describe(obs.MetricDoc{Name: prom.MetricName(m.Name), Type: "counter", Labels: append([]string{"sink"}, labelsOf(m.Labels)...), Help: "Flows of a sink of kind prom; further ones by its config."})
	}
	list = append(list, tls.Metrics()...)
	list = append(list, coverageMetrics(col)...)
	list = append(list, p.birds.metrics()...)
	list = append(list, agg.Metrics()...)
	return p.reg.Add(append(list, obs.LedgerMetrics(p.book)...)...)
}

func loopConfig(cfg *config.Aggregator) aggregator.Config {
	c := aggregator.DefaultConfig()
	c.Shards = cfg.Correlate.Shards
	c.Correlate.ActiveMs = cfg.Correlate.ActiveTimeout.Milliseconds()
	c.Correlate.InactiveMs = cfg.Correlate.InactiveTimeout.Milliseconds()
	c.Correlate.HalfMs = cfg.Correlate.HalfTimeout.Milliseconds()
	c.Correlate.MaxConnections = cfg.Correlate.MaxConnections
	return c
}

func labelsOf(fields []string) (out []string) {
	for _, f := range fields {
		out = append(out, prom.Label(f))
	}
	return out
}
