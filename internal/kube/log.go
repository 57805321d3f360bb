package kube

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// quiet gives a context whose client-go lines go to log at level debug: what an
// operator has to know of the connection is said by feed, once per change.
func quiet(ctx context.Context, log *slog.Logger) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(debug{log.Handler()}))
}

// debug is a handler that turns every line into one of level debug.
type debug struct{ slog.Handler }

// Enabled implements slog.Handler.
func (d debug) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (d debug) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (d debug) WithAttrs(a []slog.Attr) slog.Handler { return debug{d.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (d debug) WithGroup(name string) slog.Handler { return debug{d.Handler.WithGroup(name)} }
