package clickhouse_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query/querytest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

const shardsName = "weir_shards"

// TestClusterLayout makes the layout of a cluster on two shards, whose Replicated tables are
// known to a real ZooKeeper, and takes it back.
func TestClusterLayout(t *testing.T) {
	shards := testenv.StartClickHouseCluster(t, shardsName, 2)
	l := ddl.Layout{Database: "weir", Cluster: shardsName}
	conn := client(t, shards[0].Addr)
	run := func(list ...string) {
		t.Helper()
		for _, sql := range list {
			if err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%.200s: %v", sql, err)
			}
		}
	}
	run(l.CreateDatabase())
	for range 2 { // several aggregators may begin at once
		run(l.CreateSchema()...)
		for _, s := range l.Steps() {
			run(s.Up...)
		}
	}
	replicated := uint64(2 + len(ddl.Rollups)) // flows, versions, and the sums
	for i, srv := range shards {
		c := client(t, srv.Addr)
		for sql, want := range map[string]uint64{
			fmt.Sprintf("SELECT count() FROM system.replicas WHERE database = 'weir' AND zookeeper_path = '/clickhouse/tables/shard-%d/weir/' || table AND replica_name = 'replica-1'", i+1): replicated,
			"SELECT count() FROM system.tables WHERE database = 'weir' AND engine = 'Distributed'":                                                                                           replicated,
			"SELECT count() FROM system.tables WHERE database = 'weir' AND engine = 'MaterializedView'":                                                                                      uint64(len(ddl.Rollups)),
			"SELECT count() FROM system.columns WHERE database = 'weir' AND table = 'weir_flows'":                                                                                            uint64(flow.NumFields + 3),
			"SELECT count() FROM (SELECT * FROM weir.flows UNION ALL SELECT * FROM weir.flows)":                                                                                              0,
			"SELECT count() FROM (SELECT dst_port, end FROM weir.weir_flows WHERE dst_port = 443 AND isNull(src_ns))":                                                                        0,
			"SELECT count() FROM (SELECT minute, bytes FROM weir.weir_flows_by_minute) WHERE bytes > 0":                                                                                      0,
		} {
			if got := number(t, c, sql); got != want {
				t.Errorf("shard %d: %s = %d, want %d", i+1, sql, got, want)
			}
		}
	}
	steps := l.Steps()
	for i := range steps {
		run(steps[len(steps)-1-i].Down...)
	}
	for i, srv := range shards {
		if n := number(t, client(t, srv.Addr), "SELECT count() FROM system.tables WHERE database = 'weir' AND NOT startsWith(name, 'weir_schema')"); n != 0 {
			t.Errorf("shard %d keeps %d tables", i+1, n)
		}
	}
}

// TestClusterAnswers puts the records of two aggregators on two shards, and reads from both
// through the Distributed tables of one: the query language has the answers that it has over
// one server. The records come by way of the layout of one server, as an engine within a
// process takes none for Replicated tables and does not aggregate for other hosts, which a
// sink asks for.
func TestClusterAnswers(t *testing.T) {
	shards := testenv.StartClickHouseCluster(t, shardsName, 2, "-unreplicated")
	rng := rand.New(rand.NewPCG(21, 22))
	w := querytest.Scatter(rng, querytest.Records(rng, 600))
	halves := [2][]flow.Record{}
	for i := range w.Stored { // both ends of a connection come to one aggregator
		n := w.Stored[i].ConnID >> 1 & 1
		halves[n] = append(halves[n], w.Stored[i])
	}
	l := ddl.Layout{Database: "weir", Cluster: shardsName}
	conn := client(t, shards[0].Addr)
	list := []string{l.CreateDatabase()}
	for _, s := range l.Steps() {
		list = append(list, s.Up...)
	}
	for _, sql := range list {
		if err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%.200s: %v", sql, err)
		}
	}
	for n := range shards {
		c := config(shards[n].Addr)
		c.Database = "one"
		if err := newSink(t, c, "spool").WriteAt(t.Context(), 0, halves[n]); err != nil {
			t.Fatal(err)
		}
		if err := client(t, shards[n].Addr).Exec(t.Context(), "INSERT INTO weir.weir_flows_local SELECT * FROM one.weir_flows"); err != nil {
			t.Fatal(err)
		}
	}
	for n, srv := range shards {
		c := client(t, srv.Addr)
		for sql, want := range map[string]int{
			"SELECT count() FROM weir.weir_flows_local":                                     len(halves[n]),
			"SELECT sum(records) FROM weir.weir_flows_by_minute_local":                      len(halves[n]),
			"SELECT count() FROM (SELECT end, src_ns FROM weir.weir_flows)":                 len(w.Stored),
			"SELECT count() FROM (SELECT sourceIP FROM weir.flows)":                         len(w.Stored),
			"SELECT sum(records) FROM (SELECT minute, records FROM weir.weir_flows_by_pod)": len(w.Stored),
		} {
			if got := number(t, c, sql); got != uint64(want) {
				t.Errorf("shard %d: %s = %d, want %d", n+1, sql, got, want)
			}
		}
	}
	cfg := config(shards[0].Addr)
	cfg.Cluster = shardsName
	agree(t, rng, newReader(t, cfg), placesOf(&w), 25)
}
