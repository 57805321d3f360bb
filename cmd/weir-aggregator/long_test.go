package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/clickhouse"
)

// inClickHouse writes records to a database of their own and gives it as a history.
func inClickHouse(t *testing.T, srv *testenv.ClickHouse, database string, recs []flow.Record) api.Long {
	t.Helper()
	cfg := clickhouse.DefaultConfig()
	cfg.Hosts, cfg.Database, cfg.Retention = []string{srv.Addr}, database, 0
	sink, err := clickhouse.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sink.Close() }()
	if _, _, err := sink.Resume(t.Context(), "spool"); err != nil {
		t.Fatal(err)
	}
	if err := sink.WriteAt(t.Context(), 0, recs); err != nil {
		t.Fatal(err)
	}
	r, err := clickhouse.NewReader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return long{r, func() uint64 { return 0 }}
}

// TestConfinedCallersLearnNothingOfClickHouse is TestConfinedCallersLearnNothing where
// all answers come from ClickHouse.
func TestConfinedCallersLearnNothingOfClickHouse(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	rng := rand.New(rand.NewPCG(9, 10))
	recs := querytest.Records(rng, 500)
	var sites [2]http.Handler
	for i, world := range [][]flow.Record{recs, otherwise(rng, recs)} {
		s := server(t, world, nil, 30)
		s.Engine, s.Long = nil, inClickHouse(t, srv, fmt.Sprintf("world_%d", i), world)
		sites[i] = s.Handler()
		defer func() {
			if s.Stats.LongQueries.Load() < 50 {
				t.Errorf("%d queries were answered by ClickHouse: this proves little", s.Stats.LongQueries.Load())
			}
		}()
	}
	learnNothing(t, rng, sites[0], sites[1], 60)
}

func byEnd(a, b flow.Record) int { return int(a.End - b.End) }

// TestLongHistory: a range that begins before the built-in history is answered from
// ClickHouse as by a built-in history that has all of it, whatever is asked for and by whom.
func TestLongHistory(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	rng := rand.New(rand.NewPCG(11, 12))
	recs := querytest.Records(rng, 500)
	slices.SortFunc(recs, byEnd)
	all, short := server(t, recs, recs, 0), server(t, recs, recs[400:], 0)
	short.Long = inClickHouse(t, srv, "weir", recs)
	a, b := all.Handler(), short.Handler()
	since, until := fmt.Sprint(querytest.Base-2*querytest.Span), fmt.Sprint(querytest.Base+querytest.Span)
	same := func(path, token string, v url.Values) {
		t.Helper()
		v.Set("since", since)
		v.Set("until", until)
		before := short.Stats.LongQueries.Load()
		code, x := call(t, a, token, path, v)
		code2, y := call(t, b, token, path, v)
		x, y = plain(t, x), plain(t, y)
		if code != http.StatusOK || code != code2 || x != y {
			t.Errorf("%s %s: %d and %d\n%s", path, v, code, code2, cmp.Diff(x, y))
		}
		if short.Stats.LongQueries.Load() == before {
			t.Errorf("%s %s: it was not answered from ClickHouse", path, v)
		}
	}
	for _, token := range []string{wholeToken, shopToken} {
		for range 15 {
			q := querytest.Query(rng)
			if q.Stats() == nil && token == shopToken {
				continue // which of two that ended at once comes first is not told
			}
			same("query", token, url.Values{"q": {query.Format(q)}})
		}
		for _, level := range []string{"namespace", "pod"} {
			same("map", token, url.Values{"level": {level}, "compare": {"true"}})
		}
		same("findings", token, url.Values{})
		same("why", token, url.Values{"src": {"shop/cart"}, "dst": {"bank/payments"}})
		same("complete", token, url.Values{"text": {"src.pod = "}})
	}
	same("differences", wholeToken, url.Values{"q": {"outcome != ok"}})
}

// plain leaves out of an answer what may differ: what was scanned, and the notes.
func plain(t *testing.T, body string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(body) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if w, ok := v["weir"].(map[string]any); ok {
			delete(w, "scanned")
		}
		delete(v, "scanned")
		delete(v, "notes")
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return strings.Join(out, "\n")
}

// TestLongHistoryDies: while ClickHouse is down the built-in history answers, and the
// answer says who is missing; once it lives the answer is whole.
func TestLongHistoryDies(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	rng := rand.New(rand.NewPCG(13, 14))
	recs := querytest.Records(rng, 200)
	slices.SortFunc(recs, byEnd)
	s := server(t, recs, recs[150:], 0)
	s.Long = inClickHouse(t, srv, "weir", recs)
	h := s.Handler()
	ask := func() (int, string) {
		return call(t, h, wholeToken, "query", url.Values{
			"q": {"canary = true or not canary = true | stats active"}, "since": {fmt.Sprint(querytest.Base - querytest.Span)}, "until": {fmt.Sprint(querytest.Base + 2*querytest.Span)},
		})
	}
	_, whole := ask()
	if strings.Contains(whole, "partial") || !strings.Contains(whole, "answered by ClickHouse") {
		t.Fatal(whole)
	}
	srv.Kill()
	code, body := ask()
	if code != http.StatusOK || !strings.Contains(body, `"partial":[{"name":"ClickHouse (sink clickhouse)","error":"`) {
		t.Errorf("%d %s", code, body)
	}
	srv.Start(t)
	s.ForgetLong()
	if _, again := ask(); again != whole {
		t.Errorf("after it came back:\n%s", cmp.Diff(whole, again))
	}
}
