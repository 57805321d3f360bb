package elastic_test

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/elastic"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

// engines runs the test on a real server of each kind.
func engines(t *testing.T, settings []string, f func(t *testing.T, srv *testenv.Search)) {
	t.Helper()
	for _, kind := range []string{testenv.Elasticsearch, testenv.OpenSearch} {
		t.Run(kind, func(t *testing.T) { f(t, testenv.StartSearch(t, kind, settings...)) })
	}
}

func config(url, index string) elastic.Config {
	c := elastic.DefaultConfig()
	c.Hosts, c.Index, c.Replicas, c.Version = []string{url}, index, 0, "test"
	return c
}

func newSink(t *testing.T, c elastic.Config) sinks.Sink {
	t.Helper()
	s, err := elastic.New(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.(io.Closer).Close() })
	return s
}

// ask is an independent client.
func ask(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// must asks and wants a success, whose body is decoded into out.
func must(t *testing.T, method, url, body string, out any) {
	t.Helper()
	status, answer := ask(t, method, url, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, url, status, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal([]byte(answer), out); err != nil {
		t.Fatalf("%s %s: %v: %s", method, url, err, answer)
	}
}

// count gives the documents of an index, and the number of different ids.
func count(t *testing.T, url, index string) (docs int) {
	t.Helper()
	must(t, "POST", url+"/"+index+"/_refresh", "", nil)
	var out struct{ Count int }
	must(t, "GET", url+"/"+index+"/_count", "", &out)
	return out.Count
}

func samples(from, n int) []flow.Record {
	recs := make([]flow.Record, n)
	for i := range recs {
		recs[i] = flowtest.Sample(uint64(from + i))
	}
	return recs
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not say %q: %v", p, err)
		}
	}
}

// TestEngine has all tests that one server can have beside each other, each on an index of
// its own.
func TestEngine(t *testing.T) {
	engines(t, nil, func(t *testing.T, srv *testenv.Search) {
		t.Helper()
		for name, f := range map[string]func(*testing.T, *testenv.Search){
			"again": testAgain, "values": testValues, "rollover": testRollover, "young": testRolloverAfterKill, "poison": testPoison,
			"conflict": testConflict, "future": testFuture, "blocked": testBlocked, "plain-index": testPlainIndex, "check": testCheck,
			"newfields": testNewFields, "elk": testELK, "elk queries": testELKQueries, "minutes": testMinutes,
		} {
			t.Run(name, func(t *testing.T) { f(t, srv) })
		}
	})
}

func testAgain(t *testing.T, srv *testenv.Search) {
	t.Helper()
	s := newSink(t, config(srv.URL, "again"))
	recs := samples(0, 3000)
	for range 3 { // as if the answer had been lost
		if err := s.Write(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
	}
	// A process that was killed does not know how far it was, and its batches begin elsewhere.
	if err := newSink(t, config(srv.URL, "again")).Write(t.Context(), samples(500, 4000)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, srv.URL, "again"); n != 4500 {
		t.Errorf("%d documents, want 4500", n)
	}
}

// testValues has every field, random; the engine must have indexed each that is there.
func testValues(t *testing.T, srv *testenv.Search) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	recs := make([]flow.Record, 400)
	want := map[string]int{}
	for i := range recs {
		r := &recs[i]
		*r = flowtest.Random(rng)
		r.SetEnd(1_700_000_000_000 + int64(i))
		r.SetID(flow.UUID{1, byte(i >> 8), byte(i)})
		for id := range flow.FieldID(flow.NumFields) {
			if v, ok := r.Uint(id); ok && v > math.MaxInt64 && mapping.Type(id) == "long" {
				r.Has.Clear(id) // what no long holds is testPoison's
			}
			name := mapping.Name(id)
			if v, ok := r.Uint(id); name != "" && r.Has.Has(id) && (!ok || v != 0 || flow.Fields[id].Unit != "bit set") {
				want[name]++
			}
		}
	}
	if err := newSink(t, config(srv.URL, "values")).Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	if n := count(t, srv.URL, "values"); n != len(recs) {
		t.Fatalf("%d documents, want %d", n, len(recs))
	}
	type filter struct {
		Filter struct {
			Exists struct {
				Field string `json:"field"`
			} `json:"exists"`
		} `json:"filter"`
	}
	aggs := map[string]filter{}
	for name := range want {
		var f filter
		f.Filter.Exists.Field = name
		aggs[strings.ReplaceAll(name, ".", "-")] = f
	}
	body, err := json.Marshal(map[string]any{"size": 0, "aggs": aggs})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Aggregations map[string]struct {
			Count int `json:"doc_count"`
		}
	}
	must(t, "POST", srv.URL+"/values/_search", string(body), &got)
	for name, n := range want {
		if c := got.Aggregations[strings.ReplaceAll(name, ".", "-")].Count; c != n {
			t.Errorf("%s is searched in %d documents, want %d", name, c, n)
		}
	}
	// The values themselves, of one record.
	r := samples(0, 1)
	if err := newSink(t, config(srv.URL, "values")).Write(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	count(t, srv.URL, "values")
	for _, query := range []string{
		`{"term":{"src.ip":"10.10.0.0/24"}}`, `{"term":{"dst.port":8080}}`, `{"term":{"service.name":"team-03/server-0003:http"}}`, `{"term":{"evidence":"both_ends"}}`,
		`{"term":{"verdict":"allowed"}}`, `{"term":{"connections":1}}`, `{"range":{"end":{"gte":"2023-11-14T22:13:24.321Z","lte":"2023-11-14T22:13:24.321Z"}}}`,
		`{"term":{"conn_id":"` + r[0].Text(flow.FConnID) + `"}}`, `{"ids":{"values":["` + r[0].Text(flow.FID) + `"]}}`, `{"term":{"outcome":"ok"}}`,
	} {
		var out struct{ Count int }
		must(t, "POST", srv.URL+"/values/_count", `{"query":{"bool":{"filter":[{"term":{"src.pod":"client-0000-x7k2p"}},`+query+`]}}}`, &out)
		if out.Count != 1 {
			t.Errorf("%s finds %d documents, want 1", query, out.Count)
		}
	}
}

// cutter passes requests on, and does not pass back the answers that cut says, though the
// server has carried them out.
func cutter(t *testing.T, to string, cut func(path string) bool) string {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.ErrorLog = log.New(io.Discard, "", 0)
	p.ModifyResponse = func(res *http.Response) error {
		if cut(res.Request.URL.Path) {
			panic(http.ErrAbortHandler)
		}
		return nil
	}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	return srv.URL
}

// testRollover rolls the data stream over between a try whose answer was lost and the next.
func testRollover(t *testing.T, srv *testenv.Search) {
	t.Helper()
	s := newSink(t, config(cutter(t, srv.URL, onlyBulk()), "rollover"))
	recs := samples(0, 500)
	if err := s.Write(t.Context(), recs); err == nil {
		t.Fatal("no error for an answer that was lost")
	}
	must(t, "POST", srv.URL+"/rollover/_rollover", "", nil)
	if err := s.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	if n := count(t, srv.URL, "rollover"); n != 500 {
		t.Errorf("%d documents after a rollover between two tries, want 500", n)
	}
	if err := s.Write(t.Context(), samples(500, 100)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, srv.URL, "rollover"); n != 600 {
		t.Errorf("%d documents, want 600", n)
	}
}

// testRolloverAfterKill has another process send the batch again after the rollover.
func testRolloverAfterKill(t *testing.T, srv *testenv.Search) {
	t.Helper()
	recs := samples(0, 300)
	now := time.Now().UnixMilli()
	for i := range recs {
		recs[i].SetEnd(now)
	}
	for range 3 {
		if err := newSink(t, config(srv.URL, "young")).Write(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
		must(t, "POST", srv.URL+"/young/_rollover", "", nil)
	}
	if n := count(t, srv.URL, "young"); n != len(recs) {
		t.Errorf("%d documents, want %d", n, len(recs))
	}
}

func testPoison(t *testing.T, srv *testenv.Search) {
	t.Helper()
	recs := samples(0, 100)
	recs[10].SetBytesDelta(math.MaxUint64) // more than a long holds
	recs[20].Has.Clear(flow.FEnd)
	long := strings.Repeat("x", 40_000) // more than Lucene takes as a term: kept, not searched
	recs[30].SetSrcLabels(long)
	recs[40].SetSrcNS(strings.Repeat("\xff\x00", 100)) // no UTF-8
	err := newSink(t, config(srv.URL, "poison")).Write(t.Context(), recs)
	un, ok := errors.AsType[*sinks.Undelivered](err)
	if !ok || un.Reason != elastic.LostPoisoned || un.Amount.Records != 2 {
		t.Fatalf("%v, want 2 records that cannot be delivered", err)
	}
	if n := count(t, srv.URL, "poison"); n != 98 {
		t.Errorf("%d documents, want 98", n)
	}
}

// testConflict has a template above Weir's that maps a field otherwise: no record is at
// fault, and none is lost.
func testConflict(t *testing.T, srv *testenv.Search) {
	t.Helper()
	must(t, "PUT", srv.URL+"/_index_template/other", `{"index_patterns":["conflict"],"data_stream":{},"priority":900,"template":{"mappings":{"properties":{"src":{"properties":{"ns":{"type":"long"}}}}}}}`, nil)
	recs := samples(0, 50)
	s := newSink(t, config(srv.URL, "conflict"))
	const says = "src.ns is long and has to be keyword"
	wantError(t, s.Write(t.Context(), recs), "mapping conflict", says, "_rollover")
	wantError(t, newSink(t, config(srv.URL, "conflict")).Write(t.Context(), recs), "mapping conflict", says)
	must(t, "PUT", srv.URL+"/_index_template/other", `{"index_patterns":["conflict"],"data_stream":{},"priority":900,"composed_of":["conflict@mappings"]}`, nil)
	must(t, "POST", srv.URL+"/conflict/_rollover", "", nil)
	if err := s.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	if n := count(t, srv.URL, "conflict"); n != len(recs) {
		t.Errorf("%d documents, want %d", n, len(recs))
	}
}

func testFuture(t *testing.T, srv *testenv.Search) {
	t.Helper()
	must(t, "PUT", srv.URL+"/_index_template/future", `{"index_patterns":["future"],"data_stream":{},"priority":300,"_meta":{"weir":{"layout":99,"fields":500,"by":"9.9"}}}`, nil)
	err := newSink(t, config(srv.URL, "future")).Write(t.Context(), samples(0, 1))
	if !errors.Is(err, elastic.ErrFuture) {
		t.Errorf("%v, want %v", err, elastic.ErrFuture)
	}
	wantError(t, err, "version 99", "run the newer Weir")
}

// testBlocked has an index as a full disk leaves it.
func testBlocked(t *testing.T, srv *testenv.Search) {
	t.Helper()
	s := newSink(t, config(srv.URL, "blocked"))
	if err := s.Write(t.Context(), samples(0, 10)); err != nil {
		t.Fatal(err)
	}
	for _, block := range []string{"index.blocks.read_only_allow_delete", "index.blocks.write"} {
		must(t, "PUT", srv.URL+"/blocked/_settings", `{"`+block+`":true}`, nil)
		wantError(t, s.Write(t.Context(), samples(5, 20)), "takes no writes", "make room")
		must(t, "PUT", srv.URL+"/blocked/_settings", `{"`+block+`":null}`, nil)
		if err := s.Write(t.Context(), samples(5, 20)); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, srv.URL, "blocked"); n != 25 {
		t.Errorf("%d documents, want 25", n)
	}
}

func testPlainIndex(t *testing.T, srv *testenv.Search) {
	t.Helper()
	must(t, "PUT", srv.URL+"/plain-index", "", nil)
	wantError(t, newSink(t, config(srv.URL, "plain-index")).Write(t.Context(), samples(0, 1)), "is an index and no data stream")
}

func testCheck(t *testing.T, srv *testenv.Search) {
	t.Helper()
	cfg := config(srv.URL, "check")
	cfg.Schema = "check"
	s := newSink(t, cfg)
	wantError(t, s.Write(t.Context(), samples(0, 1)), "there is no index template check", "docs/sinks/elasticsearch.md")
	l := mapping.Layout{Index: "check", Shards: 1, Way: mapping.ByNothing, Version: "test"}
	for _, r := range l.Templates() { // as an administrator does
		must(t, "PUT", srv.URL+r.Path, string(r.Body), nil)
	}
	if err := s.Write(t.Context(), samples(0, 1)); err != nil {
		t.Error(err)
	}
}

// testNewFields has a data stream of an older Weir, which lacks fields.
func testNewFields(t *testing.T, srv *testenv.Search) {
	t.Helper()
	must(t, "PUT", srv.URL+"/_index_template/newfields", `{"index_patterns":["newfields"],"data_stream":{},"priority":300,"_meta":{"weir":{"layout":1,"fields":2,"by":"0.1"}},
		"template":{"mappings":{"dynamic":false,"properties":{"@timestamp":{"type":"date","format":"epoch_millis||strict_date_optional_time"},"src":{"properties":{"ns":{"type":"keyword","ignore_above":8191}}}}}}}`, nil)
	must(t, "PUT", srv.URL+"/newfields/_create/1", `{"@timestamp":1}`, nil)
	if err := newSink(t, config(srv.URL, "newfields")).Write(t.Context(), samples(0, 10)); err != nil {
		t.Fatal(err)
	}
	count(t, srv.URL, "newfields")
	var out struct{ Count int }
	must(t, "POST", srv.URL+"/newfields/_count", `{"query":{"term":{"outcome":"ok"}}}`, &out)
	if out.Count != 10 {
		t.Errorf("a field that was added finds %d documents, want 10", out.Count)
	}
}
