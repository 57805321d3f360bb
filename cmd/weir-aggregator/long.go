package main

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse"
)

// long is the database of a sink as a history that queries read.
type long struct {
	*clickhouse.Reader
	waiting func() uint64
}

// Name implements api.Long.
func (l long) Name() string { return "ClickHouse (sink " + l.Reader.Name() + ")" }

// Waiting implements api.Long.
func (l long) Waiting() uint64 { return l.waiting() }

// longer gives the API the sink of which the configuration says that it answers for what
// is older than the built-in history, if there is one; a reload may give it another.
type longer struct {
	web   *api.Server
	sinks *fanout
	live  *api.Live

	mu     sync.Mutex // of take
	cfg    *config.Sink
	reader *clickhouse.Reader
	name   atomic.Pointer[string] // of the sink, "" for none
}

func newLonger(web *api.Server, cfg *config.Aggregator, sinks *fanout) (*longer, error) {
	l := &longer{web: web, sinks: sinks, live: web.Live}
	sinks.written = l.written
	_, err := l.take(cfg)
	return l, err
}

// check tells whether take would fail.
func (l *longer) check(cfg *config.Aggregator) error {
	if s := cfg.LongHistory(); s != nil {
		_, err := l.read(s)
		return err
	}
	return nil
}

func (l *longer) read(s *config.Sink) (*clickhouse.Reader, error) {
	return clickhouse.NewReader(s.ClickHouse.Sink(s.Name, l.web.Version.String()))
}

// take makes it what the configuration says, and reports whether it was something else.
// Queries that the one before is asked fail, as if it had gone away, and can be asked again.
func (l *longer) take(cfg *config.Aggregator) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := cfg.LongHistory()
	if l.cfg == s || l.cfg != nil && s != nil && l.cfg.Name == s.Name && reflect.DeepEqual(l.cfg.ClickHouse, s.ClickHouse) {
		return false, nil
	}
	var r *clickhouse.Reader
	if s != nil {
		if r, err = l.read(s); err != nil {
			return false, err
		}
	}
	before := l.reader
	l.cfg, l.reader = s, r
	if s == nil {
		l.name.Store(nil)
		l.web.SetLong(nil)
	} else {
		l.name.Store(&s.Name)
		l.web.SetLong(long{r, l.waiting(s.Name)})
	}
	if before != nil {
		err = before.Close()
	}
	return true, err
}

// of is the name of the sink, or none.
func (l *longer) of() string {
	if name := l.name.Load(); name != nil {
		return *name
	}
	return "none"
}

// waiting counts what a sink has not taken yet.
func (l *longer) waiting(name string) func() uint64 {
	return func() uint64 {
		for _, e := range l.sinks.list() {
			if r := e.now(); r.Name() == name {
				return r.Held().Records
			}
		}
		return 0
	}
}

// written is told of each write of a sink: what ClickHouse has, or will never have, is no
// longer live for it.
func (l *longer) written(sink string, recs []flow.Record, err error) {
	if l.of() != sink {
		return
	}
	if err == nil || errors.As(err, new(*sinks.Undelivered)) {
		l.live.StoredLong(recs)
	}
}

// String, Ready and Run make it a task that lets go of its connections at the end.
func (l *longer) String() string { return "long history" }

// Ready implements daemon.Task.
func (l *longer) Ready() bool { return true }

// Run implements daemon.Task.
func (l *longer) Run(ctx context.Context) error {
	<-ctx.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reader == nil {
		return nil
	}
	return l.reader.Close()
}
