package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/aggregator/why"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/version"
)

// names calls types by what they are where their package no longer stands before them.
var names = map[reflect.Type]string{
	reflect.TypeFor[api.FindingsAnswer](): "Findings",
	reflect.TypeFor[api.Why]():            "WhyAnswer",
	reflect.TypeFor[api.Note]():           "StreamNote",
	reflect.TypeFor[api.NoteBody]():       "StreamNoteBody",
	reflect.TypeFor[api.Head]():           "QueryHead",
	reflect.TypeFor[api.Tail]():           "QueryTail",
	reflect.TypeFor[api.Books]():          "Ledger",
	reflect.TypeFor[api.AgentBooks]():     "AgentLedger",
	reflect.TypeFor[api.TailLine]():       "QueryTailLine",
	reflect.TypeFor[query.Column]():       "QueryColumn",
	reflect.TypeFor[query.Row]():          "QueryRow",
	reflect.TypeFor[query.Part]():         "QueryPart",
	reflect.TypeFor[query.Group]():        "QueryPartGroup",
	reflect.TypeFor[query.Cell]():         "QueryPartCell",
	reflect.TypeFor[query.Acc]():          "QueryPartAggregate",
	reflect.TypeFor[query.Sketch]():       "QueryPartSketch",
	reflect.TypeFor[query.Distinct]():     "QueryPartDistinct",
	reflect.TypeFor[query.Missing]():      "MissingAggregator",
	reflect.TypeFor[findings.Kind]():      "FindingKind",
	reflect.TypeFor[why.Finding]():        "WhyFinding",
	reflect.TypeFor[why.Cause]():          "WhyCause",
	reflect.TypeFor[why.Counted]():        "BothEndsCounted",
	reflect.TypeFor[ledger.Line]():        "LedgerStage",
	reflect.TypeFor[ledger.MinuteBook]():  "LedgerMinute",
	reflect.TypeFor[ledger.MinuteLine]():  "LedgerMinuteStage",
	reflect.TypeFor[ledger.Change]():      "SignedAmount",
	reflect.TypeFor[canary.View]():        "Canaries",
	reflect.TypeFor[canary.Trace]():       "CanaryTrace",
	reflect.TypeFor[canary.Mark]():        "CanaryMark",
	reflect.TypeFor[canary.SinkView]():    "CanarySink",
	reflect.TypeFor[canary.NodeRuns]():    "VerifyNode",
	reflect.TypeFor[canary.Result]():      "VerifyResult",
	reflect.TypeFor[canary.Counts]():      "VerifyCounts",
	reflect.TypeFor[canary.Verdict]():     "VerifyVerdict",
	reflect.TypeFor[canary.Hop]():         "VerifyHop",
	reflect.TypeFor[canary.State]():       "VerifyState",
	reflect.TypeFor[canary.Sent]():        "Canary",
	reflect.TypeFor[canary.Numbers]():     "CanaryNumbers",
	reflect.TypeFor[canary.Skipped]():     "CanarySkipped",
	reflect.TypeFor[canary.Path]():        "CanaryPath",
	reflect.TypeFor[coverage.Row]():       "CoverageRow",
	reflect.TypeFor[coverage.Evidence]():  "CoverageEvidence",
	reflect.TypeFor[pressure.State]():     "ConntrackPressure",
	reflect.TypeFor[pressure.Owner]():     "ConntrackOwner",
	reflect.TypeFor[cluster.ChangeKind](): "ChangeKind",
	reflect.TypeFor[version.Info]():       "Version",
	reflect.TypeFor[query.Wide]():         "",
	reflect.TypeFor[cluster.ChangeID]():   "",
	reflect.TypeFor[canary.Kind]():        "",
	reflect.TypeFor[coverage.Canary]():    "CoverageCanary",
	reflect.TypeFor[time.Duration]():      "",
	reflect.TypeFor[json.RawMessage]():    "",
}

// special are types whose JSON is not what their Go type says.
var special = map[reflect.Type]object{
	reflect.TypeFor[time.Time]():        {{"type", "string"}, {"format", "date-time"}},
	reflect.TypeFor[time.Duration]():    {{"type", "integer"}, {"format", "int64"}},
	reflect.TypeFor[cluster.ChangeID](): {{"type", "string"}, {"pattern", "^[0-9a-f]{16}$"}},
	reflect.TypeFor[query.Wide]():       {{"type", "string"}, {"pattern", "^-?[0-9]+$"}},
	reflect.TypeFor[canary.Kind](): {
		{"type", "integer"},
		{"minimum", 0},
		{"maximum", int(canary.NumKinds) - 1},
		{"description", "what becomes of it: " + strings.Join(canary.KindWords[:], ", ") + ", from 0 up"},
	},
	reflect.TypeFor[coverage.Seen]():   {{"type", "string"}, {"enum", coverage.SeenWords}, {"description", "whether traffic of a class is observed"}},
	reflect.TypeFor[coverage.Canary](): {{"type", "string"}, {"enum", coverage.CanaryWords}, {"description", "what canaries of a class of traffic showed"}},
	reflect.TypeFor[query.Distinct](): {
		{"type", "object"},
		{"description", "a counter of distinct values: hashes while there are few, HyperLogLog registers beyond"},
		{"properties", object{
			{"hashes", object{{"type", "array"}, {"items", object{{"type", "integer"}, {"format", "uint64"}, {"minimum", 0}}}}},
			{"registers", object{{"type", "string"}, {"contentEncoding", "base64"}}},
		}},
	},
	reflect.TypeFor[json.RawMessage](): ref("schemas", "Flow"),
}

// fieldSchemas are members whose schema is more precise than their Go type.
var fieldSchemas = map[string]object{
	"QueryRow.values":        {{"type", "array"}, {"items", ref("schemas", "Value")}},
	"QueryColumn.type":       {{"type", "string"}, {"enum", []string{"text", "number", "time"}}},
	"FieldInfo.name":         ref("schemas", "FieldName"),
	"FieldInfo.type":         {{"type", "string"}, {"enum", []string{"uint8", "uint16", "uint32", "uint64", "int32", "int64", "bool", "time", "string", "address", "uuid"}}},
	"Suggestion.kind":        {{"type", "string"}, {"enum", []string{"field", "operator", "value", "keyword", "stage", "aggregate", "column"}}},
	"Map.level":              {{"type", "string"}, {"enum", []string{"namespace", "workload", "pod"}}},
	"MapEdge.change":         {{"type", "string"}, {"enum", []string{"new", "gone", "changed"}}},
	"MapEdge.failed":         {{"type", "object"}, {"additionalProperties", object{{"type", "integer"}, {"minimum", 0}}}, {"propertyNames", ref("schemas", "Outcome")}},
	"MapPrevious.failed":     {{"type", "object"}, {"additionalProperties", object{{"type", "integer"}, {"minimum", 0}}}, {"propertyNames", ref("schemas", "Outcome")}},
	"WhyAnswer.outcomes":     {{"type", "object"}, {"additionalProperties", object{{"type", "integer"}, {"minimum", 0}}}, {"propertyNames", ref("schemas", "Outcome")}},
	"Canary.family":          {{"type", "string"}, {"enum", []string{"v4", "v6"}}},
	"StreamNoteBody.skipped": {{"type", "integer"}, {"format", "uint64"}, {"minimum", 1}},
}

// schemas are the named schemas, made as they are met.
type schemas struct {
	src  *sources
	made map[string]object
	of   map[string]reflect.Type
	err  error
}

func newSchemas() (*schemas, error) {
	src, err := newSources()
	return &schemas{src: src, made: map[string]object{}, of: map[string]reflect.Type{}}, err
}

// all gives them in the order of their names.
func (s *schemas) all() object {
	var o object
	for n, v := range s.made {
		o = append(o, member{n, v})
	}
	slices.SortFunc(o, func(a, b member) int { return strings.Compare(a.key, b.key) })
	return o
}

// add adds a schema that is no Go type's.
func (s *schemas) add(name string, o object) {
	if t, ok := s.of[name]; ok {
		s.fail("%v is called %s as a schema of flow records: give it another name in names", t, name)
	}
	s.made[name] = o
}

func (s *schemas) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

var texts = reflect.TypeFor[encoding.TextMarshaler]()

// schema gives the schema of a type: a reference where the type has a name.
func (s *schemas) schema(t reflect.Type) object {
	name, listed := names[t]
	if !listed && t.Name() != "" && strings.HasPrefix(t.PkgPath(), module) {
		name = t.Name()
	}
	if name == "" {
		return s.plain(t)
	}
	if have, ok := s.of[name]; ok {
		if have != t {
			s.fail("%v and %v are both called %s: give one another name in names", have, t, name)
		}
		return ref("schemas", name)
	}
	s.of[name] = t
	s.made[name] = s.named(name, t)
	return ref("schemas", name)
}

// named is the schema that a name stands for, with the comment of its type.
func (s *schemas) named(name string, t reflect.Type) object {
	if o, ok := special[t]; ok {
		return o
	}
	src, err := s.src.of(t.PkgPath())
	if err != nil {
		s.fail("%w", err)
		return nil
	}
	doc := strings.Replace(src.types[t.Name()], t.Name()+" ", name+" ", 1)
	if t.Kind() == reflect.String {
		if len(src.words[t.Name()]) == 0 {
			s.fail("%v: no constant says which words there are", t)
		}
		said := []string{doc}
		for i, w := range src.words[t.Name()] {
			if n := src.notes[t.Name()][i]; n != "" {
				said = append(said, fmt.Sprintf("%s: %s.", w, n))
			}
		}
		return object{{"type", "string"}, {"enum", src.words[t.Name()]}, {"description", strings.Join(said, " ")}}
	}
	if t.Kind() != reflect.Struct {
		s.fail("%v: only structs and words have names", t)
		return nil
	}
	var required []string
	var props object
	s.members(name, t, &props, &required)
	o := object{{"type", "object"}, {"description", doc}, {"properties", props}}
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	return o
}

// members adds the properties of a struct, those of embedded ones included.
func (s *schemas) members(name string, t reflect.Type, props *object, required *[]string) {
	src, err := s.src.of(t.PkgPath())
	if err != nil {
		s.fail("%w", err)
		return
	}
	for f := range t.Fields() {
		key, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case key == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && key == "":
			s.members(name, f.Type, props, required)
			continue
		case key == "":
			s.fail("%v.%s has no name in JSON", t, f.Name)
		}
		optional := strings.Contains(opts, "omitempty") || strings.Contains(opts, "omitzero")
		ft, null := f.Type, false
		if ft.Kind() == reflect.Pointer {
			ft, null = ft.Elem(), !optional
		}
		o, ok := fieldSchemas[name+"."+key]
		if !ok {
			o = s.schema(ft)
		}
		if null {
			o = nullable(o)
		}
		if doc := src.fields[t.Name()][f.Name]; doc != "" {
			o = append(slices.Clip(o), member{"description", doc})
		}
		*props = append(*props, member{key, o})
		if !optional {
			*required = append(*required, key)
		}
	}
}

func nullable(o object) object {
	if o[0].key == "type" {
		return append(object{{"type", []any{o[0].value, "null"}}}, o[1:]...)
	}
	return object{{"anyOf", []any{o, object{{"type", "null"}}}}}
}

// plain is the schema of a type without a name.
func (s *schemas) plain(t reflect.Type) object {
	if o, ok := special[t]; ok {
		return o
	}
	if t.Kind() != reflect.Struct && t.Implements(texts) {
		s.fail("%v is text: say which in special", t)
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Float32, reflect.Float64:
		return object{{"type", "number"}}
	case reflect.Int64, reflect.Int32, reflect.Int:
		return object{{"type", "integer"}, {"format", "int64"}}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		o := object{{"type", "integer"}, {"minimum", 0}}
		if t.Kind() == reflect.Uint64 {
			return append(o, member{"format", "uint64"})
		}
		return append(o, member{"maximum", uint64(1)<<t.Bits() - 1})
	case reflect.Slice, reflect.Array:
		return object{{"type", "array"}, {"items", s.schema(t.Elem())}}
	case reflect.Map:
		return object{{"type", "object"}, {"additionalProperties", s.schema(t.Elem())}}
	case reflect.Pointer:
		return s.schema(t.Elem())
	default:
		s.fail("%v: a %v has no schema: say which in special or fieldSchemas", t, t.Kind())
		return nil
	}
}
