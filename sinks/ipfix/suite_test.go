package ipfix

import (
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/sinktest"
)

func TestMain(m *testing.M) { sinktest.Main(m, suite()) }

// suite is what the suite of all sinks needs. IPFIX has no acknowledgement: what was on its
// way may come again.
func suite() sinktest.Kind {
	open := func(address string) (*Sink, error) {
		c := DefaultConfig()
		c.Name, c.Address, c.Protocol, c.Template = "ipfix", address, "tcp", "weir"
		return New(c, nil, nil)
	}
	target := func(t *testing.T) sinktest.Target {
		t.Helper()
		ln := tcpListener(t)
		c := listen(t, ln)
		return sinktest.Target{Address: ln.Addr().String(), Dir: t.TempDir(), Stored: func(t *testing.T) (list []uint64) {
			t.Helper()
			// Its kernel has all; the collector is done when nothing more comes.
			for n := -1; n != len(c.got()); {
				n = len(c.got())
				time.Sleep(time.Second)
			}
			for _, r := range c.got() {
				list = append(list, sinktest.Number(t, r.EgressName))
			}
			return list
		}}
	}
	return sinktest.Kind{
		Make:           func(address, _ string) (sinks.Sink, error) { return open(address) },
		New:            target,
		AgainAfterKill: true, AgainAfterFailure: true,
		Poison: func(r *flow.Record) string {
			r.SetHTTPVals(strings.Repeat("x", 70_000))
			return LostTooLong
		},
		Unreachable: func(t *testing.T) sinks.Sink {
			t.Helper()
			// A collector that takes what comes is all that IPFIX asks for: it has to be away.
			s, err := open("127.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Mutual: func(t *testing.T, front *testenv.Front, client remote.TLS) (sinktest.Target, sinks.Sink) {
			t.Helper()
			g := target(t)
			front.To(g.Address)
			c := DefaultConfig()
			c.Address, c.Protocol, c.Template = front.Addr, "tls", "weir"
			c.CAFile, c.CertFile, c.KeyFile = client.CA, client.Cert, client.Key
			return g, newSink(t, c)
		},
	}
}

func TestSuite(t *testing.T) { sinktest.Run(t, suite()) }
