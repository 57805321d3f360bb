package clickhouse_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	peer "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

func config(addr string) clickhouse.Config {
	c := clickhouse.DefaultConfig()
	c.Hosts, c.Retention, c.Version = []string{addr}, 0, "test"
	return c
}

func newSink(t *testing.T, c clickhouse.Config, spool string) *clickhouse.Sink {
	t.Helper()
	s, err := clickhouse.New(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, _, err := s.Resume(t.Context(), spool); err != nil {
		t.Fatal(err)
	}
	return s
}

// client is an independent client.
func client(t *testing.T, addr string) driver.Conn {
	t.Helper()
	conn, err := peer.Open(&peer.Options{Addr: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func number(t *testing.T, conn driver.Conn, sql string) uint64 {
	t.Helper()
	var n uint64
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func samples(from, n int) []flow.Record {
	recs := make([]flow.Record, n)
	for i := range recs {
		recs[i] = flowtest.Sample(uint64(from + i))
	}
	return recs
}

func TestEveryValueArrives(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	rng := rand.New(rand.NewPCG(1, 2))
	recs := make([]flow.Record, 3000)
	for i := range recs {
		recs[i] = flowtest.Random(rng)
		recs[i].SetEnd(1_700_000_000_000 + int64(i)*1000)
		recs[i].SetPathMTU(uint32(i)) // tells the rows apart
	}
	s := newSink(t, config(srv.Addr), "a")
	if err := s.WriteAt(t.Context(), 0, recs); err != nil {
		t.Fatal(err)
	}
	conn := client(t, srv.Addr)
	for _, c := range ddl.Columns() {
		expr := textOf(&c)
		rows, err := conn.Query(t.Context(), fmt.Sprintf("SELECT %s FROM weir.weir_flows ORDER BY path_mtu", expr))
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		i, wrong := 0, 0
		for ; rows.Next(); i++ {
			var got *string
			if err := rows.Scan(&got); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			r := &recs[i]
			if present := got != nil; present != r.Has.Has(c.ID) || present && *got != r.Text(c.ID) {
				if wrong++; wrong < 3 {
					shown := "NULL"
					if got != nil {
						shown = *got
					}
					t.Errorf("%s of row %d is %q, want %q (there: %v)", c.Name, i, shown, r.Text(c.ID), r.Has.Has(c.ID))
				}
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if i != len(recs) {
			t.Errorf("%s: %d rows, want %d", c.Name, i, len(recs))
		}
	}
}

// textOf is SQL that writes a column as flow.Record.Text does.
func textOf(c *ddl.Column) string {
	name := ddl.Ident(c.Name)
	row := &flow.Fields[c.ID]
	switch {
	case row.Type == flow.TypeMillis:
		return "CAST(formatDateTime(" + name + ", '%Y-%m-%dT%H:%i:%S') || '.' || leftPad(toString(toUnixTimestamp64Milli(" + name + ") % 1000), 3, '0') || 'Z' AS Nullable(String))"
	case row.Type == flow.TypeAddr:
		return "CAST(" + ddl.AddressText(name) + " AS Nullable(String))"
	case row.Type == flow.TypeU64 && row.Unit == "":
		return "CAST(lower(leftPad(hex(" + name + "), 16, '0')) AS Nullable(String))"
	case row.Unit == "bit set":
		parts := make([]string, 0, 8)
		for i, w := range flow.EnumWords[c.ID] {
			parts = append(parts, fmt.Sprintf("if(bitTest(assumeNotNull(%s), %d), '%s', '')", name, i, w))
		}
		return "if(isNull(" + name + "), NULL, arrayStringConcat(arrayFilter(x -> x != '', [" + strings.Join(parts, ", ") + "]), '|'))"
	}
	return "CAST(" + name + " AS Nullable(String))"
}

func TestAgainIsOnce(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	s := newSink(t, config(srv.Addr), "a")
	recs := samples(0, 2000)
	for range 3 { // as if the answer had been lost
		if err := s.WriteAt(t.Context(), 0, recs); err != nil {
			t.Fatal(err)
		}
	}
	// A process that was killed does not know how far it was, and its batches begin elsewhere.
	s = newSink(t, config(srv.Addr), "a")
	if err := s.WriteAt(t.Context(), 500, samples(500, 2500)); err != nil {
		t.Fatal(err)
	}
	other := newSink(t, config(srv.Addr), "b") // another aggregator has positions of its own
	if err := other.WriteAt(t.Context(), 0, samples(3000, 1000)); err != nil {
		t.Fatal(err)
	}
	conn := client(t, srv.Addr)
	for sql, want := range map[string]uint64{
		"SELECT count() FROM weir.weir_flows":                              4000,
		"SELECT uniqExact(id) FROM weir.weir_flows":                        4000,
		"SELECT count() FROM weir.flows":                                   4000,
		"SELECT sum(records) FROM weir.weir_flows_by_pod":                  4000,
		"SELECT sum(records) FROM weir.weir_flows_by_node":                 4000,
		"SELECT sum(records) FROM weir.weir_flows_by_policy":               4000,
		"SELECT sum(connections) FROM weir.weir_flows_by_minute":           4000,
		"SELECT toUInt64(max(pos)) FROM weir.weir_flows WHERE spool = 'a'": 2999,
	} {
		if got := number(t, conn, sql); got != want {
			t.Errorf("%s = %d, want %d", sql, got, want)
		}
	}
	bytes := uint64(0)
	for _, r := range samples(0, 4000) {
		bytes += r.BytesDelta
	}
	for _, table := range []string{"weir_flows_by_pod", "weir_flows_by_node", "weir_flows_by_policy", "weir_flows_by_minute"} {
		if got := number(t, conn, "SELECT sum(bytes) FROM weir."+table); got != bytes {
			t.Errorf("%s has %d bytes, want %d", table, got, bytes)
		}
	}
}

// TestTheia reads rows as Theia's dashboards do.
func TestTheia(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	r := samples(0, 1)[0]
	bare := flow.Record{} // what is absent is 0 or empty
	bare.SetEnd(r.End + 60_000)
	r.SetEgressNode("node-9")
	r.SetIngressAction(flow.RuleActionReject)
	if err := newSink(t, config(srv.Addr), "a").WriteAt(t.Context(), 0, []flow.Record{r, bare}); err != nil {
		t.Fatal(err)
	}
	rows, err := client(t, srv.Addr).Query(t.Context(), `SELECT toString(flowStartSeconds), toString(flowEndSeconds), sourceIP, destinationClusterIP, toString(octetDeltaCount),
		sourcePodNamespace, toString(ingressNetworkPolicyRuleAction), toString(flowType), tcpState, clusterUUID, egressNodeName, toString(proxySnatPort) FROM weir.flows ORDER BY flowEndSeconds`)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for rows.Next() {
		line := make([]string, 12)
		dest := make([]any, len(line))
		for i := range line {
			dest[i] = &line[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateTime) }
	want := [][]string{
		{at(r.Start), at(r.End), r.SrcIP.String(), r.ClusterIP.String(), fmt.Sprint(r.BytesDelta), r.SrcNS, "3", "2", "ESTABLISHED", r.ClusterID, "node-9", "0"},
		{at(0), at(bare.End), "", "", "0", "", "0", "0", "", "", "", "0"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMigrations(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	cfg := config(srv.Addr)
	s := newSink(t, cfg, "a")
	if err := s.WriteAt(t.Context(), 0, samples(0, 1000)); err != nil {
		t.Fatal(err)
	}
	conn := client(t, srv.Addr)
	count := func(want uint64) {
		t.Helper()
		if got := number(t, conn, "SELECT count() FROM weir.weir_flows"); got != want {
			t.Errorf("%d rows, want %d", got, want)
		}
	}
	to := func(v int) {
		t.Helper()
		if err := clickhouse.Migrate(t.Context(), &cfg, v); err != nil {
			t.Fatalf("to version %d: %v", v, err)
		}
	}
	to(ddl.Latest) // twice is as once
	to(1)
	count(1000)
	if n := number(t, conn, "SELECT count() FROM system.tables WHERE database = 'weir'"); n != 2 {
		t.Errorf("%d tables at version 1, want the flows and the versions", n)
	}
	// An older Weir did not know some fields and words.
	for _, sql := range []string{
		"ALTER TABLE weir.weir_flows DROP COLUMN rtt", "ALTER TABLE weir.weir_flows MODIFY COLUMN reset_by Nullable(Enum8('unknown' = 0, 'src' = 1, 'dst' = 2))",
	} {
		if err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	checked := cfg
	checked.Schema = "check"
	if err := newSink(t, checked, "a").WriteAt(t.Context(), 1000, samples(1000, 1)); err == nil || !strings.Contains(err.Error(), "version 1") || !strings.Contains(err.Error(), "2 columns to add") {
		t.Errorf("schema: check over version 1: %v", err)
	}
	to(2)
	forgetWords(t, conn, cfg.Layout())
	to(ddl.Latest)
	cfg.Retention = 10 * 365 * 24 * time.Hour
	to(ddl.Latest) // with a retention now
	recs := samples(1000, 1000)
	for i := range recs {
		recs[i].SetRTT(uint32(i))
		recs[i].SetResetBy(flow.ResetByPath)
		recs[i].SetOutcome(flow.OutcomeAttempt)
	}
	if err := newSink(t, checked, "a").WriteAt(t.Context(), 1000, recs); err != nil {
		t.Fatal(err)
	}
	count(2000)
	if n := number(t, conn, "SELECT count() FROM weir.weir_flows WHERE rtt IS NOT NULL AND reset_by = 'path'"); n != 1000 {
		t.Errorf("%d rows have the new fields, want 1000", n)
	}
	if n := number(t, conn, "SELECT sum(records) FROM weir.weir_flows_by_minute WHERE outcome = 'attempt'"); n != 1000 {
		t.Errorf("the sums have %d records with the new word, want 1000", n)
	}
	if n := number(t, conn, "SELECT count() FROM system.tables WHERE database = 'weir' AND engine_full LIKE '% TTL %'"); n != 5 {
		t.Errorf("%d tables have a retention, want 5", n)
	}
	cfg.Retention = 0
	to(ddl.Latest)
	if n := number(t, conn, "SELECT count() FROM system.tables WHERE database = 'weir' AND engine_full LIKE '% TTL %'"); n != 0 {
		t.Errorf("%d tables keep a retention", n)
	}
	to(0)
	if n := number(t, conn, "SELECT count() FROM system.tables WHERE database = 'weir'"); n != 1 {
		t.Errorf("%d tables are left, want that of the versions", n)
	}
	to(ddl.Latest)
	count(0)
}

// forgetWords makes the sums by minute as an older Weir did, which knew fewer words.
func forgetWords(t *testing.T, conn driver.Conn, layout ddl.Layout) {
	t.Helper()
	for _, sql := range layout.Steps()[1].Up {
		if !strings.Contains(sql, "TABLE IF NOT EXISTS `weir`.`weir_flows_by_minute`") {
			continue
		}
		for _, sql := range []string{"DROP TABLE weir.weir_flows_by_minute", strings.Replace(sql, "'attempt' = 8, ", "", 1)} {
			if err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFuture(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	cfg := config(srv.Addr)
	if err := clickhouse.Migrate(t.Context(), &cfg, ddl.Latest); err != nil {
		t.Fatal(err)
	}
	if err := client(t, srv.Addr).Exec(t.Context(), "INSERT INTO weir.weir_schema (version, up, by) VALUES (99, true, 'v9')"); err != nil {
		t.Fatal(err)
	}
	for _, cfg.Schema = range []string{"manage", "check"} {
		err := newSink(t, cfg, "a").WriteAt(t.Context(), 0, samples(0, 1))
		if !errors.Is(err, clickhouse.ErrFuture) || !strings.Contains(err.Error(), "version 99") {
			t.Errorf("a layout from the future, schema %s: %v", cfg.Schema, err)
		}
	}
}

func TestPoison(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	cfg := config(srv.Addr)
	if err := clickhouse.Migrate(t.Context(), &cfg, ddl.Latest); err != nil {
		t.Fatal(err)
	}
	conn := client(t, srv.Addr)
	if err := conn.Exec(t.Context(), "ALTER TABLE weir.weir_flows ADD CONSTRAINT no_port CHECK ifNull(dst_port, 0) != 666"); err != nil {
		t.Fatal(err)
	}
	recs := samples(0, 200)
	recs[17].SetDstPort(666)
	recs[190].SetDstPort(666)
	recs[100].Has.Clear(flow.FEnd)
	recs[101].SetEnd(-5)
	s := newSink(t, cfg, "a")
	for range 2 {
		un, ok := errors.AsType[*sinks.Undelivered](s.WriteAt(t.Context(), 0, recs))
		if !ok || un.Amount.Records != 4 || un.Reason != clickhouse.LostPoisoned {
			t.Fatalf("%+v, want 4 records lost as poisoned", un)
		}
	}
	if n := number(t, conn, "SELECT count() FROM weir.weir_flows"); n != 196 {
		t.Errorf("%d rows, want 196", n)
	}
}
