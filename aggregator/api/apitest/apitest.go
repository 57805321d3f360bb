// Package apitest holds answers of the API against its OpenAPI document, in tests.
//
// In: the document and an answer. Out: what the answer has that the document does not,
// or has otherwise. It is strict: a property that is not described is an error here,
// while to clients it is not. It asks nobody anything.
package apitest

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Document is an OpenAPI document to check answers by.
type Document struct {
	root     map[string]any
	compiler *jsonschema.Compiler

	mu   sync.Mutex
	seen map[string]bool
}

const location = "openapi.json"

// Parse reads a document.
func Parse(text []byte) (*Document, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the document is no object")
	}
	closeObjects(root)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(location, root); err != nil {
		return nil, err
	}
	return &Document{root: root, compiler: c, seen: map[string]bool{}}, nil
}

// closeObjects forbids what no schema of an object describes.
func closeObjects(v any) {
	switch x := v.(type) {
	case map[string]any:
		_, is := x["properties"].(map[string]any)
		if _, has := x["additionalProperties"]; is && !has && x["type"] == "object" {
			x["additionalProperties"] = false
		}
		for _, m := range x {
			closeObjects(m)
		}
	case []any:
		for _, m := range x {
			closeObjects(m)
		}
	}
}

// place is where something stands in the document.
type place []string

// at follows keys from a place, and references, to an object; nil where there is none.
func (d *Document) at(from place, keys ...string) (place, map[string]any) {
	p := append(slices.Clip(from), keys...)
	var v any = d.root
	for _, k := range p {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	m, _ := v.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		return d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/"))
	}
	return p, m
}

// operation finds METHOD PATH.
func (d *Document) operation(method, path string) (place, map[string]any) {
	return d.at(place{"paths", "/" + path, strings.ToLower(method)})
}

// Operations gives METHOD PATH of each operation, and whether it is for callers who see
// the whole cluster.
func (d *Document) Operations() map[string]bool {
	out := map[string]bool{}
	_, paths := d.at(place{"paths"})
	for path := range paths {
		_, item := d.at(place{"paths", path})
		for method := range item {
			_, op := d.at(place{"paths", path, method})
			whole, _ := op["x-whole-cluster"].(bool)
			out[strings.ToUpper(method)+" "+strings.TrimPrefix(path, "/")] = whole
		}
	}
	return out
}

// Parameters gives the names of an operation's parameters, of a form's where it has one;
// those that may be given several times with a star.
func (d *Document) Parameters(method, path string) []string {
	p, op := d.operation(method, path)
	out := []string{}
	add := func(name any, schema map[string]any) {
		star := ""
		if schema["type"] == "array" {
			star = "*"
		}
		out = append(out, fmt.Sprint(name)+star)
	}
	params, _ := op["parameters"].([]any)
	for _, x := range params {
		m, _ := x.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			_, m = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/"))
		}
		schema, _ := m["schema"].(map[string]any)
		add(m["name"], schema)
	}
	_, form := d.at(p, "requestBody", "content", "application/x-www-form-urlencoded", "schema", "properties")
	for name, x := range form {
		schema, _ := x.(map[string]any)
		add(name, schema)
	}
	slices.Sort(out)
	return out
}

// Forms gives "METHOD PATH STATUS MEDIA" of each answer that is described.
func (d *Document) Forms() []string {
	var out []string
	for op := range d.Operations() {
		method, path, _ := strings.Cut(op, " ")
		p, _ := d.operation(method, path)
		_, responses := d.at(p, "responses")
		for status := range responses {
			_, content := d.at(p, "responses", status, "content")
			if content == nil {
				at, _ := d.at(p, "responses", status)
				_, content = d.at(at, "content")
			}
			for media := range content {
				out = append(out, op+" "+status+" "+media)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Seen says whether an answer of that form was checked and found right.
func (d *Document) Seen(form string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen[form]
}

// Check holds an answer against the document; target is the request's URL or path.
func (d *Document) Check(method, target string, status int, header http.Header, body []byte) error {
	err := d.check(method, target, status, header, body)
	if err != nil {
		err = fmt.Errorf("%s %s answers %d: %w", method, target, status, err)
	}
	return err
}

func (d *Document) check(method, target string, status int, header http.Header, body []byte) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	path, ok := strings.CutPrefix(u.Path, "/api/v1/")
	op, described := d.operation(method, path)
	if !ok || described == nil {
		if status < http.StatusBadRequest {
			return fmt.Errorf("no such operation is described")
		}
		return d.valid(body, place{"components", "schemas", "Failure"}) // of what is not there
	}
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	response, described := d.at(op, "responses", fmt.Sprint(status))
	if described == nil {
		return fmt.Errorf("the status is not described")
	}
	form, described := d.at(response, "content", media)
	if described == nil {
		return fmt.Errorf("its type %q is not described", media)
	}
	if line, is := d.at(form, "x-item-schema"); is != nil {
		err = d.lines(body, media, line)
	} else if last, is := d.at(form, "x-trailer-schema"); is != nil {
		err = d.table(body, last)
	} else {
		err = d.valid(body, append(slices.Clip(form), "schema"))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", media, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[fmt.Sprintf("%s %s %d %s", method, path, status, media)] = true
	return nil
}

// lines checks each line of a stream.
func (d *Document) lines(body []byte, media string, schema place) error {
	for line := range bytes.Lines(body) {
		if media == "text/event-stream" {
			data, ok := bytes.CutPrefix(line, []byte("data: "))
			if !ok && len(bytes.TrimSpace(line)) > 0 {
				return fmt.Errorf("%q is no event", line)
			}
			line = data
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := d.valid(line, schema); err != nil {
			return err
		}
	}
	return nil
}

// table checks CSV whose last line is a comment.
func (d *Document) table(body []byte, trailer place) error {
	rows, last, ok := bytes.Cut(body, []byte("\n# "))
	if !ok {
		return fmt.Errorf("there is no last line in %.200s", body)
	}
	if _, err := csv.NewReader(bytes.NewReader(rows)).ReadAll(); err != nil {
		return err
	}
	return d.valid(last, trailer)
}

var pointer = strings.NewReplacer("~", "~0", "/", "~1")

// valid checks a value by the schema at a place.
func (d *Document) valid(body []byte, p place) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w in %.200s", err, body)
	}
	keys := []string{location + "#"}
	for _, k := range p {
		keys = append(keys, url.PathEscape(pointer.Replace(k)))
	}
	d.mu.Lock()
	s, err := d.compiler.Compile(strings.Join(keys, "/"))
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("%w in %.400s", err, body)
	}
	return nil
}

// Watch checks every answer of a handler.
func (d *Document) Watch(h http.Handler, wrong func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &copied{ResponseWriter: w, code: http.StatusOK}
		h.ServeHTTP(c, r)
		body := c.body.Bytes()
		if r.Context().Err() != nil { // the client went, amid a line perhaps
			body = body[:bytes.LastIndexByte(body, '\n')+1]
		}
		if err := d.Check(r.Method, r.URL.String(), c.code, w.Header(), body); err != nil {
			wrong(err)
		}
	})
}

// copied keeps what is written.
type copied struct {
	http.ResponseWriter

	code int
	body bytes.Buffer
}

func (c *copied) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

func (c *copied) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is below.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }
