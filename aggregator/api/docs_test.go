package api

import (
	"os"
	"strings"
	"testing"
)

// TestEveryRouteIsInTheDocs holds docs/api.md against the routes, both ways.
func TestEveryRouteIsInTheDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if path, rest, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "`"); ok && strings.HasPrefix(line, "| `") {
			described[path] = rest
		}
	}
	for _, r := range (&Server{}).routes() {
		text, ok := described[r.path]
		if !ok {
			t.Errorf("docs/api.md does not describe %s", r.path)
		}
		if r.whole != strings.Contains(text, "(whole cluster)") {
			t.Errorf("docs/api.md is wrong about who may ask for %s", r.path)
		}
	}
	for path := range described {
		known := false
		for _, r := range (&Server{}).routes() {
			known = known || r.path == path
		}
		if !known {
			t.Errorf("docs/api.md describes %s, which is not there", path)
		}
	}
}
