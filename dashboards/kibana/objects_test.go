package kibana_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/dashboards/kibana"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

// load reads the file, strictly.
func load(t *testing.T) []kibana.Object {
	t.Helper()
	b, err := os.ReadFile("weir.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	want, err := kibana.Lines(kibana.Objects("weir-flows", "https://weir.example"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Fatal("weir.ndjson is not current: run `make generate`")
	}
	var out []kibana.Object
	for line := range bytes.Lines(b) {
		var o kibana.Object
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// inner decodes JSON that stands in a text of an object.
func inner[T any](t *testing.T, o *kibana.Object, path ...string) T {
	t.Helper()
	var v any = o.Attributes
	for _, k := range path {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%s: %v is not there", o.ID, path)
		}
		v = m[k]
	}
	s, ok := v.(string)
	if !ok {
		t.Fatalf("%s: %v is no text", o.ID, path)
	}
	var out T
	if err := json.Unmarshal([]byte(s), &out); err != nil {
		t.Fatalf("%s: %v: %v", o.ID, path, err)
	}
	return out
}

// TestReferences has every reference lead to an object of the file, and every place that
// needs one have it.
func TestReferences(t *testing.T) {
	objects := load(t)
	types := map[string]string{}
	for _, o := range objects {
		if types[o.ID] != "" {
			t.Errorf("two objects are %s", o.ID)
		}
		types[o.ID] = o.Type
		if o.Core == "" || o.Migrated == "" || o.Attributes["title"] == "" {
			t.Errorf("%s lacks versions or a title", o.ID)
		}
	}
	for i := range objects {
		o := &objects[i]
		want := map[string]string{} // name: type
		switch o.Type {
		case "index-pattern":
		case "search":
			src := inner[map[string]any](t, o, "kibanaSavedObjectMeta", "searchSourceJSON")
			want[src["indexRefName"].(string)] = "index-pattern"
		case "visualization":
			inner[map[string]any](t, o, "kibanaSavedObjectMeta", "searchSourceJSON")
		case "dashboard":
			panelsOf(t, o, want)
		default:
			t.Errorf("%s is of type %s", o.ID, o.Type)
		}
		got := map[string]string{}
		for _, r := range o.References {
			if types[r.ID] != r.Type {
				t.Errorf("%s refers to the %s %s, which is not in the file", o.ID, r.Type, r.ID)
			}
			got[r.Name] = r.Type
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: references (-needed +there):\n%s", o.ID, d)
		}
	}
}

// panelsOf notes the references that a dashboard's panels and controls need, and looks at
// their places.
func panelsOf(t *testing.T, o *kibana.Object, want map[string]string) {
	t.Helper()
	taken := map[[2]int]string{}
	for _, p := range inner[[]struct {
		Type, PanelIndex, PanelRefName string
		GridData                       struct {
			X, Y, W, H int
			I          string
		}
	}](t, o, "panelsJSON") {
		want[p.PanelIndex+":"+p.PanelRefName] = p.Type
		g := p.GridData
		if g.I != p.PanelIndex || g.X < 0 || g.X+g.W > 48 || g.W < 1 || g.H < 1 {
			t.Errorf("%s: panel %s is at %+v", o.ID, p.PanelIndex, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s: panels %s and %s lie on each other", o.ID, other, p.PanelIndex)
				}
				taken[[2]int{x, y}] = p.PanelIndex
			}
		}
	}
	fields := mapping.Fields()
	controls := inner[map[string]struct {
		Type          string
		ExplicitInput struct{ ID, FieldName string }
	}](t, o, "controlGroupInput", "panelsJSON")
	if len(controls) < 7 {
		t.Errorf("%s has %d controls: cluster, namespaces, workloads, scope and verdict are to be among them", o.ID, len(controls))
	}
	for id, c := range controls {
		want["controlGroup_"+id+":optionsListDataView"] = "index-pattern"
		if c.ExplicitInput.ID != id || fields[c.ExplicitInput.FieldName] != "keyword" {
			t.Errorf("%s: control %s of field %q", o.ID, id, c.ExplicitInput.FieldName)
		}
	}
}

// TestFields has every field that is named anywhere in the mapping, with a type that can
// do what is asked of it.
func TestFields(t *testing.T) {
	fields := mapping.Fields()
	objects := load(t)
	var visit func(id string, key string, v any)
	visit = func(id, key string, v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				visit(id, key, x)
			}
		case map[string]any:
			for k, x := range v {
				switch name, is := x.(string); {
				case k == "field" && is:
					checkField(t, fields, id, key, name)
				case key == "term" || key == "terms" && k != "field" && k != "size" && k != "order", key == "range":
					checkField(t, fields, id, key, k)
				}
				visit(id, k, x)
			}
		}
	}
	seen := 0
	for i := range objects {
		o := &objects[i]
		switch o.Type {
		case "visualization":
			spec := specOf(t, o)
			data := spec["data"].(map[string]any)["url"].(map[string]any)
			visit(o.ID, "", data["body"])
			seen++
		case "search":
			for _, c := range o.Attributes["columns"].([]any) {
				checkField(t, fields, o.ID, "column", c.(string))
			}
		case "index-pattern":
			for name := range inner[map[string]any](t, o, "fieldFormatMap") {
				checkField(t, fields, o.ID, "format", name)
			}
		}
	}
	if seen < 15 {
		t.Errorf("%d visualizations: the test looks at the wrong thing", seen)
	}
}

func checkField(t *testing.T, fields map[string]string, id, use, name string) {
	t.Helper()
	typ := fields[name]
	ok := typ != ""
	switch use {
	case "sum":
		ok = typ == "long"
	case "date_histogram", "range", "min", "max":
		ok = typ == "date"
	case "terms", "term":
		ok = typ == "keyword" || typ == "integer" || typ == "boolean"
	}
	if !ok {
		t.Errorf("%s: %s of field %q, which is of type %q", id, use, name, typ)
	}
}

// specOf is the specification of a visualization.
func specOf(t *testing.T, o *kibana.Object) map[string]any {
	t.Helper()
	state := inner[struct {
		Type   string
		Params struct{ Spec string }
	}](t, o, "visState")
	if state.Type != "vega" {
		t.Fatalf("%s is of type %s", o.ID, state.Type)
	}
	var spec map[string]any
	if err := json.Unmarshal([]byte(state.Params.Spec), &spec); err != nil {
		t.Fatalf("%s: %v", o.ID, err)
	}
	if !strings.HasPrefix(spec["$schema"].(string), "https://vega.github.io/schema/vega-lite/v5") {
		t.Errorf("%s: schema %v", o.ID, spec["$schema"])
	}
	return spec
}
