package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/ledger"
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
		s.Engine, s.Limits.Timeout = nil, patience
		s.SetLong(inClickHouse(t, srv, fmt.Sprintf("world_%d", i), world))
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

// patience is what a query may take on a machine that does much beside it.
const patience = 10 * time.Minute

// TestLongHistory: a range that begins before the built-in history is answered from
// ClickHouse as by a built-in history that has all of it, whatever is asked for and by whom.
// What is not told yet, waits for ClickHouse, or came there while it was asked counts once.
func TestLongHistory(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	rng := rand.New(rand.NewPCG(11, 12))
	w := querytest.Scatter(rng, querytest.Records(rng, 900))
	if n := min(len(w.Told)-len(w.Stored), len(w.Sights), len(w.Passed), len(w.Waiting)+len(w.Stored)-len(w.Told)); n < 20 {
		t.Fatalf("only %d records are in some place: this proves little", n)
	}
	slices.SortFunc(w.Told, byEnd)
	recent := w.Told[len(w.Told)*4/5:]
	all, short := server(t, w.Told, w.Told, 0), server(t, w.Told, recent, 0)
	short.Limits.Timeout = patience
	all.Live.Publish(w.Sights, time.Now())
	short.SetLong(inClickHouse(t, srv, "weir", w.Stored))
	peer := server(t, w.Told, recent, 0) // another aggregator, which has every other connection
	peer.SetLong(inClickHouse(t, srv, "weir", nil))
	for _, list := range [][]flow.Record{w.Waiting, w.Sights, w.Passed} {
		for i := range list {
			s := short
			if list[i].ConnID%2 == 0 {
				s = peer
			}
			s.Live.Publish(list[i:i+1], time.Now())
		}
	}
	other := httptest.NewServer(peer.Handler())
	defer other.Close()
	short.Peers = []api.Peer{{Name: "peer", URL: other.URL, Client: other.Client(), Token: func() (string, error) { return wholeToken, nil }}}
	a, b := all.Handler(), short.Handler()
	since, until := fmt.Sprint(querytest.Base-2*querytest.Span), fmt.Sprint(querytest.Base+2*querytest.Span)
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
		for _, q := range []string{"| stats conns, active, sum(bytes), sum(packets)", "| stats active, sum(bytes), max(reverse.bytes) by outcome every 1m", "has start | fields conn_id, start, end, first, bytes | sort bytes desc"} {
			same("query", token, url.Values{"q": {q}})
		}
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

	// Without the peer's the answer says who is missing; the peer tells nobody else.
	v := url.Values{"q": {"| stats active"}, "since": {since}, "until": {until}, "part": {"true"}, "live": {"true"}}
	if code, body := call(t, peer.Handler(), shopToken, "query", v); code != http.StatusBadRequest {
		t.Errorf("one who sees the shop asks for whole records: %d %s", code, body)
	}
	other.Close()
	v.Del("part")
	v.Del("live")
	if _, body := call(t, b, wholeToken, "query", v); !strings.Contains(body, `"partial":[{"name":"peer"`) || !strings.Contains(body, "answered by ClickHouse") {
		t.Errorf("without the peer: %s", body)
	}
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
	s.SetLong(inClickHouse(t, srv, "weir", recs))
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

// archive is an aggregator with a short history and two databases, of the first 50 and of
// the first 150 of recs.
type archive struct {
	*longer
	t    *testing.T
	srv  *testenv.ClickHouse
	recs []flow.Record
	cfg  *config.Aggregator
}

func newArchive(t *testing.T) *archive {
	t.Helper()
	rng := rand.New(rand.NewPCG(15, 16))
	a := &archive{t: t, srv: testenv.StartClickHouse(t), recs: querytest.Records(rng, 200), cfg: config.DefaultAggregator()}
	slices.SortFunc(a.recs, byEnd)
	s := server(t, a.recs, a.recs[190:], 0)
	s.Limits.Timeout = patience
	a.cfg.DataDir, a.cfg.Sinks = t.TempDir(), nil
	for name, n := range map[string]int{"few": 50, "many": 150} {
		inClickHouse(t, a.srv, name, a.recs[:n])
	}
	f, err := newFanout(a.cfg, slog.New(slog.DiscardHandler), ledger.NewBook(), prometheus.NewRegistry(), newCanaries())
	if err != nil {
		t.Fatal(err)
	}
	if a.longer, err = newLonger(s, a.with("few"), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.reader.Close() })
	return a
}

// with is a configuration with a sink to a database.
func (a *archive) with(database string) *config.Aggregator {
	c := *a.cfg
	sink := config.Sink{Name: "archive", Kind: "clickhouse", ClickHouse: config.ClickHouseSink{Hosts: []string{a.srv.Addr}}}
	sink.ClickHouse.SetDefaults()
	sink.ClickHouse.Database = database
	c.Sinks = []config.Sink{sink}
	return &c
}

// ask expects the connections of records, from ClickHouse or not.
func (a *archive) ask(of []flow.Record, clickHouse bool) {
	a.t.Helper()
	_, body := call(a.t, a.web.Handler(), wholeToken, "query", url.Values{
		"q": {"canary = true or not canary = true | stats active"}, "since": {fmt.Sprint(querytest.Base - querytest.Span)}, "until": {fmt.Sprint(querytest.Base + 2*querytest.Span)},
	})
	want := fmt.Sprintf(`{"values":[%d]}`, len(query.Fold(of, querytest.Base-querytest.Span, querytest.Base+2*querytest.Span)))
	if !strings.Contains(body, want) || strings.Contains(body, "partial") || strings.Contains(body, "answered by ClickHouse (sink archive)") != clickHouse {
		a.t.Errorf("want %s, of ClickHouse: %v: %s", want, clickHouse, body)
	}
}

// moves takes a configuration up and says whether that changes anything.
func (a *archive) moves(cfg *config.Aggregator, want bool) {
	a.t.Helper()
	if changed, err := a.take(cfg); changed != want || err != nil {
		a.t.Errorf("changed %v, %v", changed, err)
	}
}

// TestLongHistoryIsReloaded: a reload gives queries another database, or none; what is as
// it was keeps its connections, and a database that cannot be is refused before any change.
func TestLongHistoryIsReloaded(t *testing.T) {
	a := newArchive(t)
	a.ask(a.recs[:50], true)
	before := a.reader
	a.moves(a.with("few"), false)
	if a.reader != before {
		t.Error("the same again has another reader")
	}
	a.moves(a.with("many"), true)
	a.ask(a.recs[:150], true)
	if _, err := before.Begins(t.Context()); err == nil {
		t.Error("the reader before is asked still")
	}
	bad := a.with("many")
	bad.Sinks[0].ClickHouse.Hosts = nil
	if err := a.check(bad); err == nil {
		t.Error("a sink without a host passes")
	}
	none := a.with("many")
	none.History.Longer = "none"
	if late := differs(a.cfg, none); slices.Contains(late, "history") {
		t.Errorf("a change of history.longer needs a restart: %v", late)
	}
	a.moves(none, true)
	a.ask(a.recs[190:], false)
	a.moves(a.with("few"), true)
	a.ask(a.recs[:50], true)
}

// TestWrittenIsNotLive: what the sink's Runner says it wrote is not live for ClickHouse any
// more; what another sink wrote, or this one did not, is.
func TestWrittenIsNotLive(t *testing.T) {
	a := newArchive(t)
	told := a.recs[60]
	told.SetRecords(1)
	both := append(a.recs[:50:50], told)
	for _, step := range []struct {
		sink string
		err  error
		want []flow.Record
	}{{"other", nil, both}, {"archive", errors.New("down"), both}, {"archive", nil, a.recs[:50]}} {
		a.live.Told([]flow.Record{told}, time.Now())
		a.sinks.tried(step.sink)([]flow.Record{told}, step.err)
		a.ask(step.want, true)
	}
}
