package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/limitfile"
	"github.com/weirnet/weir/internal/obs"
)

// lookEvery is how often the file is read, to see whether it changed.
const lookEvery = 5 * time.Second

// reload takes up a changed configuration when SIGHUP says so or the file differs: the
// sinks that differ, which of them answers for long ranges, and nothing else. A file that is wrong changes nothing. It is a task
// of the daemon.
type reload struct {
	cmd    *config.Command // nil where there is no command line
	now    *config.Aggregator
	sinks  *fanout
	longer *longer
	log    *slog.Logger

	done, refused atomic.Uint64
	failed        atomic.Bool // the last one was refused
}

func (r *reload) String() string { return "configuration" }
func (r *reload) Ready() bool    { return true }

// Run looks at the file until ctx is done.
func (r *reload) Run(ctx context.Context) error {
	if r.cmd == nil {
		<-ctx.Done()
		return nil
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen := r.read()
	select {
	case <-r.sinks.begun:
	case <-ctx.Done():
		return nil
	}
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			asked = true
		case <-tick.C:
		}
		have := r.read()
		// A file that cannot be read is one that is being replaced, until somebody asks.
		if !asked && (have == nil || bytes.Equal(have, seen)) {
			continue
		}
		seen = have
		r.take() //nolint:contextcheck // what it makes outlives Run, and ends in its own order
	}
}

// read gives the file; nil if there is none, or it cannot be read.
func (r *reload) read() []byte {
	if r.cmd.File() == "" {
		return nil
	}
	b, err := limitfile.Read(r.cmd.File(), 4<<20)
	if err != nil {
		return nil
	}
	return b
}

// take reads the configuration and makes the sinks follow it.
func (r *reload) take() {
	next := config.DefaultAggregator()
	err := r.cmd.Reload(next)
	var changes []any
	if err == nil {
		err = r.longer.check(next)
	}
	if err == nil {
		changes, err = r.sinks.reload(next.Sinks)
	}
	if err == nil {
		var moved bool
		if moved, err = r.longer.take(next); moved {
			changes = append(changes, "long history", r.longer.of())
		}
	}
	r.failed.Store(err != nil)
	if err != nil {
		r.refused.Add(1)
		r.log.Error("configuration refused, what runs goes on", "file", r.cmd.File(), "error", err)
		return
	}
	r.done.Add(1)
	if late := differs(r.now, next); len(late) > 0 {
		r.log.Warn("configuration differs in what is read at a start only: restart to take it up", "keys", strings.Join(late, ", "))
	}
	if len(changes) == 0 {
		r.log.Info("configuration read again, no sink differs", "file", r.cmd.File())
		return
	}
	r.log.Info("configuration taken up", append([]any{"file", r.cmd.File()}, changes...)...)
}

// differs names the parts, but for what a reload takes up, in which two configurations differ.
func differs(a, b *config.Aggregator) (keys []string) {
	c := *b
	c.History.Longer = a.History.Longer
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(&c).Elem()
	for i := range x.NumField() {
		f := x.Type().Field(i)
		if f.Name != "Sinks" && !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			keys = append(keys, f.Tag.Get("json"))
		}
	}
	return keys
}

func (r *reload) metrics() []obs.Metric {
	count := func(result string, v *atomic.Uint64) obs.Metric {
		return obs.Metric{
			Name: fmt.Sprintf("weir_config_reloads_%s_total", result), Kind: obs.Counter,
			Help: "Times that a changed configuration was " + result + ".", Read: obs.Value(func() float64 { return float64(v.Load()) }),
		}
	}
	return []obs.Metric{
		count("done", &r.done), count("refused", &r.refused),
		{
			Name: "weir_config_refused", Kind: obs.Gauge, Help: "1 while the configuration in the file is not the one that runs, as it is wrong.",
			Read: obs.Value(func() float64 {
				if r.failed.Load() {
					return 1
				}
				return 0
			}),
		},
	}
}
