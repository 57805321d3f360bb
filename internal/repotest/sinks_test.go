package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sinkSections are those of every page of docs/sinks, in their order. A page may have more
// of them between Schema and Sizing, where the sink answers questions as well.
var sinkSections = []string{"What it is", "Config", "Schema", "Sizing", "Metrics", "Failure", "Example"}

var sinkKind = regexp.MustCompile(`(?m)^  (?:- | +)kind: (\w+)$`)

// TestSinkPagesAreAlike holds the pages of docs/sinks to the same sections, none of them
// empty, and wants a page for each kind of sink that a configuration may name.
func TestSinkPagesAreAlike(t *testing.T) {
	pages, err := filepath.Glob("../../docs/sinks/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	var kinds []string
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for part := range strings.SplitSeq("\n"+string(raw), "\n## ") {
			title, body, _ := strings.Cut(part, "\n")
			switch {
			case strings.HasPrefix(strings.TrimSpace(part), "# "):
			case strings.TrimSpace(body) == "":
				t.Errorf("%s: section %q is empty", page, title)
			case slices.Contains(sinkSections, title):
				got = append(got, title)
			case len(got) == 0 || got[len(got)-1] != "Schema":
				t.Errorf("%s: section %q does not stand between Schema and Sizing", page, title)
			}
			if title == "Failure" && !strings.Contains(body, "| what happens | what you see |") {
				t.Errorf("%s: Failure has no table of what happens and what you see", page)
			}
		}
		if d := cmp.Diff(sinkSections, got); d != "" {
			t.Errorf("%s: sections (-want +got):\n%s", page, d)
		}
		for _, m := range sinkKind.FindAllStringSubmatch(string(raw), -1) {
			kinds = append(kinds, m[1])
		}
	}
	m := regexp.MustCompile("(?m)^\\| `sinks\\[\\]\\.kind` .*$").FindString(read(t, "docs/config.md"))
	for _, kind := range []string{"jsonl", "ipfix", "clickhouse", "kafka", "s3", "elasticsearch", "prom"} {
		if !strings.Contains(m, kind) {
			t.Errorf("docs/config.md does not name the kind %s: %q", kind, m)
		}
		if !slices.Contains(kinds, kind) {
			t.Errorf("no page of docs/sinks has an example of kind %s", kind)
		}
	}
}
