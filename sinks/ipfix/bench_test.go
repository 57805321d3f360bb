package ipfix

import (
	"io"
	"testing"

	"github.com/weirnet/weir/sinks/sinktest"
)

// BenchmarkSink is what a record costs on its way to a collector over TCP. The collector
// only reads, and is in this process: its reads count.
func BenchmarkSink(b *testing.B) {
	for _, template := range []string{"weir", "antrea", "iana"} {
		b.Run(template, func(b *testing.B) {
			ln := tcpListener(b)
			defer ln.Close()
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() { _, _ = io.Copy(io.Discard, c) }()
				}
			}()
			c := DefaultConfig()
			c.Address, c.Template = ln.Addr().String(), template
			sinktest.Bench(b, newSink(b, c))
		})
	}
}
