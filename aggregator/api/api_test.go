package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

func rec(conn uint64, port uint16) flow.Record {
	var r flow.Record
	r.SetEnd(time.Now().UnixMilli())
	r.SetSrcIP(netip.MustParseAddr("10.0.0.1"))
	r.SetDstIP(netip.MustParseAddr("10.0.0.2"))
	r.SetDstPort(port)
	r.SetProto(6)
	r.SetConnID(conn)
	return r
}

func server(t *testing.T, ring int) (*Server, *httptest.Server) {
	t.Helper()
	s := &Server{
		Auth: AuthNone, MaxClients: 2, Log: slog.New(slog.DiscardHandler), Hub: NewHub(ring),
		Books: func() Books { return Books{Stages: []ledger.Line{{Stage: "collect"}}} },
		Minutes: func(last int) []ledger.MinuteBook {
			if last == 60 {
				return nil
			}
			return []ledger.MinuteBook{{Process: fmt.Sprintf("node-%d", last), Stages: []ledger.MinuteLine{}}}
		},
		NotReady: func() []string { return nil },
	}
	h := httptest.NewServer(described(t).Watch(s.Handler(), func(err error) { t.Error(err) }))
	t.Cleanup(h.Close)
	return s, h
}

// ports reads the dst.port of each flow and the notes of a stream.
func ports(t *testing.T, body io.Reader) (got []int, notes []NoteBody) {
	t.Helper()
	sc := bufio.NewScanner(body)
	for sc.Scan() {
		if strings.HasPrefix(sc.Text(), `{"weir":`) {
			var n Note
			if err := json.Unmarshal(sc.Bytes(), &n); err != nil {
				t.Fatal(err)
			}
			notes = append(notes, n.Weir)
			continue
		}
		var r flow.Record
		if err := flow.ParseJSON(sc.Bytes(), &r); err != nil {
			t.Fatalf("%v in %s", err, sc.Text())
		}
		got = append(got, int(r.DstPort))
	}
	return got, notes
}

func get(t *testing.T, u string) (int, string) {
	t.Helper()
	res, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestBacklog(t *testing.T) {
	s, h := server(t, 8)
	s.Hub.Publish([]flow.Record{rec(1, 1), rec(2, 2), rec(1, 3), rec(3, 4), rec(4, 5)})
	for _, c := range []struct {
		query string
		want  []int
	}{
		{"last=100", []int{2, 3, 4, 5}}, // of connection 1 only the newest record
		{"last=2", []int{4, 5}},
		{"last=2&where=!port%3D5", []int{3, 4}},
		{"last=9&query=port+%3E+2+not+port+in+(3,4)", []int{5}},
		{"since=1h", []int{2, 3, 4, 5}},
		{"last=9&since=2100-01-01T00:00:00Z", nil},
		{"", nil},
	} {
		code, body := get(t, h.URL+"/api/v1/flows?"+c.query)
		got, notes := ports(t, strings.NewReader(body))
		if d := cmp.Diff(c.want, got); code != 200 || d != "" {
			t.Errorf("%s: %d %s", c.query, code, d)
		}
		if d := cmp.Diff([]NoteBody{{End: true, Sent: uint64(len(c.want))}}, notes); d != "" {
			t.Errorf("%s: %s", c.query, d)
		}
	}
	for i := range 20 {
		s.Hub.Publish([]flow.Record{rec(uint64(100+i), uint16(100+i))})
	}
	_, body := get(t, h.URL+"/api/v1/flows?last=100")
	got, _ := ports(t, strings.NewReader(body))
	if d := cmp.Diff([]int{112, 113, 114, 115, 116, 117, 118, 119}, got); d != "" {
		t.Error("the ring keeps the newest: " + d)
	}
}

func TestFollow(t *testing.T) {
	s, h := server(t, 64)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", h.URL+"/api/v1/flows?follow=true&where="+url.QueryEscape("port=443"), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	s.Hub.Publish([]flow.Record{rec(1, 443), rec(2, 80), rec(3, 443)})
	sc := bufio.NewScanner(res.Body)
	for i := range 2 {
		if !sc.Scan() || !strings.Contains(sc.Text(), `"dst.port":443`) {
			t.Fatalf("line %d: %q", i, sc.Text())
		}
	}
	cancel()
	for range 100 {
		if s.Streams() == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the stream stayed after its client left")
}

// TestOvertaken: a reader that the ring has overtaken learns how many went by.
func TestOvertaken(t *testing.T) {
	h := NewHub(4)
	for i := range 10 {
		h.Publish([]flow.Record{rec(uint64(i), uint16(i))})
	}
	buf := make([]flow.Record, 3)
	n, lost, next, _ := h.Read(1, buf)
	if n != 3 || lost != 5 || next != 9 || buf[0].DstPort != 6 {
		t.Errorf("n=%d lost=%d next=%d first=%d", n, lost, next, buf[0].DstPort)
	}
	n, lost, next, more := h.Read(next, buf)
	if n != 1 || lost != 0 || next != 10 {
		t.Errorf("n=%d lost=%d next=%d", n, lost, next)
	}
	select {
	case <-more:
		t.Error("there is no more yet")
	default:
	}
	h.Publish([]flow.Record{rec(0, 0)})
	<-more
}

func TestErrors(t *testing.T) {
	_, h := server(t, 8)
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/api/v1/flows?where=port=x", 400, `where: port: \"x\" is no port`},
		{"/api/v1/flows?query=prot+%3D+6", 400, `query: column 1: \"prot\" is no field: did you mean proto?`},
		{"/api/v1/flows?query=a+|+limit+3", 400, "a filter of single records has no stages"},
		{"/api/v1/flows?where=prot", 400, "write key=value"},
		{"/api/v1/flows?last=-1", 400, "last:"},
		{"/api/v1/flows?since=yesterday", 400, "since:"},
		{"/api/v1/flows?limit=3", 400, `unknown parameter \"limit\"`},
		{"/api/v2/flows", 404, "below /api/v1/"},
		{"/api/v1/ledger", 200, `"stage":"collect"`},
		{"/api/v1/ledger/minutes", 200, "[]"},
		{"/api/v1/ledger/minutes?last=3", 200, `"process":"node-3"`},
		{"/api/v1/ledger/minutes?last=0", 400, "between 1 and 1440"},
		{"/api/v1/ledger/minutes?last=x", 400, "between 1 and 1440"},
		{"/api/v1/fields", 200, `"name":"outcome"`},
		{"/api/v1/health", 200, `"ready":true`},
		{"/api/v1/version", 200, `"version":`},
	} {
		code, body := get(t, h.URL+c.path)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s = %d %s, want %d %s", c.path, code, body, c.code, c.want)
		}
	}
}

// TestMethods: a path that is asked by another method says which it takes, and a HEAD of a
// stream waits for nothing.
func TestMethods(t *testing.T) {
	s, _ := server(t, 8)
	s.MaxClients = 1
	h := httptest.NewServer(s.Handler()) // HEAD is not described: it is GET's without the body
	defer h.Close()
	for _, c := range []struct {
		method, path string
		code         int
		allow        string
	}{
		{http.MethodGet, "simulate", http.StatusMethodNotAllowed, "POST"},
		{http.MethodPost, "map", http.StatusMethodNotAllowed, "GET"},
		{http.MethodOptions, "version", http.StatusMethodNotAllowed, "GET"},
		{http.MethodDelete, "query", http.StatusMethodNotAllowed, "GET, POST"},
		{http.MethodPost, "nothing", http.StatusNotFound, ""},
		{http.MethodHead, "version", http.StatusOK, ""},
		{http.MethodHead, "flows?follow=true", http.StatusOK, ""},
		{http.MethodHead, "flows?follow=true", http.StatusOK, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, h.URL+prefix+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("Allow"); res.StatusCode != c.code || got != c.allow {
			t.Errorf("%s %s: %d, Allow %q; want %d, %q", c.method, c.path, res.StatusCode, got, c.code, c.allow)
		}
	}
	if n := s.clients.Load(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
}

func TestAuth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# people\n0123456789abcdef-one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	s, h := server(t, 8)
	s.Auth, s.Tokens = AuthToken, tokens
	ask := func(header, value string) int {
		req, err := http.NewRequest("GET", h.URL+"/api/v1/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set(header, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Error("no security headers")
		}
		return res.StatusCode
	}
	for _, c := range []struct {
		header, value string
		code          int
	}{
		{"", "", 401},
		{"Authorization", "Bearer wrong", 401},
		{"Authorization", "Basic 0123456789abcdef-one", 401},
		{"Authorization", "Bearer 0123456789abcdef-one", 200},
		{"Authorization", "Bearer # people", 401},
	} {
		if got := ask(c.header, c.value); got != c.code {
			t.Errorf("%s: %s = %d, want %d", c.header, c.value, got, c.code)
		}
	}
	// A new token is in force without a restart.
	if err := os.WriteFile(file, []byte("0123456789abcdef-two-longer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens.checked = time.Time{}
	if got := ask("Authorization", "Bearer 0123456789abcdef-two-longer"); got != 200 {
		t.Errorf("new token: %d", got)
	}
	s.Auth = AuthNone
	if got := ask("Origin", "https://evil.example"); got != 403 {
		t.Errorf("another origin: %d", got)
	}
}

// The page's files are for everybody, what they ask for is not; the browser may name
// the page's own origin.
func TestPage(t *testing.T) {
	s := &Server{Auth: AuthToken, Hub: NewHub(1), NotReady: func() []string { return nil }}
	ask := func(path, origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://weir.example"+path, nil)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	if r := ask("/", "http://weir.example"); r.Code != http.StatusOK || !strings.Contains(r.Header().Get("Content-Security-Policy"), "script-src 'self'") {
		t.Errorf("/ gives %d, policy %q", r.Code, r.Header().Get("Content-Security-Policy"))
	}
	for path, want := range map[string]int{"/api/v1/health": 401, "/api/v1/query": 401, "/api/": 401, "/nothing": 404} {
		if r := ask(path, "http://weir.example"); r.Code != want {
			t.Errorf("%s gives %d, want %d", path, r.Code, want)
		}
	}
	for _, origin := range []string{"https://weir.example", "http://weir.example:81", "http://evil.example", "null"} {
		if r := ask("/", origin); r.Code != http.StatusForbidden {
			t.Errorf("a page of %s gets %d", origin, r.Code)
		}
	}
}

func TestTokenFiles(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"empty", "# nothing\n", 0o600, "holds no token"},
		{"short", "secret\n", 0o600, "short:1: a token of 6 characters"},
		{"open", "0123456789abcdef\n", 0o644, "chmod 600"},
	} {
		p := filepath.Join(dir, c.name)
		if err := os.WriteFile(p, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadTokens(p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := LoadTokens(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent file was accepted")
	}
}

func BenchmarkPublish(b *testing.B) {
	h := NewHub(1 << 14)
	recs := make([]flow.Record, 100)
	for i := range recs {
		recs[i] = rec(uint64(i), 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Publish(recs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
}
