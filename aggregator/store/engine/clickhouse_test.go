package engine

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	peer "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/testenv"
)

// inClickHouse are questions in both languages. What a connection is has to be said in SQL:
// C are the newest record of each connection and the sums of its deltas.
var inClickHouse = []struct {
	weir       string
	keys, aggs []string
	where      string
}{
	{"| stats active, sum(bytes), sum(packets) by src.ns, outcome", []string{"src_ns", "outcome"}, []string{"count()", "sum(moved)", "sum(sent)"}, "1"},
	{"src.ns = team-07 | stats active, sum(bytes), sum(packets) by dst.ns", []string{"dst_ns"}, []string{"count()", "sum(moved)", "sum(sent)"}, "src_ns = 'team-07'"},
	{"bytes > 10kB | stats active, sum(bytes), max(rtt) by dst.workload", []string{"dst_workload"}, []string{"count()", "sum(moved)", "max(rtt)"}, "moved > 10000"},
	{"src.ip in (10.244.0.0/24) | stats active, sum(bytes), uniq(dst.ip) by src.pod", []string{"src_pod"}, []string{"count()", "sum(moved)", "uniqExact(dst_ip)"}, "isIPAddressInRange(assumeNotNull(src_ip), '10.244.0.0/24')"},
}

// ClickHouse reads every column of the segments as it was written, and gives the answers
// that the history gives.
func TestClickHouseReadsTheSegments(t *testing.T) {
	const n = 30_000
	server := testenv.StartClickHouse(t)
	conn, err := peer.Open(&peer.Options{Addr: []string{server.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var now time.Time
	cfg := store.DefaultConfig()
	cfg.Dir, cfg.HeadRows, cfg.FileRows = t.TempDir(), 7000, 20_000
	s, err := store.New(cfg, store.Deps{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ingest(t, s, &now, 0, n)
	files := fmt.Sprintf("file('%s', Parquet)", filepath.Join(cfg.Dir, "hour=*", "*.parquet"))
	everyColumn(t, conn, files, n)

	c := "(SELECT " + newest("src_ns", "outcome", "dst_ns", "dst_workload", "src_pod", "src_ip", "dst_ip", "rtt") +
		"sum(bytes_delta) AS moved, sum(packets_delta) AS sent FROM " + files + " GROUP BY conn_id)"
	rolled := 0
	for _, q := range inClickHouse {
		parsed, err := query.Parse(q.weir)
		if err != nil {
			t.Fatal(err)
		}
		table, sc, err := Stats(t.Context(), s, &Request{Query: parsed, Since: 0, Until: 1 << 45})
		if err != nil {
			t.Fatal(err)
		}
		rolled += sc.Rollups
		var ours []string
		for _, g := range table.Groups() {
			var cells []string
			for _, k := range g.Key {
				cells = append(cells, k.Text)
			}
			for i := range g.Accs {
				cells = append(cells, fmt.Sprint(g.Accs[i].Value(parsed.Stats().Aggs[i].Func, 0)))
			}
			ours = append(ours, strings.Join(cells, " "))
		}
		theirs := lines(t, conn, "SELECT "+text(q.keys, q.aggs)+" FROM "+c+" WHERE "+q.where+" GROUP BY "+strings.Join(q.keys, ", "))
		slices.Sort(ours)
		slices.Sort(theirs)
		if !slices.Equal(ours, theirs) || len(ours) < 2 {
			t.Errorf("%s: %d groups, ClickHouse %d:\n%v\n%v", q.weir, len(ours), len(theirs), ours[:min(5, len(ours))], theirs[:min(5, len(theirs))])
		}
	}
	if rolled == 0 {
		t.Error("no roll-up was used")
	}
}

func newest(cols ...string) string {
	var b strings.Builder
	for _, c := range cols {
		fmt.Fprintf(&b, "argMax(%s, (`end`, seq)) AS %s, ", c, c)
	}
	return b.String()
}

// text puts expressions together as one text.
func text(lists ...[]string) string {
	var out []string
	for _, x := range slices.Concat(lists...) {
		out = append(out, "ifNull(toString("+x+"), '')")
	}
	return "concat(" + strings.Join(out, ", ' ', ") + ")"
}

// lines gives the only column of each row.
func lines(t *testing.T, conn driver.Conn, sql string) (out []string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		out = append(out, s)
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func everyColumn(t *testing.T, conn driver.Conn, files string, n int) {
	t.Helper()
	h := flowtest.NewHistory()
	var r flow.Record
	h.Record(0, &r)
	type key struct {
		conn uint64
		seq  uint32
	}
	for f := range flow.FieldID(flow.NumFields) {
		if !r.Has.Has(f) || column.KindOf(f) == column.None {
			continue
		}
		expr := fmt.Sprintf("toString(assumeNotNull(`%s`))", segment.ColumnName(f))
		if flow.Fields[f].Type == flow.TypeMillis {
			expr = fmt.Sprintf("toString(toUnixTimestamp64Milli(assumeNotNull(`%s`)))", segment.ColumnName(f))
		}
		rows, err := conn.Query(t.Context(), fmt.Sprintf("SELECT assumeNotNull(conn_id), assumeNotNull(seq), %s FROM %s", expr, files))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		have := map[key]string{}
		for rows.Next() {
			var k key
			var v string
			if err := rows.Scan(&k.conn, &k.seq, &v); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			have[k] = v
		}
		if err := cmp.Or(rows.Err(), rows.Close()); err != nil || len(have) != n {
			t.Fatalf("%s: %d rows of %d: %v", f, len(have), n, err)
		}
		for i := range uint64(n) {
			h.Record(i, &r)
			want := r.Text(f)
			switch v := r.Value(f).(type) {
			case int64:
				want = fmt.Sprint(v)
			case uint64:
				if flow.EnumWords[f] == nil {
					want = fmt.Sprint(v)
				}
			default:
			}
			if v := have[key{r.ConnID, r.Seq}]; v != want {
				t.Fatalf("%s of record %d is %q, want %q", f, i, v, want)
			}
		}
	}
}
