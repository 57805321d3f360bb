package kafka_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/sinktest"
)

// BenchmarkSink is what a record costs this process on its way to a real broker, which has
// processes of its own: encoding, compression, requests and their answers.
func BenchmarkSink(b *testing.B) {
	k := testenv.StartKafka(b)
	for _, format := range []string{"protobuf", "json"} {
		b.Run(format, func(b *testing.B) {
			c := config(k.Plain, makeTopic(b, k, fmt.Sprint("bench-", format, time.Now().UnixNano()), nil))
			c.Format = format
			sinktest.Bench(b, newSink(b, c))
		})
	}
}

// BenchmarkHeld is what a message has on the heap until the broker has confirmed it: one
// batch, as the sink takes no more.
func BenchmarkHeld(b *testing.B) {
	k := testenv.StartKafka(b)
	for _, format := range []string{"protobuf", "json"} {
		b.Run(format, func(b *testing.B) {
			c := config(k.Plain, makeTopic(b, k, fmt.Sprint("held-", format, time.Now().UnixNano()), nil))
			c.Format, c.Timeout = format, time.Minute
			s := newSink(b, c)
			sinktest.BenchHeld(b, s, 1, func() { k.Signal(b, syscall.SIGSTOP) })
			k.Signal(b, syscall.SIGCONT)
		})
	}
}
