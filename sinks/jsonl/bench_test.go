package jsonl

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/sinks/sinktest"
)

// BenchmarkSink is what a record costs on its way into files that are rotated, and
// compressed then.
func BenchmarkSink(b *testing.B) {
	for _, format := range []Format{FormatJSONL, FormatCSV} {
		b.Run(string(format), func(b *testing.B) {
			c := DefaultConfig()
			c.Path, c.Format, c.Keep, c.Gzip = filepath.Join(b.TempDir(), "flows"), format, 2, true
			s, err := New(c, nil, time.Now)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			sinktest.Bench(b, s)
		})
	}
}
