package elastic_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/sinks/elastic"
)

// double stands for what the real servers of the tests lack: index lifecycle management,
// the API of data stream lifecycles, and faults by order. It is strict: a request that it
// does not know is a failure of the test.
type double struct {
	*httptest.Server
	t       *testing.T
	version string
	ilm     bool
	stream  bool                            // the data stream is there
	faults  []func(id string) (int, string) // of the items of each _bulk, in turn
	puts    map[string]map[string]any       // what was put, by path
	ids     map[string]int
	info    string
}

func newDouble(t *testing.T, version string) *double {
	t.Helper()
	d := &double{t: t, version: version, puts: map[string]map[string]any{}, ids: map[string]int{}}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	say := func(status int, format string, args ...any) {
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
	switch p := r.URL.Path; {
	case p == "/":
		if d.info != "" {
			say(http.StatusOK, "%s", d.info)
			return
		}
		say(http.StatusOK, `{"version":{"number":%q},"tagline":"You Know, for Search"}`, d.version)
	case p == "/_ilm/status" && d.ilm:
		say(http.StatusOK, `{"operation_mode":"RUNNING"}`)
	case p == "/_ilm/status":
		say(http.StatusBadRequest, `{"error":"no handler found for uri [/_ilm/status] and method [GET]"}`)
	case r.Method == http.MethodPut:
		var body map[string]any
		dec := json.NewDecoder(r.Body)
		if err := dec.Decode(&body); err != nil {
			d.t.Errorf("PUT %s: %v", p, err)
		}
		d.puts[p] = body
		say(http.StatusOK, `{"acknowledged":true}`)
	case r.Method == http.MethodGet && strings.HasPrefix(p, "/_index_template/"):
		say(http.StatusNotFound, `{"error":{"type":"resource_not_found_exception","reason":"none"},"status":404}`)
	case strings.Contains(p, "/_settings/") && (d.stream || len(d.ids) > 0):
		say(http.StatusOK, `{".ds-a-000001":{"settings":{"index.creation_date":"1700000000000"}}}`)
	case strings.Contains(p, "/_settings/"):
		say(http.StatusNotFound, `{"error":{"type":"index_not_found_exception","reason":"none"},"status":404}`)
	case strings.HasSuffix(p, "/_mapping"):
		say(http.StatusOK, `{".ds-a-000001":{"mappings":{}}}`)
	case strings.HasSuffix(p, "/_bulk"):
		d.bulk(w, r)
	default:
		d.t.Errorf("%s %s is not known to the double", r.Method, r.URL)
		say(http.StatusBadRequest, `{"error":"no handler found"}`)
	}
}

// bulk takes documents as the server does: create only, one id once.
func (d *double) bulk(w io.Writer, r *http.Request) {
	zr, err := gzip.NewReader(r.Body)
	if err != nil {
		d.t.Error(err)
		return
	}
	fault := func(string) (int, string) { return 0, "" }
	if len(d.faults) > 0 {
		fault, d.faults = d.faults[0], d.faults[1:]
	}
	type item map[string]any
	var items []item
	failed := false
	lines := bufio.NewScanner(zr)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var action struct {
			Create struct {
				ID string `json:"_id"`
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil || action.Create.ID == "" || !lines.Scan() || !json.Valid(lines.Bytes()) {
			d.t.Errorf("_bulk: %q, %v", lines.Bytes(), err)
			return
		}
		status, typ := fault(action.Create.ID)
		switch {
		case status != 0:
		case d.ids[action.Create.ID] > 0:
			status, typ = http.StatusConflict, "version_conflict_engine_exception"
		default:
			d.ids[action.Create.ID]++
			status = http.StatusCreated
		}
		it := item{"status": status}
		if typ != "" {
			failed = true
			it["error"] = item{"type": typ, "reason": "by order"}
		}
		items = append(items, item{"create": it})
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"errors":%t,"items":`, failed)
	if err := json.NewEncoder(&out).Encode(items); err != nil {
		d.t.Error(err)
	}
	out.WriteString("}")
	_, _ = out.WriteTo(w)
}

// TestItems has 429 for some documents of a request, twice, a document that can never go,
// and a shard that is not there.
func TestItems(t *testing.T) {
	d := newDouble(t, "8.19.0")
	recs := samples(0, 100)
	n := 0
	every := func(m, status int, typ string) func(string) (int, string) {
		return func(string) (int, string) {
			if n++; n%m == 0 {
				return status, typ
			}
			return 0, ""
		}
	}
	d.faults = []func(string) (int, string){every(2, 429, "es_rejected_execution_exception"), every(2, 503, "unavailable_shards_exception"), every(5, 429, "es_rejected_execution_exception")}
	s := newSink(t, config(d.URL, "a"))
	for range 3 {
		wantError(t, s.Write(t.Context(), recs), "by order, for")
	}
	if len(d.ids) != 95 { // 50, of the other 50 half, of the 25 that are left all but 5
		t.Errorf("%d documents after three requests, want 95", len(d.ids))
	}
	if err := s.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	if len(d.ids) != len(recs) {
		t.Errorf("%d documents, want %d", len(d.ids), len(recs))
	}
	// A disk that is full blocks the index: nothing is lost.
	d.faults = []func(string) (int, string){func(string) (int, string) { return 429, "cluster_block_exception" }, func(string) (int, string) { return 403, "cluster_block_exception" }}
	for range 2 {
		wantError(t, s.Write(t.Context(), samples(100, 10)), "takes no writes", "make room")
	}
	if err := s.Write(t.Context(), samples(100, 10)); err != nil || len(d.ids) != 110 {
		t.Errorf("%v, %d documents, want 110", err, len(d.ids))
	}
}

// TestRetention has servers with and without what lets documents go.
func TestRetention(t *testing.T) {
	at := func(m map[string]any, path string) any {
		var v any = m
		for k := range strings.SplitSeq(path, "/") {
			o, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = o[k]
		}
		return v
	}
	for _, c := range []struct {
		name, version, by string
		ilm, stream       bool
		format            string
		path, key, want   string
	}{
		{"lifecycle", "8.19.0", "auto", true, false, elastic.FormatFlows, "/_index_template/a", "template/lifecycle/data_retention", "3d"},
		{"lifecycle is renewed", "8.19.0", "auto", true, true, elastic.FormatFlows, "/_data_stream/a/_lifecycle", "data_retention", "3d"},
		{"before lifecycles", "8.5.0", "auto", true, false, elastic.FormatFlows, "/_ilm/policy/a", "policy/phases/delete/min_age", "3d"},
		{"ilm by wish", "8.19.0", "ilm", true, false, elastic.FormatFlows, "/_component_template/a@settings", "template/settings/index.lifecycle.name", "a"},
		{"ilm of days", "8.19.0", "auto", true, false, elastic.FormatELK, "/_ilm/policy/weir-a", "policy/phases/delete/min_age", "3d"},
		{"neither", "8.5.0", "auto", false, false, elastic.FormatFlows, "/_component_template/a@settings", "template/settings/index.codec", "best_compression"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDouble(t, c.version)
			d.ilm, d.stream = c.ilm, c.stream
			cfg := config(d.URL, "a")
			cfg.Retention, cfg.RetentionBy, cfg.Format = 72*time.Hour, c.by, c.format
			if err := newSink(t, cfg).Write(t.Context(), samples(0, 1)); err != nil {
				t.Fatal(err)
			}
			if got := at(d.puts[c.path], c.key); got != c.want {
				t.Errorf("PUT %s: %s is %v, want %s", c.path, c.key, got, c.want)
			}
			if c.name == "neither" && (d.puts["/_ilm/policy/a"] != nil || at(d.puts["/_index_template/a"], "template/lifecycle") != nil) {
				t.Error("a server without ILM and lifecycles was asked for them")
			}
		})
	}
}

// TestRecognised has servers that are none, too old, or OpenSearch.
func TestRecognised(t *testing.T) {
	for want, info := range map[string]string{
		"elasticsearch 6.8.0 has no data streams": `{"version":{"number":"6.8.0"},"tagline":"You Know, for Search"}`,
		"opensearch 1.3.0: use 2 or newer":        `{"version":{"number":"1.3.0","distribution":"opensearch"}}`,
		"retentionBy: OpenSearch has no ilm":      `{"version":{"number":"2.19.1","distribution":"opensearch"}}`,
		"is neither Elasticsearch nor OpenSearch": `{"hello":"world"}`,
	} {
		d := newDouble(t, "")
		d.info = info
		cfg := config(d.URL, "a")
		cfg.RetentionBy = "ilm"
		wantError(t, newSink(t, cfg).Write(t.Context(), samples(0, 1)), want)
		if len(d.ids) != 0 || len(d.puts) != 0 {
			t.Errorf("%s: something was written before the server was recognised", want)
		}
	}
}

func TestConfig(t *testing.T) {
	good := config("https://es.example:9200", "weir-flows")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*elastic.Config){
		"hosts: missing":                               func(c *elastic.Config) { c.Hosts = nil },
		`hosts[0]: "es:9200" is not a URL`:             func(c *elastic.Config) { c.Hosts = []string{"es:9200"} },
		"a password never stands in the configuration": func(c *elastic.Config) { c.Hosts = []string{"https://u:p@es"} },
		"can be read on the way":                       func(c *elastic.Config) { c.Hosts, c.APIKeyEnv = []string{"http://es"}, "K" },
		"give an API key or a user, not both":          func(c *elastic.Config) { c.APIKeyEnv, c.Username, c.PasswordEnv = "K", "u", "P" },
		"a user and a password go together":            func(c *elastic.Config) { c.Username = "u" },
		"give hosts as https://":                       func(c *elastic.Config) { c.Hosts, c.CAFile = []string{"http://es"}, "ca" },
		`index: "Weir*" is no name`:                    func(c *elastic.Config) { c.Index = "Weir*" },
		"format: \"x\" is none of":                     func(c *elastic.Config) { c.Format = "x" },
		"retention: 1m0s is below 1h":                  func(c *elastic.Config) { c.Retention = time.Minute },
		"requestBytes: 5 is not in":                    func(c *elastic.Config) { c.RequestBytes = 5 },
		`minutes.by[0]: there is no field "x"`:         func(c *elastic.Config) { c.Format, c.Minutes.By = elastic.FormatMinutes, []string{"x"} },
		"does not tell sums apart":                     func(c *elastic.Config) { c.Format, c.Minutes.By = elastic.FormatMinutes, []string{"bytes_delta"} },
	} {
		c := good
		c.Hosts = slices.Clone(good.Hosts)
		change(&c)
		wantError(t, c.Validate(), want)
	}
}
