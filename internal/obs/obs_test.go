package obs

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/version"
)

func TestServer(t *testing.T) {
	reg, err := NewRegistry(version.Info{Version: "v1.2.3", Go: "go1.26"})
	if err != nil {
		t.Fatal(err)
	}
	b := ledger.NewBook()
	b.Stage("read").In(ledger.Amount{Records: 10, Connections: 4, Bytes: 900})
	b.Stage("read").Out(ledger.Amount{Records: 7, Connections: 3, Bytes: 800})
	b.Stage("read").Lost("queue_full", ledger.Amount{Records: 3, Connections: 1, Bytes: 100})
	if err := reg.Add(LedgerMetrics(b)...); err != nil {
		t.Fatal(err)
	}
	hidden := []string{"kube"}
	s := &Server{
		Log: slog.New(slog.DiscardHandler), Registry: reg, Version: version.Info{Version: "v1.2.3"},
		NotReady: func() []string { return hidden },
		State:    map[string]func() any{"ledger": func() any { return b.Snapshot() }},
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/healthz", 200, "ok"},
		{"/livez", 200, "ok"},
		{"/readyz", 503, "not ready: kube"},
		{"/version", 200, `"version": "v1.2.3"`},
		{"/debug/state", 200, `"stage": "read"`},
		{"/debug/pprof/", 404, ""},
		{"/metrics", 200, `weir_ledger_lost_bytes_total{reason="queue_full",stage="read"} 100`},
		{"/metrics", 200, `weir_ledger_records_total{side="out",stage="read"} 7`},
		{"/metrics", 200, `weir_build_info{goversion="go1.26",revision="",version="v1.2.3"} 1`},
	} {
		code, body := get(c.path)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s = %d, want %d with %q in:\n%s", c.path, code, c.code, c.want, body)
		}
	}
	hidden = nil
	if code, body := get("/readyz"); code != 200 {
		t.Errorf("/readyz = %d %s", code, body)
	}
}

func TestDocs(t *testing.T) {
	reg, err := NewRegistry(version.Info{})
	if err != nil {
		t.Fatal(err)
	}
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_x_seconds", Help: "How long \"x\" took."}, []string{"what"})
	if err := reg.Register(h); err != nil {
		t.Fatal(err)
	}
	want := []MetricDoc{
		{"weir_build_info", "Always 1; the labels tell what the binary was built from.", "gauge", []string{"version", "revision", "goversion"}},
		{"weir_x_seconds", `How long "x" took.`, "histogram", []string{"what"}},
	}
	got, err := reg.Docs()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	doc := UpdateDocs("", "b", got[:1])
	doc = UpdateDocs(doc, "a", got[1:])
	if again := UpdateDocs(UpdateDocs(doc, "a", got[1:]), "b", got[:1]); again != doc {
		t.Errorf("not stable:\n%s\n%s", doc, again)
	}
	if !strings.Contains(doc, "\n## a\n\n| metric") || strings.Count(doc, "weir_build_info") != 1 {
		t.Error(doc)
	}
	if err := reg.Add(Metric{Name: "weir_build_info", Help: "again", Read: Value(func() float64 { return 0 })}); err == nil {
		t.Error("a second metric of that name was accepted")
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	l, err := NewLogger(&b, DefaultLogConfig())
	if err != nil {
		t.Fatal(err)
	}
	l.Info("hello", "node", "n1")
	if !strings.HasPrefix(b.String(), `{"time":`) {
		t.Errorf("a buffer is no terminal, so JSON is wanted: %s", b.String())
	}
	for _, c := range []LogConfig{{"loud", "auto"}, {"info", "xml"}} {
		if _, err := NewLogger(&b, c); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%+v: %v does not tell the remedy", c, err)
		}
	}
}
