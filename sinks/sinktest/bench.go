package sinktest

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
)

const (
	batch = 5000   // records of a write of Bench: what a Runner gives most sinks
	many  = 50_000 // records of a write of BenchHeld: the heap's own ups and downs are small beside it
)

// writer gives records to a sink as a Runner does, at positions that follow each other.
func writer(b *testing.B, s sinks.Sink) func(context.Context, []flow.Record) error {
	b.Helper()
	at, ok := s.(sinks.Resumer)
	if !ok {
		return s.Write
	}
	pos, _, err := at.Resume(b.Context(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, recs []flow.Record) error {
		err := at.WriteAt(ctx, pos, recs)
		pos += uint64(len(recs))
		return err
	}
}

func samples(n int) []flow.Record {
	recs := make([]flow.Record, n)
	for i := range recs {
		recs[i] = flowtest.Sample(uint64(i))
	}
	return recs
}

// Bench measures what a record costs this process in the sink, as cpu-ns/record: a batch to
// bytes, and to the destination, which is to be in another process.
func Bench(b *testing.B, s sinks.Sink) {
	b.Helper()
	recs, write := samples(batch), writer(b, s)
	if err := write(b.Context(), recs); err != nil { // it has connected
		b.Fatal(err)
	}
	b.ReportAllocs()
	n, began := 0, testenv.OwnCPU(b)
	for b.Loop() {
		if err := write(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
		n += len(recs)
	}
	if k, ok := s.(sinks.Keeper); ok {
		if err := k.Store(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(testenv.OwnCPU(b)-began)/float64(n), "cpu-ns/record")
}

// BenchHeld measures what a sink has on the heap for a record that it was given and that is
// not at its destination, as B/record: silence makes that no answer comes, and n batches of
// 50,000 are written. The records themselves, which are the Runner's, do not count.
func BenchHeld(b *testing.B, s sinks.Sink, n int, silence func()) {
	b.Helper()
	recs, write := samples(many), writer(b, s)
	if err := write(b.Context(), recs[:1]); err != nil {
		b.Fatal(err)
	}
	silence()
	before := testenv.Heap()
	for range n {
		ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
		_ = write(ctx, recs) // that it is not confirmed is the point
		cancel()
	}
	held := int64(testenv.Heap()) - int64(before)
	for b.Loop() { // once is all
	}
	b.ReportMetric(float64(held)/float64(n*len(recs)), "B/record")
	runtime.KeepAlive(recs)
}
