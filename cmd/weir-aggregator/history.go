package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/obs"
	"github.com/weirnet/weir/sinks"
)

// historySpool bounds what waits on disk for the history: it takes records faster than they
// can come, so this is for a disk that hangs.
const historySpool = 1 << 30

// historyDeps are what the history is connected with.
type historyDeps struct {
	book  *ledger.Book
	reg   prometheus.Registerer
	birds *canaries
	live  *api.Live
}

// openHistory opens the built-in history and its Runner; both are nil where it is off.
func openHistory(cfg *config.Aggregator, log *slog.Logger, d historyDeps) (*store.Store, *runner, error) {
	if !cfg.History.Enabled {
		return nil, nil, nil
	}
	c := store.DefaultConfig()
	c.Dir, c.Memory, c.MaxBytes, c.MaxAge = filepath.Join(cfg.DataDir, "history"), cfg.History.Memory, cfg.History.MaxBytes, cfg.History.MaxAge
	s, err := store.New(c, store.Deps{Logger: log, Written: d.live.Stored, Left: d.book.Stage("history")})
	if err != nil {
		return nil, nil, err
	}
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.MaxBytes = filepath.Join(cfg.DataDir, "spool", s.Name()), historySpool
	rc.BatchAge = 200 * time.Millisecond // so much later than told a record can be found
	r, err := sinks.NewRunner(rc, s, sinks.Deps{Logger: log, Stage: d.book.Stage("sink/" + s.Name()), Registerer: d.reg, Clock: time.Now, Tried: d.birds.tried(s.Name())})
	if err != nil {
		return nil, nil, fmt.Errorf("history: %w", err)
	}
	return s, &runner{r, cfg.StopTimeout / 3, log}, nil
}

// watchHistory shows the history's size, and gives its metrics; none where it is off.
func watchHistory(watch *obs.Server, history *store.Store) []obs.Metric {
	if history == nil {
		return nil
	}
	watch.State["history"] = func() any { return history.Size() }
	return history.Metrics()
}
