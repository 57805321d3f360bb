package s3_test

import (
	"testing"

	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/sinktest"
)

// BenchmarkSink is what a record costs this process on its way to a real endpoint, which is
// a process of its own: columns or lines, compression, requests.
func BenchmarkSink(b *testing.B) {
	srv := testenv.StartS3(b)
	for _, format := range []string{"parquet", "antrea-csv", "jsonl"} {
		b.Run(format, func(b *testing.B) {
			sinktest.Bench(b, newSink(b, makeBucket(b, srv, format).config(b), "bench"))
		})
	}
}

// BenchmarkHeld is what a record has on the heap until its upload: 200,000 of them.
func BenchmarkHeld(b *testing.B) {
	srv := testenv.StartS3(b)
	for _, format := range []string{"parquet", "antrea-csv", "jsonl"} {
		b.Run(format, func(b *testing.B) {
			sinktest.BenchHeld(b, newSink(b, makeBucket(b, srv, format).config(b), "bench"), 4, func() {})
		})
	}
}
