package sinktest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks"
)

// flaky fails every third write before the sink sees it, and ends the context of every
// fifth while it is at work.
type flaky struct {
	sinks.Sink
	calls atomic.Uint64
	off   *atomic.Bool
}

var errFlaky = errors.New("a failure that the test made")

func (f *flaky) try(ctx context.Context, write func(context.Context) error) error {
	switch n := f.calls.Add(1); {
	case f.off.Load():
	case n%3 == 0:
		return errFlaky
	case n%5 == 0:
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		return write(short)
	}
	return write(ctx)
}

func (f *flaky) Write(ctx context.Context, recs []flow.Record) error {
	return f.try(ctx, func(ctx context.Context) error { return f.Sink.Write(ctx, recs) })
}

func (f *flaky) Close() error { return closeSink(f.Sink) }

func closeSink(s sinks.Sink) error {
	if c, ok := s.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

type flakyResumer struct {
	flaky
	sinks.Resumer
}

func (f *flakyResumer) Name() string { return f.Resumer.Name() }

func (f *flakyResumer) Write(ctx context.Context, recs []flow.Record) error {
	return f.Resumer.Write(ctx, recs)
}

func (f *flakyResumer) WriteAt(ctx context.Context, pos uint64, recs []flow.Record) error {
	return f.try(ctx, func(ctx context.Context) error { return f.Resumer.WriteAt(ctx, pos, recs) })
}

type flakyKeeper struct {
	flakyResumer
	keeper sinks.Keeper
}

func (f *flakyKeeper) Stored() uint64                  { return f.keeper.Stored() }
func (f *flakyKeeper) Store(ctx context.Context) error { return f.try(ctx, f.keeper.Store) }

func makeFlaky(s sinks.Sink, off *atomic.Bool) sinks.Sink {
	if keeper, ok := s.(sinks.Keeper); ok {
		return &flakyKeeper{flakyResumer{flaky{Sink: s, off: off}, keeper}, keeper}
	}
	if resumer, ok := s.(sinks.Resumer); ok {
		return &flakyResumer{flaky{Sink: s, off: off}, resumer}
	}
	return &flaky{Sink: s, off: off}
}
