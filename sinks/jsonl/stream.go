package jsonl

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// Stream writes the same lines to an open stream, say standard output: nothing
// rotates, and after a crash the last batch may come twice.
type Stream struct {
	s *Sink
	w io.Writer
}

// NewStream makes a Stream; of cfg, Name, Format, Words and Cluster count.
func NewStream(cfg Config, w io.Writer, now func() time.Time) (*Stream, error) {
	cfg.Path = "-"
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("jsonl: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	return &Stream{&Sink{cfg: cfg, log: slog.New(slog.DiscardHandler), now: now, fields: flow.AllFields()}, w}, nil
}

// Name implements sinks.Sink.
func (t *Stream) Name() string { return t.s.Name() }

// Write implements sinks.Sink.
func (t *Stream) Write(_ context.Context, recs []flow.Record) error {
	t.s.render(recs)
	n, err := t.w.Write(t.s.buf)
	if err != nil {
		return fmt.Errorf("jsonl: stream: %w", err)
	}
	t.s.st.Offset += int64(n) // the header is written once
	return nil
}
