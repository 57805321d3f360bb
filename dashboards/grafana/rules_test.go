package grafana_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"github.com/weirnet/weir/dashboards/grafana"
)

func TestMain(m *testing.M) {
	plugins.RegisterDefaultPlugins()
	strict := func(raw []byte) (variants.Dataquery, error) {
		var q grafana.Query
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		err := dec.Decode(&q)
		return q, err
	}
	cog.NewRuntime().RegisterDataqueryVariant(variants.DataqueryConfig{
		Identifier: "grafana-clickhouse-datasource", DataqueryUnmarshaler: strict, StrictDataqueryUnmarshaler: strict,
	})
	os.Exit(m.Run())
}

func boardFile(t *testing.T, uid string) []byte {
	t.Helper()
	b, err := os.ReadFile(uid + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readBoard decodes a file strictly: no key is unknown, none that must be there is absent,
// and what was read is all that was there.
func readBoard(t *testing.T, uid string) (d grafana.Model) {
	t.Helper()
	raw := boardFile(t, uid)
	// The strict decoder of this version tells errors but leaves panels out: it takes an empty
	// list of errors for an error.
	err := new(grafana.Model).UnmarshalJSONStrict(raw)
	if list, ok := errors.AsType[cog.BuildErrors](err); err != nil && (!ok || len(list) > 0) {
		t.Fatalf("%s: %v", uid, err)
	}
	if err := errors.Join(json.Unmarshal(raw, &d), d.Validate()); err != nil {
		t.Fatalf("%s: %v", uid, err)
	}
	again, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(raw), string(again)+"\n"); diff != "" {
		t.Fatalf("%s: read and written again (-file +again):\n%s", uid, diff)
	}
	return d
}

// TestFilesAreGenerated: the committed files are what the code makes.
func TestFilesAreGenerated(t *testing.T) {
	for _, b := range grafana.Boards() {
		d, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(boardFile(t, b.UID)), string(text)+"\n"); diff != "" {
			t.Errorf("%s.json: run make generate (-file +code):\n%s", b.UID, diff)
		}
	}
}

var selector = regexp.MustCompile(`[a-z_:]+\{[^}]*\}`)

// TestRules holds the dashboards to the rules of Grafana's dashboard linter and some of
// Weir's own.
func TestRules(t *testing.T) {
	docs, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	uids := map[string]bool{}
	for _, b := range boards(t) {
		d := &b.file
		bad := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: "+format, append([]any{b.code.UID}, args...)...)
		}
		if uids[*d.Uid] || d.Description == nil || *d.Editable || !slices.Contains(d.Tags, grafana.Tag) || d.Refresh == nil {
			bad("a dashboard has a uid of its own, a description, the tag and a refresh, and cannot be edited")
		}
		uids[*d.Uid] = true
		vars := map[string]dashboard.VariableModel{}
		for _, v := range d.Templating.List {
			vars[v.Name] = v
		}
		wanted := []string{"datasource", "weir", "cluster", "namespace", "workload", "direction", "verdict", "filter"}
		if b.code.Health != nil {
			wanted = []string{"prometheus", "weir", "job", "instance"}
		}
		for _, name := range wanted {
			if _, ok := vars[name]; !ok {
				bad("no variable %s", name)
			}
		}
		ids, titles := map[uint32]bool{}, map[string]bool{}
		taken := map[[2]uint32]string{}
		for i := range d.Panels {
			p := d.Panels[i].Panel
			if p.Title == nil || *p.Title == "" || p.Description == nil || *p.Description == "" || ids[*p.Id] {
				bad("panel %d: a panel has a title, a description and an id of its own", i)
			}
			ids[*p.Id] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]uint32{x, y}]; other != "" || x >= 24 {
						bad("%s lies over %q", *p.Title, other)
					}
					taken[[2]uint32{x, y}] = *p.Title
				}
			}
			if titles[*p.Title] {
				bad("two panels are called %s", *p.Title)
			}
			titles[*p.Title] = true
			if len(p.Links) != 1 || !strings.HasPrefix(*p.Links[0].Url, "${weir}/?q=") {
				bad("%s has no link to Weir's page", *p.Title)
			}
			if len(p.Targets) == 0 {
				bad("%s asks nothing", *p.Title)
			}
			ds := p.Datasource
			if want := "${" + wanted[0] + "}"; ds == nil || ds.Uid == nil || *ds.Uid != want {
				bad("%s does not ask the data source of the variable", *p.Title)
			}
			for _, q := range p.Targets {
				if q, ok := q.(*prometheus.Dataquery); ok {
					promQLRules(bad, *p.Title, q.Expr, string(docs))
				}
			}
		}
	}
}

// promQLRules: every selector picks job and instance, rates are of counters and over the
// interval that suits the scrapes, and every metric of Weir's is in the docs.
func promQLRules(bad func(string, ...any), title, expr, docs string) {
	list := selector.FindAllString(expr, -1)
	if len(list) == 0 {
		bad("%s: no selector in %s", title, expr)
	}
	for _, s := range list {
		name, _, _ := strings.Cut(s, "{")
		if !strings.Contains(s, `job=~"$job"`) || !strings.Contains(s, `instance=~"$instance"`) {
			bad("%s: %s does not pick job and instance", title, s)
		}
		if !strings.HasPrefix(name, "process_") && !strings.Contains(docs, "`"+name+"`") {
			bad("%s: docs/metrics.md does not have %s", title, name)
		}
		_, after, _ := strings.Cut(expr, s)
		counter := strings.HasSuffix(name, "_total")
		if ranged := strings.HasPrefix(after, "["); ranged != counter {
			bad("%s: %s: a rate or an increase is of a counter, and a counter is shown as such", title, s)
		} else if ranged && !strings.HasPrefix(after, "[$__rate_interval]") && !strings.HasPrefix(after, "[$__range]") {
			bad("%s: %s: the range is $__rate_interval or $__range", title, s)
		}
	}
}
