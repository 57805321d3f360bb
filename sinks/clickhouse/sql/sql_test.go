package sql_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/sinks/clickhouse/sql"
)

var update = flag.Bool("update", false, "write the golden file again")

// TestGolden shows what queries become; that it means the same is tested on an engine, in
// the package above.
func TestGolden(t *testing.T) {
	var b strings.Builder
	for i, text := range []string{
		`service = "o'brien" | limit 5`,
		`dst.workload = payments | stats conns, p95(rtt), sum(bytes) by outcome every 1m`,
		`dst.scope = external not dst.ip in (100.64.0.0/10, fd00::/8) | stats uniq(src.pod) by src.label.app`,
		`verdict = denied policy =~ "pci-.*" | fields start, evidence, bytes | sort bytes desc | limit 3`,
		`has conn_id | fields src.pod, dst.pod, dst.port, scope | limit 3`, // of one who sees two namespaces
	} {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		req := sql.Request{Query: q, Since: 1_750_000_000_000, Until: 1_750_000_600_000, Limits: query.Limits{Rows: 100, Groups: 1000}}
		if i == 4 {
			req.Visible = flow.Confine([]string{"shop", "o'brien"})
		}
		st, err := sql.Compile(&req, "`weir`.`weir_flows`")
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("-- " + text + "\n" + st.SQL + ";\n\n")
	}
	const path = "testdata/queries.sql"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got), -update writes it again:\n%s", path, d)
	}
}

func TestRange(t *testing.T) {
	q, err := query.Parse("ns = shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{5, 5}, {5, 4}, {-1, 4}} {
		if _, err := sql.Compile(&sql.Request{Query: q, Since: r[0], Until: r[1]}, "t"); err == nil {
			t.Errorf("a range of %v has a statement", r)
		}
	}
}
