package s3_test

import (
	"fmt"
	"strings"
	"testing"

	peer "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/sinktest"
)

// testClickHouse: a real engine reads the objects where they are, finds dt and hour in
// their names, and gives the sums that were written.
func testClickHouse(t *testing.T, srv *testenv.S3) {
	t.Helper()
	const total = 30_000
	ch := testenv.StartClickHouse(t)
	conn, err := peer.Open(&peer.Options{Addr: []string{ch.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for format, c := range map[string]struct{ files, bytes, ns, settings string }{
		"parquet":    {"*.parquet', '%s', '%s', 'Parquet')", "bytes", "src_ns", ""},
		"jsonl":      {"*.jsonl.gz', '%s', '%s', 'JSONEachRow')", "bytes", "`src.ns`", ""},
		"antrea-csv": {"*.csv.gz', '%s', '%s', 'CSV')", "c12", "c20", ", format_csv_allow_single_quotes = 1, input_format_csv_use_best_effort_in_schema_inference = 1"},
	} {
		t.Run(format, func(t *testing.T) {
			a := makeBucket(t, srv, format)
			s := newSink(t, a.config(t), "spool")
			want := map[string][2]uint64{} // records and bytes by day, hour and namespace
			for i := 0; i < total; i += 5000 {
				recs := sinktest.Samples(i, 5000)
				if err := s.WriteAt(t.Context(), uint64(i), recs); err != nil {
					t.Fatal(err)
				}
				for k := range recs {
					r := &recs[k]
					end := r.Text(flow.FEnd)
					key := end[:10] + " " + end[11:13] + " " + r.SrcNS
					w := want[key]
					want[key] = [2]uint64{w[0] + 1, w[1] + r.Bytes}
				}
			}
			if err := s.Store(t.Context()); err != nil {
				t.Fatal(err)
			}
			from := fmt.Sprintf("s3('"+a.URL+"/"+a.Bucket+"/weir/dt=*/hour=*/"+c.files, a.Key, a.Secret)
			sql := fmt.Sprintf("SELECT toString(dt), leftPad(toString(hour), 2, '0'), toString(%s), count(), toUInt64(sum(%s)) FROM %s GROUP BY ALL SETTINGS use_hive_partitioning = 1%s", c.ns, c.bytes, from, c.settings)
			rows, err := conn.Query(t.Context(), sql)
			if err != nil {
				t.Fatalf("%s: %v", strings.ReplaceAll(sql, a.Secret, "..."), err)
			}
			got := 0
			for rows.Next() {
				var dt, hour, ns string
				var n, bytes uint64
				if err := rows.Scan(&dt, &hour, &ns, &n, &bytes); err != nil {
					t.Fatal(err)
				}
				got++
				if w := want[dt+" "+hour+" "+ns]; w != [2]uint64{n, bytes} {
					t.Errorf("%s %s %s: %d records, %d bytes, want %v", dt, hour, ns, n, bytes, w)
				}
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if got != len(want) || got < 50 {
				t.Errorf("%d groups, want %d", got, len(want))
			}
		})
	}
}
