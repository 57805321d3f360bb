// Package config reads the one YAML file of a binary: strict, versioned, and with
// errors that name the file, the line, the key, the value and the remedy.
//
// In: bytes, flags, and structs whose fields carry json, flag and doc tags; the
// structs of components have Validate. Out: a filled struct, its dump, and the
// reference in docs/config.md. Secrets are never in a struct: a key names the file
// that holds them, so a dump cannot leak one. It opens nothing that a key names.
package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirnet/weir/internal/nearest"
)

// APIVersion is the version of the files that this package reads.
const APIVersion = "weir.dev/v1alpha1"

// Problem is one thing that is wrong in a file or in a flag.
type Problem struct {
	File string // or "flag"
	Line int    // 0 where it has none
	Path string // send.aggregators[0]
	Text string // what is wrong and what to do
}

// Error gives the problem in one line.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	return b.String() + ": " + p.Text
}

type decoder struct {
	file     string
	lines    map[string]int
	problems []error
}

func (d *decoder) bad(n *yaml.Node, path, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	d.problems = append(d.problems, Problem{d.file, line, path, fmt.Sprintf(format, args...)})
}

// decode fills v from the document; it goes on after a problem to find them all.
func (d *decoder) decode(data []byte, kind string, v reflect.Value) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		d.problems = append(d.problems, Problem{File: d.file, Text: strings.TrimPrefix(err.Error(), "yaml: ")})
		return
	}
	if len(doc.Content) == 0 {
		d.bad(nil, "", "the file is empty: it begins with apiVersion: %s and kind: %s", APIVersion, kind)
		return
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		d.bad(root, "", "not a mapping: it begins with apiVersion: %s and kind: %s", APIVersion, kind)
		return
	}
	head := map[string]*yaml.Node{}
	rest := &yaml.Node{Kind: yaml.MappingNode, Line: root.Line}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k := root.Content[i]
		if k.Value == "apiVersion" || k.Value == "kind" {
			head[k.Value] = root.Content[i+1]
			continue
		}
		rest.Content = append(rest.Content, k, root.Content[i+1])
	}
	for _, want := range []struct{ key, value string }{{"apiVersion", APIVersion}, {"kind", kind}} {
		switch n := head[want.key]; {
		case n == nil:
			d.bad(root, want.key, "missing: write %s: %s", want.key, want.value)
		case n.Value != want.value:
			d.bad(n, want.key, "%q is not read by this binary: write %s", n.Value, want.value)
		}
	}
	d.value(rest, "", v)
}

var durationType = reflect.TypeFor[time.Duration]()

// shorthand is a struct that may be written as one value, which is that of a key.
type shorthand interface{ Shorthand() string }

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if path != "" {
		d.lines[path] = n.Line
	}
	switch {
	case v.Kind() == reflect.Pointer:
		if n.Tag == "!!null" {
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, path, v.Elem())
	case v.Kind() == reflect.Struct:
		if short, ok := reflect.TypeAssert[shorthand](v); ok && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			for _, f := range fieldsOf(v.Type()) {
				if f.name == short.Shorthand() {
					d.value(n, join(path, f.name), v.FieldByIndex(f.index))
				}
			}
			return
		}
		d.mapping(n, path, v)
	case v.Kind() == reflect.Slice:
		d.list(n, path, v)
	case n.Kind != yaml.ScalarNode:
		d.bad(n, path, "a single value is wanted here, not a %s", nodeWord(n))
	default:
		if err := setScalar(v, n.Value); err != nil {
			d.bad(n, path, "%v", err)
		}
	}
}

func nodeWord(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	default:
		return "single value"
	}
}

func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	if n.Tag == "!!null" {
		return // a key with nothing under it: all defaults
	}
	if n.Kind != yaml.MappingNode {
		d.bad(n, path, "a mapping is wanted here, not a %s", nodeWord(n))
		return
	}
	fields := map[string]reflect.Value{}
	var names []string
	for _, f := range fieldsOf(v.Type()) {
		fields[f.name] = v.FieldByIndex(f.index)
		names = append(names, f.name)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		p := join(path, k.Value)
		f, ok := fields[k.Value]
		switch {
		case !ok:
			d.bad(k, p, "%s", unknownKey(k.Value, names))
		case seen[k.Value]:
			d.bad(k, p, "the key stands here twice: remove one")
		default:
			seen[k.Value] = true
			d.value(val, p, f)
		}
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Tag == "!!null" {
		v.Set(reflect.Zero(v.Type()))
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.bad(n, path, "a list is wanted here, not a %s: write each item on a line of its own behind a dash", nodeWord(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		item := out.Index(i)
		if dflt, ok := reflect.TypeAssert[interface{ SetDefaults() }](item.Addr()); ok {
			dflt.SetDefaults()
		}
		d.value(c, fmt.Sprintf("%s[%d]", path, i), item)
	}
	v.Set(out)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// setScalar parses s into v; its errors name the value and the remedy.
func setScalar(v reflect.Value, s string) error {
	if v.Type() == durationType {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is no duration: write it like 5s, 1m30s or 250ms", s)
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, v.Type().Bits())
		if err != nil {
			return numberError(s, err)
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 10, v.Type().Bits())
		if err != nil {
			return numberError(s, err)
		}
		v.SetUint(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", s)
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("config: no way to read a %s", v.Type())
	}
	return nil
}

func numberError(s string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is too large", s)
	}
	if strings.HasPrefix(s, "-") {
		return fmt.Errorf("%q is no whole number of 0 or more", s)
	}
	return fmt.Errorf("%q is no whole number", s)
}

// unknownKey names the nearest key, or all of them where none is near.
func unknownKey(got string, names []string) string {
	if near := Nearest(got, names); near != "" {
		return fmt.Sprintf("unknown key: did you mean %s?", near)
	}
	return "unknown key: the keys here are " + strings.Join(names, ", ")
}

// Nearest gives the word of words that s most likely was meant to be, or "".
func Nearest(s string, words []string) string { return nearest.Word(s, words) }
