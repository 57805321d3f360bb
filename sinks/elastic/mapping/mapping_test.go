package mapping_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

var update = flag.Bool("update", false, "write the golden files again")

func script(reqs []mapping.Request) string {
	var b strings.Builder
	for _, r := range reqs {
		b.WriteString("PUT " + r.Path + "\n" + string(r.Body) + "\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	l := mapping.Layout{Index: "weir-flows", Shards: 1, Replicas: 1, Retention: 30 * 24 * time.Hour, Way: mapping.ByLifecycle, Custom: true, Version: "VERSION"}
	ilm, bare := l, l
	ilm.Way = mapping.ByILM
	bare.Way, bare.Custom = mapping.ByNothing, false
	for name, got := range map[string]string{
		"lifecycle.txt": script(append(l.Templates(), l.Lifecycle())), "ilm.txt": script(ilm.Templates()), "opensearch.txt": script(bare.Templates()),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (-want +got), -update writes it again:\n%s", path, d)
		}
	}
}

func TestNames(t *testing.T) {
	all := mapping.Fields()
	n := 0
	for id := range flow.FieldID(flow.NumFields) {
		if mapping.Name(id) != "" {
			n++
		}
	}
	const own = 4 // connections, flows, verdict, and end as an alias
	if len(all) != n+own {
		t.Errorf("%d names for %d fields and %d of documents: two are the same", len(all), n, own)
	}
	for a, typ := range all {
		if typ == "" {
			t.Errorf("%s has no type", a)
		}
		for b := range all {
			if strings.HasPrefix(b, a+".") {
				t.Errorf("%s holds a value and %s is within it: rename it in Name", a, b)
			}
		}
	}
}
