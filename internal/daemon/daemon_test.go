package daemon

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

type trace struct {
	mu    sync.Mutex
	lines []string
}

func (t *trace) add(s string) {
	t.mu.Lock()
	t.lines = append(t.lines, s)
	t.mu.Unlock()
}

func (t *trace) task(name string, drain time.Duration) Task {
	return Func(name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(drain)
		t.add(name)
		return ctx.Err()
	})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestStopsInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trace
		g := Group{Log: quiet(), StopTimeout: time.Minute}
		g.Add(tr.task("api", 0), tr.task("runners", time.Second), tr.task("correlate", 2*time.Second), tr.task("collect", 3*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if err := g.Run(ctx); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if d := cmp.Diff([]string{"collect", "correlate", "runners", "api"}, tr.lines); d != "" {
			t.Error(d)
		}
	})
}

func TestNamesWhatFailed(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(context.Context) error
		want string
	}{
		{"error", func(context.Context) error { return errors.New("address in use") }, "bad: address in use"},
		{"early end", func(context.Context) error { return nil }, "bad: ended although nobody asked it to"},
		{"done", func(context.Context) error { return ErrDone }, ""},
		{"hangs", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Hour); return nil }, "bad: did not stop within 10s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tr trace
				g := Group{Log: quiet(), StopTimeout: 10 * time.Second}
				g.Add(tr.task("first", 0), Func("bad", c.run))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := g.Run(ctx)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("Run = %v, want %q", err, c.want)
				}
				time.Sleep(2 * time.Hour) // let the hanging task end
				if d := cmp.Diff([]string{"first"}, tr.lines); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestNotReady(t *testing.T) {
	g := Group{Log: quiet()}
	g.Add(Func("a", nil), unready{})
	if d := cmp.Diff([]string{"kube"}, g.NotReady()); d != "" {
		t.Error(d)
	}
}

type unready struct{}

func (unready) Run(context.Context) error { return nil }
func (unready) Ready() bool               { return false }
func (unready) String() string            { return "kube" }
