package api

import (
	"crypto/tls"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/dashboards/web"
)

// guards are the headers that keep browsers from doing with an answer what they should not.
var guards = []string{
	"Cache-Control", "Content-Security-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Permissions-Policy",
	"Referrer-Policy", "Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "Access-Control-Allow-Origin", "Server",
}

// TestSecurityHeaders: every operation, with success and with each failure, and every part of
// the page has exactly the headers that are right for it, and over TLS that TLS is to
// be kept.
func TestSecurityHeaders(t *testing.T) {
	data := map[string]string{
		"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	}
	page := map[string]string{
		"Cache-Control": "no-cache", "Content-Security-Policy": web.Policy, "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		"Permissions-Policy": "camera=(), geolocation=(), microphone=()", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	}
	asset := maps.Clone(page)
	asset["Cache-Control"] = "public, max-age=31536000, immutable"
	s := everything(t)
	whole, shop := withTokens(t, s)
	s.Caller = CallerLimits{Queries: 4, Streams: 4, Rate: 1e9, Burst: 1e9}
	h := s.Handler()
	codes := map[int]int{}
	ask := guarded(t, h, codes)
	for _, r := range s.routes() {
		path := prefix + r.path
		for _, params := range append([]string{""}, good[r.path]...) {
			for _, accept := range []string{"", jsonMedia, csvMedia, "text/event-stream"} {
				ask(data, r.method, path+"?"+params, whole, "Accept", accept)
			}
		}
		ask(data, r.method, path, "")                                         // 401
		ask(data, r.method, path, shop)                                       // 403 of some
		ask(data, r.method, path+"?nosuch=1", whole)                          // 400
		ask(data, http.MethodDelete, path, whole)                             // 404 or 405
		ask(data, r.method, path, whole, "Origin", "http://evil.example")     // 403
		ask(data, http.MethodOptions, path, "", "Origin", "http://evil.test") // no preflight is granted
	}
	ask(data, http.MethodGet, "/api/", whole)
	ask(data, http.MethodGet, "/api/v2/query", whole)
	html := ask(page, http.MethodGet, "/", "")
	assets := regexp.MustCompile(`"(?:\./|/)?(assets/[^"]+)"`).FindAllStringSubmatch(html, -1)
	if len(assets) == 0 {
		t.Errorf("the page names no files: %s", html)
	}
	for _, a := range assets {
		ask(asset, http.MethodGet, "/"+a[1], "")
	}
	s.Caller.Rate, s.Caller.Burst = 0, 0
	s.usage = usage{}
	ask(data, http.MethodGet, prefix+"version", whole)
	for _, code := range []int{200, 400, 401, 403, 404, 429} {
		if codes[code] == 0 {
			t.Errorf("no answer was %d: %v", code, codes)
		}
	}
}

// guarded asks h in the clear and over TLS, holds the headers of each answer against those
// that are wanted, counts its status and gives its body.
func guarded(t *testing.T, h http.Handler, codes map[int]int) func(want map[string]string, method, path, token string, more ...string) string {
	t.Helper()
	return func(want map[string]string, method, path, token string, more ...string) string {
		t.Helper()
		body := ""
		for _, overTLS := range []bool{false, true} {
			req := httptest.NewRequest(method, path, strings.NewReader(""))
			if overTLS {
				req.TLS = &tls.ConnectionState{}
			}
			if strings.HasSuffix(strings.Split(path, "?")[0], "/simulate") {
				req = httptest.NewRequest(method, path, strings.NewReader(onlyFront))
				req.TLS = map[bool]*tls.ConnectionState{true: {}}[overTLS]
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			for i := 0; i+1 < len(more); i += 2 {
				req.Header.Set(more[i], more[i+1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			codes[w.Code]++
			body = w.Body.String()
			have := map[string]string{}
			for _, name := range guards {
				if v, ok := w.Header()[name]; ok {
					have[name] = strings.Join(v, " and ")
				}
			}
			expect := maps.Clone(want)
			if overTLS {
				expect["Strict-Transport-Security"] = "max-age=31536000"
			}
			if d := cmp.Diff(expect, have); d != "" {
				t.Errorf("%s %s answers %d with\n%s", method, path, w.Code, d)
			}
			if w.Header().Get("Content-Type") == "" && w.Body.Len() > 0 {
				t.Errorf("%s %s: no type", method, path)
			}
		}
		return body
	}
}
