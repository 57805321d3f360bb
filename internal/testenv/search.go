package testenv

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Kinds of Search.
const (
	Elasticsearch = "es8"
	OpenSearch    = "opensearch"
)

// Search is a real Elasticsearch or OpenSearch in a process of its own (test/search).
type Search struct {
	process
	URL      string // of the HTTP port; the same after Start again
	Kind     string
	Settings []string // setting=value
	Dir      string   // of the data
}

// StartSearch starts one over an empty directory and ends it with the test.
func StartSearch(t testing.TB, kind string, settings ...string) *Search {
	t.Helper()
	Cache(t, "Elasticsearch and OpenSearch", "search")
	for _, tool := range []string{"javac", "mvn", "curl", "unzip"} {
		NeedTool(t, tool)
	}
	s := &Search{process: process{name: kind}, Kind: kind, Settings: settings, Dir: t.TempDir()}
	s.Start(t)
	t.Cleanup(s.Kill)
	return s
}

var searchURL = regexp.MustCompile(`(?m)^URL (http://\S+)$`)

// Start starts the server over the data that it had, at the address that it had.
func (s *Search) Start(t testing.TB) {
	t.Helper()
	args := append([]string{filepath.Join(top(), "test", "search", "run.sh"), s.Kind, s.Dir}, s.Settings...)
	if s.URL != "" {
		args = append(args, "http.port="+s.URL[strings.LastIndexByte(s.URL, ':')+1:])
	}
	s.start(t, exec.Command("bash", args...), func() bool {
		m := searchURL.FindStringSubmatch(s.Log())
		if m != nil {
			s.URL = m[1]
		}
		return m != nil
	})
}
