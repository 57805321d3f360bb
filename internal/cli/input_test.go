package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// endless is a line that never ends, or lines that never do.
type endless struct {
	line string
	read int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.read += len(b); e.read > 64<<20 {
		return 0, errors.New("64 MiB were read")
	}
	for i := range b {
		b[i] = e.line[(e.read+i)%len(e.line)]
	}
	return len(b), nil
}

func observeInput(ctx context.Context, in io.Reader, out io.Writer) (status int, errs string) {
	var e bytes.Buffer
	env := Env{In: in, Out: out, Err: &e, Getenv: func(string) string { return "" }, Now: time.Now}
	return Run(ctx, env, []string{"weirctl", "observe", "--input-file", "-", "-o", "jsonl"}), e.String()
}

// TestEndlessLine: input without a newline is refused before it has taken much memory.
func TestEndlessLine(t *testing.T) {
	var out bytes.Buffer
	in := &endless{line: "\x00"}
	status, errs := observeInput(t.Context(), in, &out)
	if want := "standard input: line 1 is longer than 1 MiB: this is no file of flows"; status != ExitError || !strings.Contains(errs, want) {
		t.Errorf("status %d, %q, want %q", status, errs, want)
	}
	if in.read > 4<<20 {
		t.Errorf("%d bytes were read", in.read)
	}
}

// TestEndlessLines: lines that never end are printed as they come, and an interrupt ends it.
func TestEndlessLines(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	line := `{"start":"2026-03-14T03:12:06.000Z","end":"2026-03-14T03:12:07.000Z","src.ip":"10.0.1.7","dst.ip":"10.0.2.9"}` + "\n"
	r, w := io.Pipe()
	var out writes
	out.after = func() { cancel() }
	go func() {
		for ctx.Err() == nil {
			if _, err := io.WriteString(w, line); err != nil {
				return
			}
		} // and then it is silent, with the pipe open
	}()
	done := make(chan struct{})
	go func() {
		observeInput(ctx, r, &out)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("an interrupt does not end it")
	}
	_ = r.Close()
	if out.n == 0 {
		t.Error("nothing was printed before the end")
	}
}

// writes counts, and tells of the first.
type writes struct {
	n     int
	after func()
}

func (w *writes) Write(b []byte) (int, error) {
	if w.n += len(b); w.n > 10_000 {
		w.after()
	}
	return len(b), nil
}
