// Command day fills a directory with the history that an aggregator keeps of a day, for
// measuring what opens it: records of flowtest.History over 24 hours that end now, written
// by the store as an aggregator writes them, joined and rolled up.
//
// An aggregator that takes 5,000 records a second writes 432 million a day, which are 20 GB:
// with history.maxBytes at its default of 20 GiB it keeps 26 hours of them. -every takes
// each so many-th record of that stream only; times, ends, ports, names and the share of
// connections that live on are those of the whole.
//
// In: flags. Out: segments and roll-ups below DIR/history, and a line of what there is.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

func main() {
	dir := flag.String("data-dir", "", "dataDir of the aggregator that is to open it")
	every := flag.Uint64("every", 1, "take each so many-th record; no multiple of 2 or 5, which the records' kinds repeat by")
	length := flag.Duration("length", 24*time.Hour, "how long the history is")
	flag.Parse()
	if err := run(*dir, *every, *length); err != nil {
		fmt.Fprintln(os.Stderr, "day:", err)
		os.Exit(1)
	}
}

func run(dir string, every uint64, length time.Duration) error {
	if dir == "" || every == 0 || every > 1 && (every%2 == 0 || every%5 == 0) {
		return fmt.Errorf("-data-dir %q -every %d: a directory is wanted, and a number without the factors 2 and 5", dir, every)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	began := time.Now()
	end := began.UnixMilli()
	var now time.Time // the history's clock, as it writes
	cfg := store.DefaultConfig()
	cfg.Dir = filepath.Join(dir, "history")
	s, err := store.New(cfg, store.Deps{Clock: func() time.Time { return now }})
	if err != nil {
		return err
	}
	n, err := fill(ctx, s, &now, &stream{every, length, end})
	if err != nil {
		return err
	}
	if err := s.Store(ctx); err != nil {
		return err
	}
	// What a running aggregator would have joined and rolled up by now, and no more.
	s.Keep(ctx, time.UnixMilli(end))
	size := s.Size()
	if err := s.Close(); err != nil {
		return err
	}
	fmt.Printf("%d records of %v, %d bytes, in %v\n", n, length, size.Bytes, time.Since(began).Round(time.Second))
	return ctx.Err()
}

// stream says which records: each so many-th of a time that ends at end, in ms.
type stream struct {
	every  uint64
	length time.Duration
	end    int64
}

// fill writes the records, and has the history kept as it is between writes.
func fill(ctx context.Context, s *store.Store, now *time.Time, w *stream) (n uint64, err error) {
	h := flowtest.NewHistory()
	rows := uint64(w.length.Seconds()) * flowtest.HistoryRate / w.every
	shift := w.end - w.length.Milliseconds() - flowtest.HistoryStart
	recs := make([]flow.Record, 5000)
	kept := time.Time{}
	for n < rows && ctx.Err() == nil {
		for k := range recs {
			h.Record((n+uint64(k))*w.every, &recs[k])
			move(&recs[k], shift)
		}
		*now = time.UnixMilli(recs[len(recs)-1].End)
		if err := s.WriteAt(ctx, n, recs); err != nil {
			return n, err
		}
		n += uint64(len(recs))
		if now.Sub(kept) > 5*time.Minute {
			kept = *now
			s.Keep(ctx, *now)
		}
	}
	return n, ctx.Err()
}

// move shifts a record in time.
func move(r *flow.Record, ms int64) {
	for _, x := range []struct {
		f  flow.FieldID
		at *int64
	}{{flow.FStart, &r.Start}, {flow.FEnd, &r.End}, {flow.FSince, &r.Since}, {flow.FEndSrc, &r.EndSrc}, {flow.FEndDst, &r.EndDst}} {
		if r.Has.Has(x.f) {
			*x.at += ms
		}
	}
}
