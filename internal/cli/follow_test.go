package cli

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
)

// screen is output that a test reads while it is written.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func refused(id uint64, at time.Time) flow.Record {
	var r flow.Record
	r.SetConnID(id)
	r.SetStart(at.UnixMilli())
	r.SetEnd(at.UnixMilli())
	r.SetSrcNS("shop")
	r.SetSrcPod("cart")
	r.SetDstNS("shop")
	r.SetDstPod("payments")
	r.SetDstPort(8443)
	r.SetProto(6)
	r.SetOutcome(flow.OutcomeRefused)
	return r
}

// TestHistoryThenLive: --last 2 --follow shows the newest two and goes on with what
// comes, nothing twice, and what says the same within a second in one line.
func TestHistoryThenLive(t *testing.T) {
	s := &api.Server{
		Auth: api.AuthNone, MaxClients: 4, Log: slog.New(slog.DiscardHandler), Hub: api.NewHub(1024),
		NotReady: func() []string { return nil }, Books: func() api.Books { return api.Books{} }, Limits: api.DefaultQueryLimits(),
	}
	s.Engine = &memory{s.Hub}
	h := httptest.NewServer(s.Handler())
	defer h.Close()
	now := time.Now()
	for id := range uint64(3) {
		s.Hub.Publish([]flow.Record{refused(id+1, now.Add(time.Duration(id)*time.Second-time.Minute))})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs screen
	env := Env{Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Now: time.Now}
	done := make(chan int)
	go func() {
		done <- Run(ctx, env, []string{"weirctl", "observe", "--last", "2", "--follow", "--server", h.URL, "outcome = refused"})
	}()
	eventually(t, "the history", func() bool { return strings.Count(out.String(), "REFUSED x2") == 1 })
	// What the history showed comes again, and 50 new ones in one batch.
	batch := []flow.Record{refused(3, now.Add(2*time.Second-time.Minute))}
	for id := range uint64(50) {
		batch = append(batch, refused(100+id, now))
	}
	s.Hub.Publish(batch)
	eventually(t, "the live flows", func() bool { return strings.Contains(out.String(), "REFUSED x50") })
	cancel()
	if code := <-done; code != ExitOK {
		t.Errorf("status %d: %s", code, errs.String())
	}
	if n := strings.Count(out.String(), "\n"); n != 2 || !strings.HasPrefix(errs.String(), "52 flows;") {
		t.Errorf("%d lines, %q:\n%s", n, errs.String(), out.String())
	}
}
