package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// rowsOf is an Engine that finds so many connections, a millisecond apart, and keeps none.
type rowsOf struct {
	n     int           // below zero for ever
	wait  time.Duration // before the first
	found atomic.Int64
	ended chan error // what ended the search; nil for nobody
}

func (e *rowsOf) Answer(ctx context.Context, a *query.Answer) (err error) {
	if e.ended != nil {
		defer func() { e.ended <- err }()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(e.wait):
	}
	r := told(1, "cart", "ok", 100)
	for i := 0; i != e.n; i++ {
		r.SetConnID(uint64(i))
		r.SetEnd(a.Until - int64(i) - 1)
		e.found.Add(1)
		a.Scanned.Rows++
		if err := a.Add(0, &r); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// exported asks for a list of any length, in a form.
func exported(t *testing.T, u, token, accept string, v url.Values) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u+"/api/v1/query?"+v.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// long asks as lines and gives the rows and the last line.
func long(t *testing.T, u, q string, limit int) (rows []string, tail Tail) {
	t.Helper()
	code, _, body := exported(t, u, "", linesMedia, soon(q, limit))
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", q, code, body)
	}
	lines := strings.Split(strings.TrimSpace(body), "\n")
	var last TailLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	for _, l := range lines[1 : len(lines)-1] {
		var r query.Row
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, fmt.Sprint(r.Values))
	}
	if last.Weir.Rows != len(rows) || !last.Weir.End {
		t.Errorf("%s: %d rows, the last line says %+v", q, len(rows), last.Weir)
	}
	return rows, last.Weir
}

func soon(q string, limit int) url.Values {
	return url.Values{"q": {q}, "limit": {fmt.Sprint(limit)}, "since": {"2h"}, "until": {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}}
}

// three are the aggregators of a cluster, of which the first asks the others; recs are
// spread over them.
func three(t *testing.T, recs []flow.Record) (*Server, *httptest.Server) {
	t.Helper()
	first, h := server(t, 8)
	parts := make([]*memory, 3)
	for i := range parts {
		parts[i] = &memory{}
	}
	for i := range recs {
		m := parts[recs[i].ConnID%3]
		m.recs = append(m.recs, recs[i])
	}
	for i, m := range parts {
		s, own := first, h
		if i > 0 {
			s, own = server(t, 8)
			first.Peers = append(first.Peers, Peer{Name: fmt.Sprintf("peer-%d", i), URL: own.URL, Client: own.Client()})
		}
		s.Limits, s.Engine = DefaultQueryLimits(), m
		s.Limits.Answer.Rows = 10
	}
	return first, h
}

func manyTold(n int) (recs []flow.Record) {
	now := time.Now().UnixMilli()
	for i := range n {
		r := told(uint64(i), []string{"cart", "checkout", "payments"}[i%3], []string{"ok", "refused"}[i%2], uint64(i))
		r.SetEnd(now - int64(i/4)*7) // some end together
		recs = append(recs, r)
	}
	return recs
}

// TestLongLists: lists of more rows than may be held come whole, in order, from all
// aggregators, as lines and as CSV, and the last line says what they rest on.
func TestLongLists(t *testing.T) {
	recs := manyTold(500)
	_, h := three(t, recs)
	var want []string
	for i := range recs {
		if recs[i].Outcome == flow.OutcomeOK {
			want = append(want, fmt.Sprintf("[%s %d]", recs[i].Text(flow.FConnID), recs[i].BytesDelta))
		}
	}
	want[0] = strings.Replace(want[0], " 0]", " <nil>]", 1) // nothing was counted
	const q = "outcome = ok | fields conn_id, bytes"
	rows, tail := long(t, h.URL, q, 0)
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	if tail.Cut || tail.Failed || tail.Scanned.Rows != 500 || len(tail.Partial)+len(tail.Notes) != 0 {
		t.Errorf("%+v", tail)
	}
	if rows, tail = long(t, h.URL, q, 25); cmp.Diff(want[:25], rows) != "" || !tail.Cut || tail.Failed || tail.Why != "there are more rows than the limit of 25" {
		t.Errorf("%d rows, %+v", len(rows), tail)
	}
	if rows, tail = long(t, h.URL, q, 250); len(rows) != 250 || tail.Cut {
		t.Errorf("as many as there are: %d rows, %+v", len(rows), tail)
	}
	if rows, tail = long(t, h.URL, q+" | limit 33", 0); cmp.Diff(want[:33], rows) != "" || tail.Cut {
		t.Errorf("%d rows, %+v", len(rows), tail)
	}
	if rows, _ = long(t, h.URL, q+" | sort end desc", 0); cmp.Diff(want, rows) != "" {
		t.Errorf("sorted by end: %d rows", len(rows))
	}
	code, header, body := exported(t, h.URL, "", csvMedia, soon(q, 0))
	table, last, _ := strings.Cut(body, "\n# ")
	cells, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil || code != http.StatusOK || len(cells) != 251 || fmt.Sprint(cells[0], cells[5]) != fmt.Sprintf("[conn_id bytes] %s", want[4]) {
		t.Errorf("%d %v: %d rows of CSV, %v", code, err, len(cells), cells[:min(6, len(cells))])
	}
	if !strings.HasPrefix(last, `{"weir":{"end":true,"rows":250,`) || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
		t.Errorf("the last line is %s, header %v", last, header)
	}
	for _, c := range []struct {
		accept, q, want string
		limit           int
	}{
		{jsonMedia, q, "at most 10 rows: ask for them as lines", 0},
		{linesMedia, q + " | sort bytes desc", "sort by bytes: all connections would have to be kept", 0},
		{linesMedia, q, "is no number of rows", -3},
	} {
		if code, _, body := exported(t, h.URL, "", c.accept, soon(c.q, c.limit)); code != http.StatusBadRequest || !strings.Contains(body, c.want) {
			t.Errorf("%s, limit %d: %d %s", c.q, c.limit, code, body)
		}
	}
}

// TestLongGroups: all groups come where they are asked for, in CSV with what was not counted.
func TestLongGroups(t *testing.T) {
	_, h := three(t, manyTold(120))
	if rows, tail := long(t, h.URL, "| stats conns by conn_id", 0); len(rows) != 120 || tail.Cut {
		t.Errorf("%d groups, %+v", len(rows), tail)
	}
	if rows, tail := long(t, h.URL, "| stats conns by conn_id", 50); len(rows) != 50 || !tail.Cut || tail.Why == "" {
		t.Errorf("%d groups, %+v", len(rows), tail)
	}
	_, _, body := exported(t, h.URL, "", csvMedia, soon("| stats conns, sum(bytes) by src.workload | top 1", 0))
	got, _, _ := strings.Cut(body, "\n# ")
	if want := "src.workload,conns,sum(bytes),sum(bytes) uncounted\nDeployment/cart,40,2340,1\nother,80,4800,0"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestLongListEndsWithItsClient: one who goes ends the search, here and at the peers; and
// one who takes nothing holds it up, keeps little, and is cut off.
func TestLongListEndsWithItsClient(t *testing.T) {
	for name, stall := range map[string]time.Duration{"gone": time.Minute, "slow": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			s, h := server(t, 8)
			peer, ph := server(t, 8)
			engines := []*rowsOf{{n: -1, ended: make(chan error, 1)}, {n: -1, ended: make(chan error, 1)}}
			s.Limits, s.Engine = DefaultQueryLimits(), engines[0]
			peer.Limits, peer.Engine = DefaultQueryLimits(), engines[1]
			s.Limits.Stall = stall
			s.Peers = []Peer{{Name: "peer", URL: ph.URL, Client: ph.Client()}}
			bare := httptest.NewServer(s.Handler()) // which checks no answers, and so keeps none
			t.Cleanup(bare.Close)
			h.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, bare.URL+"/api/v1/query?limit=0", nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			br := bufio.NewReader(res.Body)
			for range 100 {
				if _, err := br.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			if name == "gone" {
				cancel()
			}
			for i, e := range engines {
				select {
				case err := <-e.ended:
					if err == nil {
						t.Errorf("engine %d ended by itself", i)
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("engine %d still searches", i)
				}
			}
			// What was found is what the sockets took, far from all.
			if n := engines[0].found.Load(); n > 500_000 {
				t.Errorf("%d rows were found for a client that took 100", n)
			}
			deadline := time.Now().Add(30 * time.Second)
			for s.exports.Load()+peer.partsOf.Load() > 0 && time.Now().Before(deadline) {
				time.Sleep(5 * time.Millisecond)
			}
			if s.exports.Load()+peer.partsOf.Load() != 0 {
				t.Error("a place was not given back")
			}
		})
	}
}

// TestLongListsHaveLimits: places for them are few, and a search that takes too long ends and says so.
func TestLongListsHaveLimits(t *testing.T) {
	s, h := server(t, 8)
	e := &rowsOf{n: 20, wait: time.Hour, ended: make(chan error, 4)}
	s.Limits, s.Engine = DefaultQueryLimits(), e
	s.Limits.Exports, s.Limits.Export = 1, 2*time.Second
	done := make(chan Tail, 1)
	go func() {
		_, tail := long(t, h.URL, "", 0)
		done <- tail
	}()
	for s.exports.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if code, _, body := exported(t, h.URL, "", csvMedia, soon("", 0)); code != http.StatusTooManyRequests || !strings.Contains(body, "raise api.maxExports") {
		t.Errorf("one too many: %d %s", code, body)
	}
	if tail := <-done; !tail.Cut || !tail.Failed || !strings.HasPrefix(tail.Why, "it took longer than 2s: take a shorter range") {
		t.Errorf("%+v", tail)
	}
	s.Limits.Export = time.Minute
	s.Engine = &failing{}
	if _, tail := long(t, h.URL, "", 0); !tail.Failed || tail.Why != "too many groups" {
		t.Errorf("%+v", tail)
	}
}

// dying answers as an aggregator does, and breaks off after so many lines; it hangs
// where they are none.
func dying(t *testing.T, lines int) *httptest.Server {
	t.Helper()
	s, _ := server(t, 8)
	s.Limits, s.Engine = DefaultQueryLimits(), &rowsOf{n: 1000}
	held := make(chan struct{})
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lines == 0 {
			<-held
			return
		}
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		for i, line := range slices.Collect(bytes.Lines(rec.Body.Bytes())) {
			if i == lines {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(line)
		}
	}))
	t.Cleanup(func() { close(held); h.Close() })
	return h
}

// TestPeersFailAmidAList: the rows of a peer that dies are there as far as they came, and
// the last line names it; so it does one that never answers, and one that says it failed.
func TestPeersFailAmidAList(t *testing.T) {
	s, h := server(t, 8)
	s.Limits, s.Engine = DefaultQueryLimits(), &rowsOf{n: 1000}
	busy, bh := server(t, 8)
	busy.Limits, busy.Engine, busy.aliveEvery = DefaultQueryLimits(), &rowsOf{n: 10, wait: 4 * time.Second}, 50*time.Millisecond
	broken, brokenH := server(t, 8)
	broken.Limits, broken.Engine = DefaultQueryLimits(), &failing{}
	for _, c := range []struct {
		name, want string
		h          *httptest.Server
		rows       int
		patience   time.Duration
	}{
		{"dies", "its answer broke off after 128 rows, which are here: unexpected EOF", dying(t, 150), 1128, time.Minute},
		{"hangs", "it sent nothing for 1s: is it hung, or cut off from here?", dying(t, 0), 1000, 250 * time.Millisecond},
		{"fails", "it says: too many groups", brokenH, 1000, time.Minute},
		{"busy", "", bh, 1010, 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Peers = []Peer{{Name: c.name, URL: c.h.URL, Client: c.h.Client(), Patience: c.patience}}
			rows, tail := long(t, h.URL, "", 0)
			if c.want == "" {
				if len(rows) != c.rows || len(tail.Partial) > 0 {
					t.Errorf("%d rows, %+v", len(rows), tail)
				}
				return
			}
			if tail.Failed || len(tail.Partial) != 1 || tail.Partial[0].Name != c.name || *tail.Partial[0].Share != 0.5 || tail.Partial[0].Error != c.want {
				t.Errorf("%+v", tail)
			}
			if len(rows) != c.rows {
				t.Errorf("%d rows, want %d", len(rows), c.rows)
			}
		})
	}
}
