package ddl_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

var update = flag.Bool("update", false, "write the golden files again")

// script is every statement of a layout, up and down.
func script(l *ddl.Layout) string {
	var b strings.Builder
	b.WriteString(l.CreateDatabase() + ";\n\n" + strings.Join(l.CreateSchema(), ";\n\n") + ";\n")
	for _, s := range l.Steps() {
		b.WriteString("\n-- " + s.Doc + "\n\n" + strings.Join(s.Up, ";\n\n") + ";\n\n-- back\n\n" + strings.Join(s.Down, ";\n") + ";\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, l := range map[string]ddl.Layout{
		"single.sql":  {Database: "weir", Retention: 30 * 24 * time.Hour},
		"cluster.sql": {Database: "weir", Cluster: "flows"},
	} {
		path := filepath.Join("testdata", name)
		got := script(&l)
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

func TestColumns(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range ddl.Columns() {
		if seen[c.Name] {
			t.Errorf("two columns are called %s", c.Name)
		}
		seen[c.Name] = true
		if c.Type == "Nullable()" {
			t.Errorf("%s has no type", c.Name)
		}
		for _, own := range []string{ddl.Spool, ddl.Pos, ddl.Inserted} {
			if c.Name == own {
				t.Errorf("the field %s takes the name of a column for the books", flow.Fields[c.ID].Name)
			}
		}
	}
	for id, words := range flow.EnumWords {
		if len(words) >= ddl.Unlisted {
			t.Errorf("%s has %d words, and 127 stands for what has none", flow.Fields[id].Name, len(words))
		}
	}
}

func TestMissing(t *testing.T) {
	l := ddl.Layout{Database: "weir"}
	have := map[string]string{}
	for _, c := range ddl.Columns() {
		have[c.Name] = c.Type
	}
	tables := map[string]map[string]string{ddl.Flows: have}
	if got := l.Missing(tables); len(got) != 0 {
		t.Errorf("a table that fits lacks %v", got)
	}
	delete(have, "rtt")
	have["outcome"] = "Nullable(Enum8('unknown' = 0, 'unlisted' = 127))"
	got := strings.Join(l.Missing(tables), "\n")
	for _, want := range []string{"ALTER TABLE `weir`.`weir_flows` ADD COLUMN IF NOT EXISTS `rtt` ", "ALTER TABLE `weir`.`weir_flows` MODIFY COLUMN `outcome` "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

func TestQuote(t *testing.T) {
	if got := ddl.Quote("a'b\\c\n\x00"); got != `'a\'b\\c\n\0'` {
		t.Errorf("Quote: %s", got)
	}
	if got := ddl.Ident("a`b"); got != "`a\\`b`" {
		t.Errorf("Ident: %s", got)
	}
}
