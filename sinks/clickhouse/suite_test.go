package clickhouse_test

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/sinktest"
)

// suite is what the suite of all sinks needs; an address is HOST:PORT/DATABASE.
func suite(srv *testenv.ClickHouse) sinktest.Kind {
	target := func(t *testing.T) sinktest.Target {
		t.Helper()
		db := "suite_" + strings.ToLower(rand.Text())
		return sinktest.Target{Address: srv.Addr + "/" + db, Dir: t.TempDir(), Stored: func(t *testing.T) (list []uint64) {
			t.Helper()
			rows, err := client(t, srv.Addr).Query(t.Context(), "SELECT assumeNotNull(toString(egress_name)) FROM "+db+".weir_flows ORDER BY pos")
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					t.Fatal(err)
				}
				list = append(list, sinktest.Number(t, name))
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return list
		}}
	}
	return sinktest.Kind{
		Make: func(address, _ string) (sinks.Sink, error) {
			addr, db, _ := strings.Cut(address, "/")
			c := config(addr)
			c.Database = db
			return clickhouse.New(c, nil, nil)
		},
		New: target,
		Poison: func(r *flow.Record) string {
			r.SetEnd(-1) // before every flow
			return clickhouse.LostPoisoned
		},
		Unreachable: func(t *testing.T) sinks.Sink {
			t.Helper()
			return newSink(t, config(testenv.Deaf(t)), "spool")
		},
		Mutual: func(t *testing.T, front *testenv.Front, client remote.TLS) (sinktest.Target, sinks.Sink) {
			t.Helper()
			front.To(srv.Addr)
			g := target(t)
			c := config(front.Addr)
			_, c.Database, _ = strings.Cut(g.Address, "/")
			c.TLS, c.CAFile, c.CertFile, c.KeyFile = true, client.CA, client.Cert, client.Key
			s, err := clickhouse.New(c, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return g, s
		},
	}
}

func TestSuite(t *testing.T) { sinktest.Run(t, suite(testenv.StartClickHouse(t))) }
