package kube

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/weirnet/weir/internal/cluster"
)

// Source is a running feed of a Model: a task of the daemon's group.
type Source interface {
	// Run feeds the Model until ctx is done. It returns an error only where the
	// source can never work: a directory whose first reading fails.
	Run(ctx context.Context) error
	// Ready reports whether everything was read once.
	Ready() bool
	// String names the source.
	String() string
	// Status says how the source does.
	Status() Status
}

// Status says how a source does.
type Status struct {
	Source  string        `json:"source"`
	Synced  bool          `json:"synced"`            // everything was read once
	Stale   bool          `json:"stale"`             // what is known may have changed since: cut off, or files with errors
	Since   time.Time     `json:"since"`             // of this state
	Error   string        `json:"error,omitempty"`   // the last failure, while stale
	Errors  uint64        `json:"errors"`            // failed readings and broken watches, ever
	Watches int           `json:"watches,omitempty"` // open watches, of an API server
	Model   cluster.Stats `json:"model"`
}

// Deps are what a source needs from its process.
type Deps struct {
	Log *slog.Logger
	Now func() time.Time // nil for time.Now
	// Changes, if any, is told what changes in the cluster. It must not wait.
	Changes func([]cluster.Change)
}

// expireEvery is how often the Model forgets.
const expireEvery = 10 * time.Second

// feed applies events to the model one at a time and keeps the state.
type feed struct {
	name  string
	log   *slog.Logger
	now   func() time.Time
	model *cluster.Model
	tell  func([]cluster.Change)
	diary *cluster.Journal // nil where nobody wants to know

	mu      sync.Mutex // one writer of model at a time, and what follows
	synced  bool
	stale   bool
	since   time.Time
	lastErr string
	errors  uint64
}

func newFeed(name string, m *cluster.Model, d Deps) *feed {
	f := &feed{name: name, log: d.Log, now: d.Now, model: m}
	if d.Changes != nil {
		f.tell, f.diary = d.Changes, cluster.NewJournal(m)
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.log = f.log.With("source", name)
	f.since = f.now()
	return f
}

func (f *feed) apply(e cluster.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now().UnixMilli()
	f.model.Apply(now, e)
	if f.diary == nil {
		return
	}
	if list := f.diary.Observe(now, e); len(list) > 0 {
		f.tell(list)
	}
}

// String names the source.
func (f *feed) String() string { return f.name }

// Ready reports whether everything was read once.
func (f *feed) Ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.synced
}

// Status says how the source does.
func (f *feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Status{
		Source: f.name, Synced: f.synced, Stale: f.stale, Since: f.since,
		Error: f.lastErr, Errors: f.errors, Model: f.model.Stats(),
	}
}

// setSynced says that everything was read once.
func (f *feed) setSynced() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.synced {
		return
	}
	f.synced, f.since = true, f.now()
	if f.diary != nil {
		f.diary.Synced()
	}
	s := f.model.Stats()
	f.log.Info("cluster state is synced", "pods", s.Pods, "nodes", s.Nodes, "services", s.Services)
}

// setStale says that the source is cut off, or is back (err nil).
func (f *feed) setStale(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.errors++
		f.lastErr = err.Error()
		if !f.stale {
			f.stale, f.since = true, f.now()
			f.log.Warn("cluster state is stale: names are those of the last state that was read", "error", err)
		}
		return
	}
	if f.stale {
		f.log.Info("cluster state is current again", "stale_for", f.now().Sub(f.since))
		f.stale, f.since, f.lastErr = false, f.now(), ""
	}
}

// expireLoop lets the model forget until ctx is done.
func (f *feed) expireLoop(ctx context.Context) {
	t := time.NewTicker(expireEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f.mu.Lock()
			f.model.Expire(f.now().UnixMilli())
			f.mu.Unlock()
		}
	}
}
