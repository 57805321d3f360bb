package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

// streams opens n live streams of a server of their own.
func streams(tb testing.TB, n, ring int) (*Server, []io.ReadCloser, string) {
	tb.Helper()
	s := &Server{
		Auth: AuthNone, MaxClients: n, Log: slog.New(slog.DiscardHandler), Hub: NewHub(ring), NotReady: func() []string { return nil },
		Caller: CallerLimits{Queries: 1, Streams: n + 1, Rate: 1e9, Burst: 1e9},
	}
	h := httptest.NewServer(s.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(func() { cancel(); h.Close() })
	u := h.URL + "/api/v1/flows?follow=true"
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	var bodies []io.ReadCloser
	for range n {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
		if err != nil {
			tb.Fatal(err)
		}
		res, err := client.Do(req) //nolint:bodyclose // the streams end with the test
		if err != nil || res.StatusCode != http.StatusOK {
			tb.Fatalf("%v, %v", res, err)
		}
		bodies = append(bodies, res.Body)
	}
	return s, bodies, u
}

// accounted reads a stream until it has accounted for n records: sent, or said to be skipped.
func accounted(body io.Reader, n int) (sent, skipped int, err error) {
	sc := bufio.NewScanner(body)
	sc.Buffer(nil, 1<<20)
	for sent+skipped < n && sc.Scan() {
		if !bytes.HasPrefix(sc.Bytes(), []byte(`{"weir":`)) {
			sent++
			continue
		}
		var note Note
		if err := json.Unmarshal(sc.Bytes(), &note); err != nil {
			return sent, skipped, err
		}
		skipped += int(note.Weir.Skipped)
	}
	return sent, skipped, sc.Err()
}

// publish publishes n records in batches, at so many a second; 0 as fast as it can.
func publish(h *Hub, n, rate int) {
	hist := flowtest.NewHistory()
	recs := make([]flow.Record, 100)
	began := time.Now()
	for i := 0; i < n; i += len(recs) {
		for k := range recs {
			hist.Record(uint64(i+k), &recs[k])
		}
		if rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		h.Publish(recs)
	}
}

// A hundred live streams, one of which takes nothing for a while: every one is told of
// each record, or how many it was not sent; one more is refused; nobody waits for the
// slow one.
func TestHundredStreams(t *testing.T) {
	const n, records, ring = 100, 4000, 1 << 10
	s, bodies, u := streams(t, n, ring)
	if code, body := get(t, u); code != http.StatusTooManyRequests {
		t.Errorf("the stream after the last: %d %s", code, body)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	allSent, allSkipped := 0, 0
	read := func(body io.Reader) {
		sent, skipped, err := accounted(body, records)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || sent+skipped != records {
			t.Errorf("%d records sent and %d skipped, of %d: %v", sent, skipped, records, err)
		}
		allSent, allSkipped = allSent+sent, allSkipped+skipped
	}
	for _, b := range bodies[1:] {
		wg.Go(func() { read(b) })
	}
	publish(s.Hub, records, 0)
	wg.Wait()
	read(bodies[0]) // it took nothing until now
	t.Logf("%d records to %d streams: %d sent, %d told as skipped", records, n, allSent, allSkipped)
	if s.Stats.Skipped.Load() != uint64(allSkipped) {
		t.Errorf("%d counted as skipped, %d told", s.Stats.Skipped.Load(), allSkipped)
	}
}

// BenchmarkStreams is a second of 5,000 records to each of so many streams that want all:
// CPU of server and clients together a record and stream, heap a stream, and what was
// not sent.
func BenchmarkStreams(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("streams=%d", n), func(b *testing.B) {
			heap := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc + m.StackInuse
			}
			before := heap()
			s, bodies, _ := streams(b, n, 1<<14)
			perStream := float64(heap()-before) / float64(n)
			used := func() time.Duration {
				var u syscall.Rusage
				if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
					b.Fatal(err)
				}
				return time.Duration(u.Utime.Nano() + u.Stime.Nano())
			}
			var took time.Duration
			records, skipped := 0, 0
			for b.Loop() {
				start := used()
				var wg sync.WaitGroup
				var mu sync.Mutex
				for _, body := range bodies {
					wg.Go(func() {
						_, lost, err := accounted(body, 5000)
						if err != nil {
							b.Error(err)
						}
						mu.Lock()
						defer mu.Unlock()
						skipped += lost
					})
				}
				publish(s.Hub, 5000, 5000)
				wg.Wait()
				took += used() - start
				records += 5000
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(records)/float64(n), "cpu-ns/record/stream")
			b.ReportMetric(perStream/1024, "heap-KiB/stream")
			b.ReportMetric(100*float64(skipped)/float64(records*n), "%skipped")
		})
	}
}
