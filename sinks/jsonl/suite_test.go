package jsonl

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/sinktest"
)

func TestMain(m *testing.M) { sinktest.Main(m, suite()) }

// suite is what the suite of all sinks needs: files that are rotated often.
func suite() sinktest.Kind {
	return sinktest.Kind{
		Make: func(path, _ string) (sinks.Sink, error) {
			c := DefaultConfig()
			c.Path, c.RotateBytes, c.Keep, c.Gzip = path, 1<<20, 0, true
			return New(c, nil, time.Now)
		},
		New: func(t *testing.T) sinktest.Target {
			t.Helper()
			dir := t.TempDir()
			path := filepath.Join(dir, "out", "flows.jsonl")
			return sinktest.Target{Address: path, Dir: dir, Stored: func(t *testing.T) (list []uint64) {
				t.Helper()
				all, _ := lines(t, path)
				for _, l := range all {
					var r flow.Record
					if err := flow.ParseJSON([]byte(l), &r); err != nil {
						t.Fatal(err)
					}
					list = append(list, sinktest.Number(t, r.EgressName))
				}
				return list
			}}
		},
	}
}

func TestSuite(t *testing.T) { sinktest.Run(t, suite()) }
