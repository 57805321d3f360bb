package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// counted is an Engine, or a Long, of which every connection is one of ns.
type counted struct {
	ns     string
	begins int64
	err    error
	hangs  bool
	asked  int
}

func (c *counted) Begins(context.Context) (int64, error) { return c.begins, nil }
func (c *counted) Name() string                          { return "the long one" }
func (c *counted) Waiting() uint64                       { return 7 }

func (c *counted) Answer(ctx context.Context, a *query.Answer) error {
	c.asked++
	if c.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	var r flow.Record
	r.SetSrcNS(c.ns)
	r.SetFirst(true)
	if err := a.Add(a.Since, &r); err != nil {
		return err
	}
	return c.err
}

// older is counted as a Long.
type older struct{ *counted }

func (o older) Answer(ctx context.Context, a *query.Answer, _ []*flow.Record) error {
	return o.counted.Answer(ctx, a)
}

// TestWhoAnswers: the history here where it reaches, else the long one; where that one
// fails, the history here, and the answer says so.
func TestWhoAnswers(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixMilli() }
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		own, long, since time.Duration // ago
		err              error
		hangs, alone     bool
		extra            string // of the request
		want, not        []string
		code             int
	}{
		"recent":            {own: 7 * day, long: 30 * day, since: time.Hour, want: []string{`["here"`}, not: []string{"long", "partial"}},
		"old":               {own: 7 * day, long: 30 * day, since: 10 * day, want: []string{`["there"`, "answered by the long one", "7 records wait"}, not: []string{`["here"`, "partial", "history begins"}},
		"older":             {own: 7 * day, long: 30 * day, since: 40 * day, want: []string{`["there"`, "the history begins at"}, not: []string{`["here"`}},
		"both young":        {own: time.Hour, long: time.Hour + time.Minute, since: 2 * time.Hour, want: []string{`["here"`}, not: []string{"there"}},
		"nothing there":     {own: time.Hour, since: 2 * time.Hour, want: []string{`["here"`}, not: []string{"there"}},
		"a part":            {own: 7 * day, long: 30 * day, since: 10 * day, extra: "&part=true", want: []string{`here`}, not: []string{"there"}},
		"fails":             {own: 7 * day, long: 30 * day, since: 10 * day, err: errors.New("no route"), want: []string{`["here"`, `"partial":[{"name":"the long one","error":"no route"}]`}, not: []string{"there"}},
		"hangs":             {own: 7 * day, long: 30 * day, since: 10 * day, hangs: true, want: []string{`["here"`, `"partial"`}, not: []string{"there"}},
		"too many":          {own: 7 * day, long: 30 * day, since: 10 * day, err: query.ErrGroups, want: []string{"too many groups"}, code: http.StatusUnprocessableEntity},
		"alone":             {long: 30 * day, since: time.Hour, alone: true, want: []string{`["there"`}},
		"alone, and fails":  {long: 30 * day, since: time.Hour, alone: true, err: errors.New("no route"), want: []string{"the long one: no route"}, code: http.StatusUnprocessableEntity},
		"alone, and a part": {long: 30 * day, since: time.Hour, alone: true, extra: "&part=true", want: []string{"keeps no history"}, code: http.StatusUnprocessableEntity},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := &counted{ns: "here"}, &counted{ns: "there", err: c.err, hangs: c.hangs}
			if c.long > 0 {
				there.begins = ago(c.long)
			}
			s := &Server{Auth: AuthNone, Log: slog.New(slog.DiscardHandler), Limits: DefaultQueryLimits()}
			s.SetLong(older{there})
			s.Limits.Timeout = 2 * time.Second
			if !c.alone {
				s.Engine, s.OwnBegins = here, func() int64 { return ago(c.own) }
			}
			h := s.Handler()
			ask := func() *httptest.ResponseRecorder {
				req := httptest.NewRequest(http.MethodGet, fmt.Sprintf("http://localhost/api/v1/query?q=%%7C+stats+conns+by+src.ns&since=%d%s", ago(c.since), c.extra), nil)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				return w
			}
			w := ask()
			if c.code == 0 {
				c.code = http.StatusOK
			}
			if w.Code != c.code {
				t.Errorf("status %d, want %d", w.Code, c.code)
			}
			for _, x := range c.want {
				if !strings.Contains(w.Body.String(), x) {
					t.Errorf("no %q in %s", x, w.Body)
				}
			}
			for _, x := range c.not {
				if strings.Contains(w.Body.String(), x) {
					t.Errorf("%q in %s", x, w.Body)
				}
			}
			if c.hangs { // the next one does not wait for it again
				before := time.Now()
				ask()
				if there.asked != 1 {
					t.Errorf("it was asked %d times within %v", there.asked, time.Since(before))
				}
			}
		})
	}
}
