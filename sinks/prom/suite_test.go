package prom

import (
	"crypto/rand"
	"testing"

	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/sinktest"
)

// TestSuite: what is counted is what the ledger has as out, few series or many.
func TestSuite(t *testing.T) {
	made := map[string]*Sink{}
	sinktest.Run(t, sinktest.Kind{
		Make: func(address, _ string) (sinks.Sink, error) {
			s, err := New(Config{Name: "m", Metrics: []Metric{byNS("conns", "connections", 5)}})
			made[address] = s
			return s, err
		},
		New: func(t *testing.T) sinktest.Target {
			t.Helper()
			a := rand.Text()
			return sinktest.Target{Address: a, Dir: t.TempDir(), Count: func(*testing.T) uint64 { return made[a].Sum("conns") }}
		},
		Volatile: true,
	})
}
