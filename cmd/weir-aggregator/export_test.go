package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
)

// largeSite is an aggregator whose history has so many connections, written in its order,
// within 64 MiB of memory.
func largeSite(t *testing.T, from, to uint64) *api.Server {
	t.Helper()
	s := server(t, nil, nil, 0)
	cfg := store.DefaultConfig()
	cfg.Dir, cfg.Memory = t.TempDir(), 64<<20
	var now time.Time
	history, err := store.New(cfg, store.Deps{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = history.Close() })
	h := flowtest.NewHistory()
	recs := make([]flow.Record, 5000)
	for i := from; i < to; i += uint64(len(recs)) {
		for k := range recs {
			h.Record(i+uint64(k), &recs[k])
		}
		now = time.UnixMilli(recs[len(recs)-1].End)
		if err := history.WriteAt(t.Context(), i, recs); err != nil {
			t.Fatal(err)
		}
	}
	if err := history.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Engine, s.OwnBegins = &answers{history, s.Live, query.DefaultLimits()}, history.Begins
	return s
}

// heap is what is reachable, bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAMillionRowsAreNotHeld: a list of all connections of two aggregators comes whole and
// in order, and at no time do both, and the client, hold more than 96 MiB beyond what they
// do at rest, whether the caller sees all or some namespaces.
func TestAMillionRowsAreNotHeld(t *testing.T) {
	each := uint64(500_000)
	if testing.Short() {
		each = 100_000
	}
	a, b := largeSite(t, 0, each), largeSite(t, each, 2*each)
	peer := httptest.NewServer(b.Handler())
	t.Cleanup(peer.Close)
	a.Peers = []api.Peer{{Name: "peer", URL: peer.URL, Client: peer.Client(), Token: func() (string, error) { return wholeToken, nil }}}
	h := httptest.NewServer(a.Handler())
	t.Cleanup(h.Close)
	base := heap()
	for _, c := range []struct {
		token string
		least int
	}{{wholeToken, int(2 * each * 8 / 10)}, {teamToken, int(2 * each / 20)}} {
		rows, most, tail := readAll(t, h.URL, c.token)
		grown := (int64(most) - int64(base)) >> 20
		t.Logf("%s: %d rows, %d records scanned, heap at most %d MiB above %d MiB", c.token, rows, tail.Scanned.Rows, grown, base>>20)
		if tail.Failed || tail.Cut || len(tail.Partial) > 0 || tail.Rows != rows || rows < c.least {
			t.Errorf("%s: %d rows, %+v", c.token, rows, tail)
		}
		if grown > 64+32 {
			t.Errorf("%s: the heap grew by %d MiB", c.token, grown)
		}
	}
}

// readAll reads a list of all connections, and what the heap was at most meanwhile.
func readAll(t *testing.T, u, token string) (rows int, most uint64, tail api.Tail) {
	t.Helper()
	begin := int64(flowtest.HistoryStart)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/api/v1/query?q=%%7C+fields+end,src.ns,dst.pod,bytes&limit=0&since=%d&until=%d", u, begin-3_600_000, begin+86_400_000), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	sc := bufio.NewScanner(res.Body)
	last := "9"
	for n := 0; sc.Scan(); n++ {
		if n%40_000 == 20_000 {
			most = max(most, heap())
		}
		line := sc.Bytes()
		if n == 0 {
			continue
		}
		if bytes.HasPrefix(line, []byte(`{"weir":`)) {
			var x api.TailLine
			if err := json.Unmarshal(line, &x); err != nil {
				t.Fatal(err)
			}
			tail = x.Weir
			continue
		}
		var r struct{ Values [4]any }
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		end, _ := r.Values[0].(string)
		if end > last {
			t.Fatalf("row %d ends at %s, after the one before, %s", n, end, last)
		}
		last = end
		rows++
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return rows, most, tail
}
