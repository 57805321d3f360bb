package sinktest

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// endlessMemory is how much a try may hold of an answer, and endlessTime how long it may
// take, on a machine that does much beside it.
const (
	endlessMemory = 384 << 20
	endlessTime   = 3 * time.Minute
)

// Endless calls try, which speaks to a server that never ends its answer: it must fail, in
// bounded time and memory.
func Endless(t *testing.T, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), endlessTime)
	defer cancel()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	failed := make(chan error, 1)
	go func() { failed <- try(ctx) }()
	peak := uint64(0)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case err := <-failed:
			tick.Stop()
			switch {
			case err == nil:
				t.Error("an answer without an end is taken for a success")
			case ctx.Err() != nil:
				t.Errorf("it reads on for %v: %v", endlessTime, err)
			}
			if peak > endlessMemory {
				t.Errorf("it holds %d MiB of the answer", peak>>20)
			}
			t.Logf("%d MiB at most, and then: %.300v", peak>>20, err)
			return
		case <-tick.C:
			runtime.ReadMemStats(&now)
			if now.HeapInuse > before.HeapInuse {
				peak = max(peak, now.HeapInuse-before.HeapInuse)
			}
		}
	}
}
