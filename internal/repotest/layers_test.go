package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weirnet/weir/"

// layer of each package: it imports none above its own. L0 nouns, L1 pure core, L2
// shells, L3 loops, L4 binaries. A new package gets a row here first.
var layer = map[string]int{
	"api/flow":             0,
	"internal/cluster":     0,
	"internal/ledger":      0,
	"internal/version":     0,
	"internal/limitfile":   2,
	"internal/selector":    1,
	"internal/nearest":     0,
	"api/query":            1,
	"internal/canary":      1,
	"internal/probe":       2,
	"api/ipfix":            1,
	"policy/eval":          1,
	"policy/simulate":      1,
	"exporter/track":       1,
	"exporter/enrich":      1,
	"exporter/coverage":    1,
	"exporter/pressure":    1,
	"exporter/outcome":     1,
	"exporter/packet":      1,
	"exporter/dns":         1,
	"aggregator/correlate": 1,
	"aggregator/findings":  1,
	"aggregator/why":       1,
	"internal/daemon":      2,
	"internal/obs":         2,
	"internal/kube":        2,
	"internal/config":      2,
	"internal/certs":       2,
	"internal/rendezvous":  1,
	"exporter/conntrack":   2,
	"exporter/tap":         2,
	"exporter/dnswatch":    2,
	"exporter/icmp":        2,
	"exporter/reset":       2,
	"exporter/nflog":       2,
	"exporter/send":        2,
	"exporter/told":        2,
	"exporter/inspect":     2,
	"exporter/sockets":     2,
	"aggregator/collect":   2,
	"aggregator/api":       2,
	"aggregator/store":     2,
	"aggregator/journal":   2,
	"sinks":                2,
	"agent":                3,
	"exporter":             3,
	"aggregator":           3,
	"internal/cli":         3,
	"internal/demo":        3,
	"deploy":               0,
	"dashboards/grafana":   2,
	"dashboards/kibana":    2,
	"dashboards/render":    2,
	"dashboards/web":       2,
}

// trees lists layers that a whole tree shares: sinks/jsonl is as sinks.
var trees = map[string]int{"sinks/": 2, "aggregator/store/": 2, "cmd/": 4, "internal/gen/": 4, "internal/bench": 4, "internal/ociimage": 4}

// tests-only packages may be imported by tests alone.
var testOnly = []string{"internal/testenv", "internal/repotest", "test/", "internal/peer", "api/flow/flowtest", "api/query/querytest", "dashboards/render", "aggregator/api/apitest", "sinks/sinktest"}

// pure packages have no clock, no goroutine, no I/O.
var pure = []string{
	"api/",
	"policy/",
	"internal/cluster",
	"exporter/track",
	"exporter/enrich",
	"exporter/coverage",
	"exporter/pressure",
	"exporter/outcome",
	"exporter/packet",
	"exporter/dns",
	"aggregator/correlate",
	"aggregator/findings",
	"aggregator/why",
}

// banned is what a pure package must not call or import.
var (
	bannedCalls   = map[string]bool{"Now": true, "Since": true, "Until": true, "After": true, "AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true, "Sleep": true}
	bannedImports = []string{"os", "net", "net/http", "log", "log/slog", "context", "syscall", "os/exec", "math/rand"}
)

// source is one Go file of the module, parsed.
type source struct {
	path, pkg string // both relative to the module
	test      bool
	file      *ast.File
}

var fset = token.NewFileSet()

// sources parses every Go file of this module, nested modules left out.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("../..", path)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "node_modules" || exists(filepath.Join(path, "go.mod"))) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		list = append(list, source{rel, filepath.ToSlash(filepath.Dir(rel)), strings.HasSuffix(path, "_test.go"), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func layerOf(pkg string) (int, bool) {
	if n, ok := layer[pkg]; ok {
		return n, true
	}
	for tree, n := range trees {
		if strings.HasPrefix(pkg+"/", tree) || pkg == tree {
			return n, true
		}
	}
	return 0, false
}

func under(pkg string, list []string) bool {
	for _, p := range list {
		if pkg == strings.TrimSuffix(p, "/") || strings.HasPrefix(pkg+"/", strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}

func imports(f *ast.File) []string {
	list := make([]string, 0, len(f.Imports))
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		list = append(list, p)
	}
	return list
}

func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || under(s.pkg, testOnly) {
			continue
		}
		own, ok := layerOf(s.pkg)
		if !ok {
			t.Errorf("%s: package %s has no layer: give it a row in internal/repotest", s.path, s.pkg)
			continue
		}
		for _, imp := range imports(s.file) {
			dep, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if under(dep, testOnly) {
				t.Errorf("%s imports %s, which only tests may", s.path, dep)
			}
			if n, ok := layerOf(dep); ok && n > own {
				t.Errorf("%s (L%d) imports %s (L%d): a package imports only lower layers and its own", s.path, own, dep, n)
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	doc := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command "
		}
		if _, ok := doc[s.pkg]; !ok {
			doc[s.pkg] = false
		}
		if s.file.Doc != nil && strings.HasPrefix(s.file.Doc.Text(), want) {
			doc[s.pkg] = true
		}
	}
	for pkg, ok := range doc {
		if !ok {
			t.Errorf("%s: no package comment that begins with Package or Command: say its idea, inputs, outputs, and what happens if it dies", pkg)
		}
	}
}

func TestPureCore(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !under(s.pkg, pure) {
			continue
		}
		for _, imp := range imports(s.file) {
			for _, b := range bannedImports {
				if imp == b {
					t.Errorf("%s imports %s: the pure core does no I/O and keeps no clock", s.path, imp)
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a go statement in the pure core", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && bannedCalls[n.Sel.Name] {
					t.Errorf("%s: time.%s in the pure core: take now as an argument", fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestNoCollectiveNames keeps packages nouns that a newcomer can guess.
func TestNoCollectiveNames(t *testing.T) {
	for _, s := range sources(t) {
		switch filepath.Base(s.pkg) {
		case "util", "utils", "common", "helpers", "types", "misc", "manager":
			t.Errorf("%s: a package called %s says nothing about what is in it", s.path, filepath.Base(s.pkg))
		}
	}
}

// TestNoInitNoMarkers finds work in init and words that mark unfinished work.
func TestNoInitNoMarkers(t *testing.T) {
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: do the work where it is called", fset.Position(f.Pos()))
			}
		}
		for _, c := range s.file.Comments {
			if w := unfinished.FindString(c.Text()); w != "" {
				t.Errorf("%s: %s: finish it or file an issue", fset.Position(c.Pos()), w)
			}
		}
	}
}
