package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// item is one bar. Against an anchor, min is how many times better ours must be
// (times, for a rate: ours over theirs; for a cost: theirs over ours). Without
// one, limit is what ours may cost at most (for a rate: must reach).
type item struct {
	name   string
	dir    string // of a module of its own; empty for Weir's
	pkg    string
	bench  string // regular expression for -bench
	ours   string // benchmark, without "Benchmark"
	anchor string // benchmark of the anchor, empty for an absolute bar
	unit   string
	min    float64
	limit  float64
	allocs bool // steady state must not allocate
	// growth has no bar: all benchmarks below ours are shown, to see how the cost
	// grows. It runs only when it is asked for.
	growth bool
	count  int    // runs where the general number would choose among long ones
	each   bool   // no bar either: all benchmarks below ours are shown by name
	times  string // -benchtime where the general one would set a large table up again and again
}

func names() []string {
	list := make([]string, 0, len(items()))
	for _, it := range items() {
		list = append(list, it.name)
	}
	return list
}

// series makes the lines of a growth item, in the order of its sizes.
func (it *item) series(all map[string]result) (lines []string, ok bool) {
	size := func(name string) int {
		n, err := strconv.Atoi(name[strings.LastIndexByte(name, '=')+1:])
		if err != nil {
			return -1
		}
		return n
	}
	var found []string
	for name, r := range all {
		if _, has := r[it.unit]; has && strings.HasPrefix(name, it.ours+"/") && (it.each || size(name) >= 0) {
			found = append(found, name)
		}
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Or(size(a)-size(b), strings.Compare(a, b)) })
	for _, name := range found {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s", it.name, show(all[name][it.unit], it.unit), strings.TrimPrefix(name, it.ours+"/")))
	}
	if len(lines) == 0 {
		return []string{fmt.Sprintf("%s\tno %s from Benchmark%s in %s\t\t\t\tmissed", it.name, it.unit, it.ours, it.pkg)}, false
	}
	return lines, true
}

// judge makes the line of an item.
func (it *item) judge(all map[string]result) (line string, ok bool) {
	ours, have := all[it.ours][it.unit]
	if !have {
		return fmt.Sprintf("%s\tno %s from Benchmark%s in %s\t\t\t\tmissed", it.name, it.unit, it.ours, it.pkg), false
	}
	allocs := ""
	clean := true
	if it.allocs {
		n := all[it.ours]["allocs/op"]
		clean = n == 0
		allocs = fmt.Sprintf(", %.0f allocs", n)
	}
	if it.anchor == "" {
		ok = clean && (rate(it.unit) == (ours >= it.limit) || ours == it.limit)
		return fmt.Sprintf("%s\t%s%s\t-\t-\t%s\t%s", it.name, show(ours, it.unit), allocs, bar(it), word(ok)), ok
	}
	theirs, have := all[it.anchor][it.unit]
	if !have {
		return fmt.Sprintf("%s\t%s\tno %s from Benchmark%s\t\t\tmissed", it.name, show(ours, it.unit), it.unit, it.anchor), false
	}
	ratio := theirs / ours
	if rate(it.unit) {
		ratio = ours / theirs
	}
	ok = clean && ratio >= it.min
	return fmt.Sprintf("%s\t%s%s\t%s\t%.2fx\t%s\t%s", it.name, show(ours, it.unit), allocs, show(theirs, it.unit), ratio, bar(it), word(ok)), ok
}

func bar(it *item) string {
	s := fmt.Sprintf("%.2fx", it.min)
	if it.anchor == "" && rate(it.unit) {
		s = "at least " + show(it.limit, it.unit)
	} else if it.anchor == "" {
		s = "at most " + show(it.limit, it.unit)
	}
	if it.allocs {
		s += ", 0 allocs"
	}
	return s
}

func word(ok bool) string {
	if ok {
		return "met"
	}
	return "missed"
}

// show prints a value with its unit, short.
func show(v float64, unit string) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM %s", v/1e6, unit)
	case v >= 1e4:
		return fmt.Sprintf("%.1fk %s", v/1e3, unit)
	case v >= 100:
		return fmt.Sprintf("%.0f %s", v, unit)
	default:
		return fmt.Sprintf("%.2f %s", v, unit)
	}
}

// items are the bars, in the order in which a flow meets the code.
func items() []item {
	const ct, ipfix, correlate = "./exporter/conntrack", "./api/ipfix", "./aggregator/correlate"
	const clickhouse = "./sinks/clickhouse" // 3,333 ns a row: 300,000 rows/s a core
	const engine, duckdb = "./aggregator/store/engine", "test/duckdb"
	const sink, perRecord, tenth = "^BenchmarkSink$", "cpu-ns/record", 5000
	const million = "^BenchmarkCorrelate$/^weir$/^conns=1000000$"
	return []item{
		{name: "conntrack-dump", pkg: ct, bench: "^BenchmarkDump$", ours: "Dump/weir", anchor: "Dump/ti-mo", unit: "cpu-us/entry", min: 1 / 0.45},
		{name: "conntrack-zone-filter", pkg: ct, bench: "^BenchmarkDumpZoneFilter$", ours: "DumpZoneFilter", unit: "cpu-us/entry", limit: 0.5},
		{name: "sockets-walk", pkg: "./exporter/sockets", bench: "^BenchmarkWalk$", ours: "Walk", unit: "cpu-us/socket", limit: 1.5},
		{name: "sockets-namespace", pkg: "./exporter/sockets", bench: "^BenchmarkWalkSpaces$", ours: "WalkSpaces", unit: "cpu-us/namespace", limit: 1000},
		{name: "track-update", pkg: "./exporter/track", bench: "^BenchmarkTrackUpdate$", ours: "TrackUpdate", unit: "cpu-us/entry", limit: 0.2, allocs: true},
		{name: "clickhouse-encode", pkg: clickhouse, bench: "^Benchmark(Encode|RowAppend)$", ours: "Encode", anchor: "RowAppend", unit: "cpu-ns/row", min: 2},
		{name: "clickhouse-row", pkg: clickhouse, bench: "^Benchmark(Encode|RowAppend)$", ours: "Encode", unit: "cpu-ns/row", limit: 3333},
		{name: "elastic-document", pkg: "./sinks/elastic", bench: "^Benchmark(Sink|BulkIndexer)$", ours: "Sink", anchor: "BulkIndexer", unit: "cpu-ns/doc", min: 2},
		// What every sink but Elasticsearch, whose bar is its anchor, may cost: a tenth of a core at 20,000 records a second.
		{name: "kafka-record", pkg: "./sinks/kafka", bench: sink, ours: "Sink/protobuf", unit: perRecord, limit: tenth},
		{name: "kafka-held", pkg: "./sinks/kafka", bench: "^BenchmarkHeld$", ours: "Held/protobuf", unit: "B/record", limit: 1000, times: "1x"},
		{name: "s3-record", pkg: "./sinks/s3", bench: sink, ours: "Sink/parquet", unit: perRecord, limit: tenth, times: "60x"},
		{name: "s3-record-csv", pkg: "./sinks/s3", bench: sink, ours: "Sink/antrea-csv", unit: perRecord, limit: tenth, times: "60x"},
		{name: "s3-held", pkg: "./sinks/s3", bench: "^BenchmarkHeld$", ours: "Held/parquet", unit: "B/record", limit: 500, times: "1x"},
		{name: "jsonl-record", pkg: "./sinks/jsonl", bench: sink, ours: "Sink/jsonl", unit: perRecord, limit: tenth},
		{name: "ipfix-record", pkg: "./sinks/ipfix", bench: sink, ours: "Sink/weir", unit: perRecord, limit: tenth},
		{name: "prom-record", pkg: "./sinks/prom", bench: sink, ours: "Sink", unit: perRecord, limit: tenth},
		{name: "ipfix-encode", pkg: ipfix, bench: "^BenchmarkEncode$", ours: "Encode/weir", anchor: "Encode/go-ipfix", unit: "ns/op", min: 2, allocs: true},
		{name: "ipfix-decode-go-ipfix", pkg: ipfix, bench: "^BenchmarkDecode$", ours: "Decode/weir", anchor: "Decode/go-ipfix", unit: "ns/op", min: 7, allocs: true},
		{name: "ipfix-decode-goflow2", pkg: ipfix, bench: "^BenchmarkDecode$", ours: "Decode/weir", anchor: "Decode/goflow2", unit: "ns/op", min: 4, allocs: true},
		{name: "correlate-memory", pkg: correlate, bench: million, ours: "Correlate/weir/conns=1000000", unit: "B/conn", limit: 400},
		{name: "correlate-record", pkg: correlate, bench: million, ours: "Correlate/weir/conns=1000000", unit: "ns/record", limit: 1000},
		{name: "collect-correlate", pkg: "./aggregator", bench: "^BenchmarkCollectCorrelate$", ours: "CollectCorrelate/weir", unit: "cpu-ns/record", limit: 1000},
		{name: "collect-goflow2", pkg: "./aggregator", bench: "^BenchmarkCollectCorrelate$", ours: "CollectCorrelate/weir", anchor: "CollectCorrelate/goflow2", unit: "cpu-ns/record", min: 1},
		{name: "collect-nfacctd", pkg: "./aggregator", bench: "^BenchmarkCollectCorrelate$", ours: "CollectCorrelate/weir", anchor: "CollectCorrelate/nfacctd", unit: "cpu-ns/record", min: 1},
		{name: "collect-nfacctd-steady", pkg: "./aggregator", bench: "^BenchmarkCollectCorrelate$", ours: "CollectCorrelate/weir-steady", anchor: "CollectCorrelate/nfacctd-steady", unit: "cpu-ns/record", min: 1},
		{name: "history-ingest", pkg: engine, bench: "^BenchmarkIngest$", ours: "Ingest", unit: "cpu-us/row", limit: 6.66, times: "1x"},
		{name: "history-disk", pkg: engine, bench: "^BenchmarkIngest$", ours: "Ingest", unit: "B/row", limit: 50, times: "1x"},
		{name: "history-ingest-rate", pkg: engine, bench: "^BenchmarkIngest$", ours: "Ingest", unit: "rows/s", limit: 300_000, times: "1x"},
		{name: "history-duckdb-ingest", dir: duckdb, pkg: ".", bench: "^Benchmark(Ingest|Query)$", ours: "Ingest/weir", anchor: "Ingest/duckdb", unit: "cpu-us/row", min: 3, times: "1x"},
		{name: "history-duckdb-query", dir: duckdb, pkg: ".", bench: "^Benchmark(Ingest|Query)$", ours: "Query", unit: "x-slowest", limit: 2, times: "1x"},
		{name: "history-query-5m-cpu", pkg: engine, bench: "^BenchmarkQuery(5m|6h)$", ours: "Query5m", unit: "p90-cpu-ms", limit: 150, times: "5x"},
		{name: "history-query-6h-cpu", pkg: engine, bench: "^BenchmarkQuery(5m|6h)$", ours: "Query6h", unit: "p90-cpu-ms", limit: 500, times: "5x"},
		{name: "history-query-5m", pkg: engine, bench: "^BenchmarkQuery(5m|6h)$", ours: "Query5m", unit: "p90-ms", limit: 150, times: "5x"},
		{name: "history-query-6h", pkg: engine, bench: "^BenchmarkQuery(5m|6h)$", ours: "Query6h", unit: "p90-ms", limit: 500, times: "5x"},
		{name: "fresh", pkg: "./test/e2e", bench: "^BenchmarkFresh$", ours: "Fresh", unit: "p99-s", limit: 7, times: "1x", count: 1},
		{name: "fresh-denied", pkg: "./test/e2e", bench: "^BenchmarkFresh$", ours: "Fresh", unit: "denied-p99-s", limit: 2.5, times: "1x", count: 1},
		{name: "history-memory", pkg: engine, bench: "^BenchmarkWorst$", ours: "Worst", unit: "x-flag", limit: 2.5, times: "1x", count: 1},
		{name: "all-sinks", pkg: "./cmd/weir-aggregator", bench: "^BenchmarkAllSinks$", ours: "AllSinks", unit: "cpu-us/record", each: true, times: "1x", count: 1},
		{name: "growth-table", pkg: ct, bench: "^BenchmarkDumpGrowth$", ours: "DumpGrowth", unit: "cpu-us/entry", growth: true},
		{name: "growth-sessions", pkg: "./aggregator/collect", bench: "^BenchmarkSessions$", ours: "Sessions", unit: "cpu-ns/record", growth: true},
		{name: "growth-sessions-memory", pkg: "./aggregator/collect", bench: "^BenchmarkSessions$", ours: "Sessions", unit: "B/session", growth: true},
		{name: "growth-connections", pkg: correlate, bench: "^BenchmarkCorrelate$/^weir$", ours: "Correlate/weir", unit: "ns/record", growth: true, times: "1000000x"},
		{name: "growth-history-rows", pkg: engine, bench: "^BenchmarkGrowth$", ours: "Growth/rows", unit: "cpu-ms/query", growth: true, times: "10x", count: 1},
		{name: "growth-history-range", pkg: engine, bench: "^BenchmarkGrowth$", ours: "Growth/range", unit: "cpu-ms/query", growth: true, times: "10x", count: 1},
		{name: "growth-history-rolled", pkg: engine, bench: "^BenchmarkGrowth$", ours: "Growth/rolled", unit: "cpu-ms/query", growth: true, times: "10x", count: 1},
		{name: "growth-history-columns", pkg: engine, bench: "^BenchmarkGrowth$", ours: "Growth/columns", unit: "cpu-ms/query", growth: true, times: "10x", count: 1},
		{name: "growth-history-viewers", pkg: engine, bench: "^BenchmarkGrowth$", ours: "Growth/viewers", unit: "cpu-ms/query", growth: true, times: "10x", count: 1},
		{name: "growth-streams", pkg: "./aggregator/api", bench: "^BenchmarkStreams$", ours: "Streams", unit: "cpu-ns/record/stream", growth: true, times: "3x", count: 1},
		{name: "growth-connections-memory", pkg: correlate, bench: "^BenchmarkCorrelate$/^weir$", ours: "Correlate/weir", unit: "B/conn", growth: true, times: "1000000x"},
	}
}
