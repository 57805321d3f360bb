package ddl

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
)

//go:generate go test . -run ^TestGolden$ -update

// Names of the tables. With a cluster each has a local one under the same name and
// LocalSuffix, and is itself Distributed over them.
const (
	Flows       = "weir_flows"
	Schema      = "weir_schema" // which versions were applied
	TheiaView   = "flows"       // the names of Antrea's Theia
	Minutes     = "weir_flows_by_minute"
	LocalSuffix = "_local"
)

// Layout says where the tables stand and how.
type Layout struct {
	Database  string
	Retention time.Duration // rows go this long after they came; 0 keeps them
	Cluster   string        // name of a cluster: tables are replicated and Distributed over it
}

// Local is the name of the table that holds the data: with a cluster a host's own.
func (l *Layout) Local(table string) string {
	if l.Cluster == "" {
		return table
	}
	return table + LocalSuffix
}

// Name gives a table's full name, quoted.
func (l *Layout) Name(table string) string { return Ident(l.Database) + "." + Ident(table) }

func (l *Layout) on() string {
	if l.Cluster == "" {
		return ""
	}
	return " ON CLUSTER " + Ident(l.Cluster)
}

// engine gives the engine of the MergeTree family, replicated in a cluster.
func (l *Layout) engine(kind string) string {
	if l.Cluster == "" {
		return kind
	}
	return "Replicated" + kind + "('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
}

// dedup is how many inserts a table remembers, to know one that comes again.
func (l *Layout) dedup() string {
	if l.Cluster == "" {
		return "non_replicated_deduplication_window = 1000"
	}
	return "replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800"
}

func (l *Layout) ttl(expr string) string {
	if l.Retention <= 0 {
		return ""
	}
	return fmt.Sprintf("\nTTL %s + INTERVAL %d SECOND", expr, int64(l.Retention/time.Second))
}

// distributed is the table over all hosts; a connection stays on one shard, as its
// records come through one aggregator.
func (l *Layout) distributed(table string) []string {
	if l.Cluster == "" {
		return nil
	}
	return []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s%s AS %s\nENGINE = Distributed(%s, %s, %s)",
		l.Name(table), l.on(), l.Name(l.Local(table)), Ident(l.Cluster), Ident(l.Database), Ident(l.Local(table)))}
}

// CreateDatabase makes the database.
func (l *Layout) CreateDatabase() string {
	return "CREATE DATABASE IF NOT EXISTS " + Ident(l.Database) + l.on()
}

// CreateSchema makes the table of applied versions.
func (l *Layout) CreateSchema() []string {
	return append([]string{fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s%s (
    version UInt32 COMMENT 'number of the step',
    up Bool COMMENT 'applied, or taken back',
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    by String COMMENT 'version of Weir'
) ENGINE = %s
ORDER BY at`, l.Name(l.Local(Schema)), l.on(), l.engine("MergeTree"))}, l.distributed(Schema)...)
}

// indexes speed up what people look for and the order of the table does not serve.
const indexes = `    INDEX end_range ` + "`end`" + ` TYPE minmax GRANULARITY 1,
    INDEX since_range since TYPE minmax GRANULARITY 1,
    INDEX conn_bloom conn_id TYPE bloom_filter GRANULARITY 4,
    INDEX src_ip_bloom src_ip TYPE bloom_filter GRANULARITY 4,
    INDEX dst_ip_bloom dst_ip TYPE bloom_filter GRANULARITY 4,
    INDEX src_pod_bloom src_pod TYPE bloom_filter GRANULARITY 4,
    INDEX dst_pod_bloom dst_pod TYPE bloom_filter GRANULARITY 4,
    PROJECTION positions (SELECT spool, max(pos) GROUP BY spool)`

// createFlows makes the table of flows. A partition is a day of arrival, so that an
// insert is one part: all of it is there, or nothing.
func (l *Layout) createFlows() []string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s%s (\n", l.Name(l.Local(Flows)), l.on())
	for _, c := range Columns() {
		b.WriteString("    " + c.Definition() + ",\n")
	}
	fmt.Fprintf(&b, "    %s LowCardinality(String) COMMENT 'spool of the aggregator from which the row came',\n", Ident(Spool))
	fmt.Fprintf(&b, "    %s UInt64 COMMENT 'position in that spool' CODEC(Delta, ZSTD(1)),\n", Ident(Pos))
	fmt.Fprintf(&b, "    %s DateTime('UTC') COMMENT 'when the aggregator first tried to write the row' CODEC(Delta, ZSTD(1)),\n", Ident(Inserted))
	b.WriteString(indexes)
	fmt.Fprintf(&b, "\n) ENGINE = %s\nPARTITION BY toDate(inserted)\nORDER BY (toStartOfHour(`end`), src_ns, dst_ns, dst_workload, `end`)%s\nSETTINGS allow_nullable_key = 1, ttl_only_drop_parts = 1, %s",
		l.engine("MergeTree"), l.ttl("inserted"), l.dedup())
	return append([]string{b.String()}, l.distributed(Flows)...)
}

// Rollup is a table of sums that a materialized view keeps while rows come.
type Rollup struct {
	Table string
	By    []flow.FieldID
	Doc   string
}

// Rollups are the sums by minute. The minute is that of the record's end; the language's
// answers, which spread deltas over their time, come from the flows themselves.
var Rollups = []Rollup{
	{"weir_flows_by_pod", []flow.FieldID{flow.FSrcNS, flow.FSrcPod, flow.FSrcWorkload, flow.FDstNS, flow.FDstPod, flow.FDstWorkload, flow.FSvcPortName, flow.FDstPort, flow.FProto}, "by pod"},
	{"weir_flows_by_node", []flow.FieldID{flow.FSrcNode, flow.FDstNode, flow.FScope, flow.FOutcome}, "by node"},
	{"weir_flows_by_policy", []flow.FieldID{
		flow.FIngressPolicyNS, flow.FIngressPolicy, flow.FIngressRule, flow.FIngressAction,
		flow.FEgressPolicyNS, flow.FEgressPolicy, flow.FEgressRule, flow.FEgressAction, flow.FPolicyEval, flow.FSrcNS, flow.FDstNS,
	}, "by policy and rule"},
	{Minutes, []flow.FieldID{flow.FSrcNS, flow.FDstNS, flow.FScope, flow.FOutcome}, "by namespaces, scope and outcome"},
}

// sums are the columns of a rollup that add up.
var sums = []struct{ name, expr string }{
	{"records", "count()"},
	{"connections", "countIf(ifNull(`first`, false))"},
	{"bytes", "sum(ifNull(bytes_delta, 0))"},
	{"reverse_bytes", "sum(ifNull(reverse_bytes_delta, 0))"},
	{"packets", "sum(ifNull(packets_delta, 0))"},
	{"reverse_packets", "sum(ifNull(reverse_packets_delta, 0))"},
}

// viewOf is the name of the materialized view that fills a rollup.
func viewOf(table string) string { return table + "_mv" }

func (l *Layout) createRollup(r *Rollup) []string {
	types := map[flow.FieldID]string{}
	for _, c := range Columns() {
		types[c.ID] = c.Type
	}
	var b, sel strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s%s (\n    minute DateTime('UTC') CODEC(Delta, ZSTD(1))", l.Name(l.Local(r.Table)), l.on())
	keys := []string{"minute"}
	for _, id := range r.By {
		fmt.Fprintf(&b, ",\n    %s %s", Ident(ColumnName(id)), types[id])
		keys = append(keys, Ident(ColumnName(id)))
	}
	fmt.Fprintf(&sel, "SELECT toStartOfMinute(toDateTime(`end`, 'UTC')) AS minute, %s", strings.Join(keys[1:], ", "))
	for _, s := range sums {
		fmt.Fprintf(&b, ",\n    %s UInt64 CODEC(T64, ZSTD(1))", Ident(s.name))
		fmt.Fprintf(&sel, ",\n    %s AS %s", s.expr, Ident(s.name))
	}
	names := make([]string, 0, len(sums))
	for _, s := range sums {
		names = append(names, Ident(s.name))
	}
	engine := "SummingMergeTree((" + strings.Join(names, ", ") + "))"
	if l.Cluster != "" {
		engine = "ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', (" + strings.Join(names, ", ") + "))"
	}
	fmt.Fprintf(&b, "\n) ENGINE = %s\nPARTITION BY toYYYYMM(minute)\nORDER BY (%s)%s\nSETTINGS allow_nullable_key = 1, %s\nCOMMENT %s",
		engine, strings.Join(keys, ", "), l.ttl("minute"), l.dedup(), Quote("flows "+r.Doc+" and minute"))
	view := fmt.Sprintf("CREATE MATERIALIZED VIEW IF NOT EXISTS %s%s TO %s AS\n%s\nFROM %s\nGROUP BY %s",
		l.Name(viewOf(r.Table)), l.on(), l.Name(l.Local(r.Table)), sel.String(), l.Name(l.Local(Flows)), strings.Join(keys, ", "))
	out := append([]string{b.String()}, l.distributed(r.Table)...)
	return append(out, view)
}

func (l *Layout) drop(kind, table string) string {
	return fmt.Sprintf("DROP %s IF EXISTS %s%s", kind, l.Name(table), l.on())
}

func (l *Layout) dropTable(table string) []string {
	if l.Cluster == "" {
		return []string{l.drop("TABLE", table)}
	}
	return []string{l.drop("TABLE", table), l.drop("TABLE", l.Local(table))}
}
