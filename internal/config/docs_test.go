package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// besides is what a configuration needs besides its sinks.
const besides = `apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
collect: {tls: "", tcp: "127.0.0.1:4739"}
api: {auth: none, listen: "127.0.0.1:8443"}
`

// TestSinkExamplesAreGood loads every example of a configuration in docs/sinks as the
// aggregator does.
func TestSinkExamplesAreGood(t *testing.T) {
	pages, err := filepath.Glob("../../docs/sinks/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(raw), "```")
		examples := 0
		for i := 1; i < len(blocks); i += 2 {
			text, ok := strings.CutPrefix(blocks[i], "yaml\n")
			if !ok {
				continue
			}
			examples++
			cfg := DefaultAggregator()
			if err := Load(page, []byte(besides+text), AggregatorKind, cfg, nil); err != nil {
				t.Errorf("%s, example %d: %v\n%s", page, examples, err, text)
			} else if len(cfg.Sinks) == 0 {
				t.Errorf("%s, example %d has no sink:\n%s", page, examples, text)
			}
		}
		if examples == 0 {
			t.Errorf("%s has no example of a configuration", page)
		}
	}
}
