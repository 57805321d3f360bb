// Package daemon runs the tasks of one process: it starts them in order, and
// stops them in reverse order, each within the time that is left.
//
// In: tasks. Out: the first error, with the name of its task. It knows nothing of
// what the tasks do. If the process dies there is nothing to recover here; a
// second signal during a stop ends the process at once.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// ErrDone is what a task returns when it has finished the work of the whole
// process: the group stops and Run returns nil.
var ErrDone = errors.New("done")

// Task is one long-lived part of a process.
type Task interface {
	// Run works until ctx is done, drains and returns. An earlier return ends the process.
	Run(ctx context.Context) error
	// Ready reports whether the task does its work now.
	Ready() bool
	// String is the task's name in logs, errors and /readyz.
	String() string
}

// Func makes a Task of a name and a function; it counts as ready while it runs.
func Func(name string, run func(context.Context) error) Task { return &fn{name: name, run: run} }

type fn struct {
	name string
	run  func(context.Context) error
}

func (f *fn) Run(ctx context.Context) error { return f.run(ctx) }
func (f *fn) Ready() bool                   { return true }
func (f *fn) String() string                { return f.name }

// Group is the tasks of a process. What is added first is started first and
// stopped last, so that a consumer is added before its producers.
type Group struct {
	Log         *slog.Logger
	StopTimeout time.Duration // for all tasks together
	tasks       []Task
}

// Add appends tasks.
func (g *Group) Add(t ...Task) { g.tasks = append(g.tasks, t...) }

// NotReady names the tasks that are not ready.
func (g *Group) NotReady() []string {
	var names []string
	for _, t := range g.tasks {
		if !t.Ready() {
			names = append(names, t.String())
		}
	}
	return names
}

type result struct {
	i   int
	err error
}

// Run starts every task, waits until ctx is done or a task returns, stops the
// rest in reverse order and returns what went wrong, task by task.
func (g *Group) Run(ctx context.Context) error {
	ended := make(chan result, len(g.tasks))
	cancels := make([]context.CancelFunc, len(g.tasks))
	done := make([]chan struct{}, len(g.tasks))
	for i, t := range g.tasks {
		// A task outlives ctx: the stop order decides when it is told.
		tctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancels[i], done[i] = cancel, make(chan struct{})
		go func() {
			err := t.Run(tctx)
			close(done[i])
			ended <- result{i, err}
		}()
	}
	defer func() {
		for _, c := range cancels {
			c()
		}
	}()

	var first *result
	select {
	case <-ctx.Done():
		g.Log.Info("stopping", "reason", context.Cause(ctx).Error())
	case r := <-ended:
		first = &r
	}

	var errs []error
	deadline := time.NewTimer(g.StopTimeout)
	defer deadline.Stop()
	expired := false
	for i, t := range slices.Backward(g.tasks) {
		cancels[i]()
		if expired {
			select {
			case <-done[i]:
			default:
				errs = append(errs, fmt.Errorf("%s: did not stop within %s", t, g.StopTimeout))
			}
			continue
		}
		select {
		case <-done[i]:
			g.Log.Debug("task stopped", "task", t.String())
		case <-deadline.C:
			expired = true
			errs = append(errs, fmt.Errorf("%s: did not stop within %s", t, g.StopTimeout))
		}
	}
	if first != nil {
		errs = append(errs, g.verdict(*first, true))
	}
	for {
		select {
		case r := <-ended:
			errs = append(errs, g.verdict(r, false))
		default:
			return errors.Join(errs...)
		}
	}
}

func (g *Group) verdict(r result, early bool) error {
	name := g.tasks[r.i].String()
	switch {
	case errors.Is(r.err, ErrDone):
		return nil
	case r.err == nil && early:
		return fmt.Errorf("%s: ended although nobody asked it to", name)
	case r.err == nil, errors.Is(r.err, context.Canceled) && !early:
		return nil
	}
	return fmt.Errorf("%s: %w", name, r.err)
}

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ Signal os.Signal }

// Error names the signal.
func (e SignalError) Error() string { return "signal " + e.Signal.String() }

// Signals gives a context that SIGINT or SIGTERM ends. The second such signal
// ends the process at once with status 130, for a stop that hangs.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM)
	quit := make(chan struct{})
	go func() {
		select {
		case s := <-c:
			cancel(SignalError{s})
		case <-quit:
			return
		}
		select {
		case <-c:
			os.Exit(130)
		case <-quit:
		}
	}()
	return ctx, func() {
		signal.Stop(c)
		close(quit)
		cancel(context.Canceled)
	}
}
