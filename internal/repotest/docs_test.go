package repotest

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestEveryFieldIsInTheDocs(t *testing.T) {
	doc := read(t, "docs/fields.md")
	for _, f := range flow.Fields {
		if !strings.Contains(doc, "`"+f.Name+"`") {
			t.Errorf("docs/fields.md does not have %s: run `make generate`", f.Name)
		}
	}
}

var metricName = regexp.MustCompile(`^(weir|antrea)_[a-z0-9_]+$`)

// TestEveryMetricIsInTheDocs takes every string literal that looks like a metric.
func TestEveryMetricIsInTheDocs(t *testing.T) {
	doc := read(t, "docs/metrics.md")
	found := 0
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "internal/gen") || strings.HasPrefix(s.pkg, "api/") || s.pkg == "sinks/clickhouse/ddl" { // its tables are called so
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil || !metricName.MatchString(name) {
				return true
			}
			found++
			// A literal that ends in _ is the beginning of names, and another may be their end.
			known := strings.Contains(doc, name+"`") || strings.HasSuffix(name, "_") && strings.Contains(doc, "`"+name)
			if !known {
				t.Errorf("%s: docs/metrics.md does not have %s: run `make generate`", fset.Position(lit.Pos()), name)
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no metric was found in the source: this test looks at nothing")
	}
}

// TestEveryConfigKeyIsInTheDocs takes the json or yaml tags of every struct named
// Config or ...Config outside tests.
func TestEveryConfigKeyIsInTheDocs(t *testing.T) {
	doc := read(t, "docs/config.md")
	found := 0
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			ts, ok := n.(*ast.TypeSpec)
			if !ok || !strings.HasSuffix(ts.Name.Name, "Config") {
				return true
			}
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range st.Fields.List {
				key := tagKey(f)
				if key == "" {
					continue
				}
				found++
				if !strings.Contains(doc, key) {
					t.Errorf("%s: docs/config.md does not have the key %s: run `make generate`", fset.Position(f.Pos()), key)
				}
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no config key was found in the source: this test looks at nothing")
	}
}

var tagName = regexp.MustCompile(`(?:json|yaml):"([A-Za-z0-9_]+)`)

func tagKey(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	if m := tagName.FindStringSubmatch(f.Tag.Value); m != nil {
		return m[1]
	}
	return ""
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "../.." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata" || d.Name() == "node_modules") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(raw), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if !exists(filepath.Join(filepath.Dir(path), m[1])) {
				t.Errorf("%s: the link %s leads nowhere", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var makeTarget = regexp.MustCompile("`(?:sudo )?make ([a-z-]+)")

// TestDocumentedTargetsExist takes every `make x` of the documents.
func TestDocumentedTargetsExist(t *testing.T) {
	mk := read(t, "Makefile")
	for _, doc := range []string{"README.md", "CONTRIBUTING.md", "docs/operator.md", "docs/performance.md"} {
		for _, m := range makeTarget.FindAllStringSubmatch(read(t, doc), -1) {
			if !strings.Contains(mk, "\n"+m[1]+":") {
				t.Errorf("%s names `make %s`, which the Makefile does not have", doc, m[1])
			}
		}
	}
}
