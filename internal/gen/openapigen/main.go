// Command openapigen writes the OpenAPI 3.1 description of the aggregator's API from
// the Go types of its answers, their comments, and the table of flow fields. It is run
// by `go generate ./aggregator/api`.
//
// In: the types, by reflection; their comments and constants, from their source; the
// operations (operations.go), which a test of aggregator/api holds against its routes
// and handlers. Out: one JSON file. It writes nothing else and asks no network.
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: openapigen FILE")
	}
	doc, err := render()
	if err != nil {
		log.Fatal("openapigen: ", err)
	}
	if err := os.WriteFile(os.Args[1], doc, 0o644); err != nil {
		log.Fatal(err)
	}
}

const about = `What weir-aggregator knows: flows as they come and as they were, queries over them, and what follows from them. ` +
	`Times are RFC 3339, or a duration before now (90s, 2h), or milliseconds since the epoch. Unknown parameters are errors. ` +
	`A property that is absent is not known; it never means zero.`

// render gives the document.
func render() ([]byte, error) {
	s, err := newSchemas()
	if err != nil {
		return nil, err
	}
	paths, err := s.paths()
	if err != nil {
		return nil, err
	}
	if err := s.addFlow(); err != nil {
		return nil, err
	}
	doc := object{
		{"openapi", "3.1.0"},
		{"info", object{
			{"title", "Weir aggregator"},
			{"version", "1"},
			{"description", about},
			{"license", object{{"name", "Apache 2.0"}, {"identifier", "Apache-2.0"}}},
		}},
		{"servers", []any{object{{"url", "/api/v1"}}}},
		{"security", []any{object{{"token", []any{}}}, object{{"certificate", []any{}}}, object{}}},
		{"paths", paths},
		{"components", object{
			{"securitySchemes", object{
				{"token", object{{"type", "http"}, {"scheme", "bearer"}, {"description", "a token of api.tokenFile, or one of the cluster's, which its API server reviews"}}},
				{"certificate", object{{"type", "mutualTLS"}, {"description", "a client certificate that api.clientCAFile has signed"}}},
			}},
			{"parameters", sharedParameters()},
			{"responses", failures()},
			{"schemas", s.all()},
		}},
	}
	if s.err != nil {
		return nil, s.err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		for j, v := range []any{m.key, m.value} {
			var t bytes.Buffer
			enc := json.NewEncoder(&t)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return nil, err
			}
			if j > 0 {
				b = append(b, ':')
			}
			b = append(b, bytes.TrimSpace(t.Bytes())...)
		}
	}
	return append(b, '}'), nil
}

// ref points to a named schema, response or parameter.
func ref(kind, name string) object { return object{{"$ref", "#/components/" + kind + "/" + name}} }
