package obs

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/weirnet/weir/internal/version"
)

// TestSecurityHeaders: metrics, health and state have the headers of answers that are no page,
// failures too.
func TestSecurityHeaders(t *testing.T) {
	reg, err := NewRegistry(version.Info{})
	if err != nil {
		t.Fatal(err)
	}
	waiting := []string{"collect"}
	s := &Server{Config: Config{Pprof: true}, Registry: reg, NotReady: func() []string { return waiting }}
	for _, path := range []string{"/metrics", "/healthz", "/livez", "/readyz", "/version", "/debug/state", "/debug/pprof/", "/nosuch"} {
		for _, overTLS := range []bool{false, true} {
			req := httptest.NewRequest(http.MethodGet, path, http.NoBody)
			if overTLS {
				req.TLS = &tls.ConnectionState{}
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, req)
			for k, v := range map[string]string{
				"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
				"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Access-Control-Allow-Origin": "",
				"Strict-Transport-Security": map[bool]string{true: "max-age=31536000"}[overTLS],
			} {
				if got := w.Header().Get(k); got != v {
					t.Errorf("%s answers %d with %s %q, want %q", path, w.Code, k, got, v)
				}
			}
			if w.Body.Len() == 0 {
				t.Errorf("%s: no answer", path)
			}
		}
	}
}
