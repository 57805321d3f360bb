package kibana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

// Object is a saved object as Kibana exports it.
type Object struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Attributes map[string]any `json:"attributes"`
	References []Reference    `json:"references"`
	Core       string         `json:"coreMigrationVersion"`
	Migrated   string         `json:"typeMigrationVersion"`
}

// Reference names another saved object.
type Reference struct {
	Name string `json:"name"`
	Type string `json:"type"`
	ID   string `json:"id"`
}

// Versions of Kibana's own forms of objects, to which those here are written; a newer
// Kibana brings them up to its own.
const coreVersion = "8.8.0"

var migrated = map[string]string{"index-pattern": "8.0.0", "search": "8.0.0", "visualization": "8.5.0", "dashboard": "8.9.0"}

// Ids of the objects that others refer to.
const (
	ViewID   = "weir-flows"
	SearchID = "weir-flow-records"
)

// searchRef is the name by which a search refers to its data view.
const searchRef = "kibanaSavedObjectMeta.searchSourceJSON.index"

func saved(id, typ string, attributes object, refs ...Reference) Object {
	if refs == nil {
		refs = []Reference{}
	}
	return Object{id, typ, attributes, refs, coreVersion, migrated[typ]}
}

// text writes a value as JSON in a text, as Kibana keeps much of its objects.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("kibana: %v", err)) // of values made here
	}
	return string(b)
}

// Objects are all saved objects: index is the data stream, weir the address of Weir's page.
func Objects(index, weir string) []Object {
	out := []Object{view(index, weir), search()}
	for _, b := range Boards() {
		for i := range b.Panels {
			out = append(out, visualization(&b.Panels[i], index, weir))
		}
		out = append(out, board(&b))
	}
	return out
}

// view is the data view; its conn_id links to Weir's page.
func view(index, weir string) Object {
	format := object{
		"conn_id": object{"id": "url", "params": object{"urlTemplate": weir + "/?q=conn_id%20%3D%20{{value}}", "labelTemplate": "{{value}}"}},
	}
	for id := range flow.FieldID(flow.NumFields) {
		if flow.Fields[id].Unit == "bytes" {
			format[mapping.Name(id)] = object{"id": "bytes"}
		}
	}
	return saved(ViewID, "index-pattern", object{
		"title": index, "name": "Weir flows", "timeFieldName": mapping.Time, "fieldFormatMap": text(format),
		"fields": "[]", "runtimeFieldMap": "{}", "sourceFilters": "[]", "typeMeta": "{}",
	})
}

func emptySource(more object) object {
	s := object{"query": object{"query": "", "language": "kuery"}, "filter": []any{}}
	maps.Copy(s, more)
	return object{"searchSourceJSON": text(s)}
}

// search is the table of flow records.
func search() Object {
	return saved(SearchID, "search", object{
		"title": "Weir flow records", "description": "Newest first. conn_id opens the connection on Weir's page.", "columns": Columns, "sort": []any{[]string{mapping.Time, "desc"}},
		"kibanaSavedObjectMeta": emptySource(object{"indexRefName": searchRef, "query": object{"query": "NOT " + canary + " : true", "language": "kuery"}}),
	}, Reference{searchRef, "index-pattern", ViewID})
}

func visualization(p *Panel, index, weir string) Object {
	spec, err := json.MarshalIndent(p.Spec(index, weir), "", "  ")
	if err != nil {
		panic(fmt.Sprintf("kibana: %s: %v", p.ID, err))
	}
	return saved(p.ID, "visualization", object{
		"title": "Weir / " + p.Title, "description": p.Doc, "uiStateJSON": "{}", "version": 1, "kibanaSavedObjectMeta": emptySource(nil),
		"visState": text(object{"title": "Weir / " + p.Title, "type": "vega", "params": object{"spec": string(spec)}, "aggs": []any{}}),
	})
}

// board is a dashboard: panels in rows of 48 columns, and controls above.
func board(b *Board) Object {
	var panels []any
	var refs []Reference
	place := Layout(b)
	add := func(i int, typ, id string) {
		n := fmt.Sprint(i + 1)
		g := place[i]
		panels = append(panels, object{
			"type": typ, "panelIndex": n, "panelRefName": "panel_" + n, "embeddableConfig": object{"enhancements": object{}},
			"gridData": object{"x": g.X, "y": g.Y, "w": g.W, "h": g.H, "i": n},
		})
		refs = append(refs, Reference{n + ":panel_" + n, typ, id})
	}
	for i := range b.Panels {
		add(i, "visualization", b.Panels[i].ID)
	}
	if b.Records {
		add(len(b.Panels), "search", SearchID)
	}
	controls := object{}
	for i, name := range controlNames() {
		id := fmt.Sprintf("control-%d", i+1)
		controls[id] = object{
			"type": "optionsListControl", "order": i, "grow": true, "width": "medium",
			"explicitInput": object{"id": id, "fieldName": name, "title": name, "enhancements": object{}},
		}
		refs = append(refs, Reference{"controlGroup_" + id + ":optionsListDataView", "index-pattern", ViewID})
	}
	return saved(b.ID, "dashboard", object{
		"title": b.Title, "description": b.Doc, "version": 1, "timeRestore": true, "timeFrom": "now-1h", "timeTo": "now",
		"refreshInterval": object{"pause": true, "value": 60_000},
		"panelsJSON":      text(panels), "optionsJSON": text(object{"useMargins": true, "syncColors": false, "hidePanelTitles": true}),
		"kibanaSavedObjectMeta": emptySource(nil),
		"controlGroupInput": object{
			"controlStyle": "oneLine", "chainingSystem": "HIERARCHICAL", "panelsJSON": text(controls),
			"ignoreParentSettingsJSON": text(object{"ignoreFilters": false, "ignoreQuery": false, "ignoreTimerange": false, "ignoreValidations": false}),
		},
	}, refs...)
}

// controlNames are the fields of controls, in documents' names.
func controlNames() []string {
	var out []string
	for _, id := range Controls {
		out = append(out, mapping.Name(id))
	}
	return append(out, mapping.Verdict)
}

// Grid is the place of a panel.
type Grid struct{ X, Y, W, H int }

// Layout places the panels from left to right, and the table last.
func Layout(b *Board) []Grid {
	const columns, table = 48, 26
	var out []Grid
	at, row, high := 0, 0, 0
	put := func(w, h int) {
		if at+w > columns {
			at, row, high = 0, row+high, 0
		}
		out = append(out, Grid{at, row, w, h})
		at, high = at+w, max(high, h)
	}
	for i := range b.Panels {
		put(b.Panels[i].W, b.Panels[i].H)
	}
	if b.Records {
		put(columns, table)
	}
	return out
}

// Lines writes objects as a file that Kibana imports.
func Lines(objects []Object) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range objects {
		if err := enc.Encode(&objects[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", objects[i].ID, err)
		}
	}
	return b.Bytes(), nil
}
