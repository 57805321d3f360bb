package certs

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/obs"
)

// Watch reads the files of its stores again when they change or SIGHUP says so.
// It is a task of the daemon.
type Watch struct{ Stores []*Store }

const lookEvery = 10 * time.Second

// Open opens files as a store that is watched.
func (w *Watch) Open(f Files, log *slog.Logger) (*Store, error) {
	s, err := Open(f, log)
	if err == nil {
		w.Stores = append(w.Stores, s)
	}
	return s, err
}

// String is the task's name.
func (w *Watch) String() string { return "certificates" }

// Ready is true: the files were good at the start.
func (w *Watch) Ready() bool { return true }

// Run looks at the files until ctx is done.
func (w *Watch) Run(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		case <-t.C:
		}
		for _, s := range w.Stores {
			s.Check(time.Now())
		}
	}
}

// Metrics are the numbers of all stores together.
func (w *Watch) Metrics() []obs.Metric {
	sum := func(f func(*Store) uint64) func(func(float64, ...string)) {
		return obs.Value(func() (n float64) {
			for _, s := range w.Stores {
				n += float64(f(s))
			}
			return n
		})
	}
	return []obs.Metric{
		{Name: "weir_certificate_reloads_total", Help: "Certificates that were read again because a file changed.", Kind: obs.Counter, Read: sum(func(s *Store) uint64 { return s.Reloads.Load() })},
		{Name: "weir_certificate_reload_failures_total", Help: "Times at which changed certificate files could not be used; the old ones stay in use.", Kind: obs.Counter, Read: sum(func(s *Store) uint64 { return s.Failures.Load() })},
	}
}
