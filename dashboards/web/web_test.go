package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/weirnet/weir/dashboards/web"
)

func get(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// most is what the page may weigh, as it goes over the wire.
const most = 300 << 10

func TestThePageAndAllItNamesAreServed(t *testing.T) {
	h, err := web.Handler()
	if err != nil {
		t.Fatal(err)
	}
	page := get(t, h, "/")
	text := page.Body.String()
	if page.Code != http.StatusOK || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("/ gives %d %s", page.Code, page.Header().Get("Content-Type"))
	}
	names := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(names) < 3 {
		t.Fatalf("the page names %d files, a script, a style and an icon are expected:\n%s", len(names), text)
	}
	sum := len(text)
	for _, n := range names {
		if !strings.HasPrefix(n[1], "./") {
			t.Errorf("the page names %q, which is not beside it", n[1])
			continue
		}
		path := strings.TrimPrefix(n[1], ".")
		r := get(t, h, path, "Accept-Encoding", "gzip")
		if r.Code != http.StatusOK || r.Header().Get("Content-Encoding") != "gzip" {
			t.Errorf("%s gives %d, encoding %q", path, r.Code, r.Header().Get("Content-Encoding"))
			continue
		}
		zipped := r.Body.String()
		sum += len(zipped)
		z, err := gzip.NewReader(strings.NewReader(zipped))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil || string(plain) != get(t, h, path).Body.String() {
			t.Errorf("%s is another file when it is compressed", path)
		}
		if again := get(t, h, path, "If-None-Match", r.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s with its ETag gives %d", path, again.Code)
		}
	}
	if sum > most {
		t.Errorf("the page weighs %d bytes compressed: at most %d", sum, most)
	}
	t.Logf("the page weighs %d bytes compressed", sum)
}

func TestThePageTrustsNothingElse(t *testing.T) {
	if strings.Contains(web.Policy, "unsafe") || strings.Contains(web.Policy, "*") || strings.Contains(web.Policy, "http") {
		t.Errorf("the policy is wider than the page needs: %s", web.Policy)
	}
	h, err := web.Handler()
	if err != nil {
		t.Fatal(err)
	}
	page := get(t, h, "/")
	if got := page.Header().Get("Content-Security-Policy"); got != web.Policy {
		t.Errorf("policy %q", got)
	}
	if regexp.MustCompile(`<script>|<style|style="|\son[a-z]+="`).MatchString(page.Body.String()) {
		t.Error("the page has inline code or style, which its policy forbids")
	}
}

func TestWhatIsNoFileIsNotServed(t *testing.T) {
	h, err := web.Handler()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nothing", "/dist/index.html", "/../web.go", "/assets/", "/package.json"} {
		if r := get(t, h, path); r.Code != http.StatusNotFound {
			t.Errorf("%s gives %d", path, r.Code)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST / gives %d", w.Code)
	}
}
