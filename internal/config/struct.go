package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type field struct {
	name, flag, short, doc string
	index                  []int
	typ                    reflect.Type
}

// fieldsOf lists the keys of a struct; embedded structs without a name are part
// of it.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			for _, sub := range fieldsOf(f.Type) {
				sub.index = append([]int{i}, sub.index...)
				out = append(out, sub)
			}
			continue
		}
		if !f.IsExported() || name == "-" || name == "" {
			continue
		}
		flag, short, _ := strings.Cut(f.Tag.Get("flag"), ",")
		out = append(out, field{name, flag, short, f.Tag.Get("doc"), []int{i}, f.Type})
	}
	return out
}

// walk visits every key below v; leaf is false for structs and lists of structs.
func walk(v reflect.Value, path string, visit func(path string, f field, v reflect.Value, leaf bool)) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		p := join(path, f.name)
		for fv.Kind() == reflect.Pointer {
			if fv.IsNil() {
				fv = reflect.New(fv.Type().Elem())
			}
			fv = fv.Elem()
		}
		switch {
		case fv.Kind() == reflect.Struct:
			visit(p, f, fv, false)
			walk(fv, p, visit)
		case fv.Kind() == reflect.Slice && fv.Type().Elem().Kind() == reflect.Struct:
			visit(p, f, fv, false)
			item := reflect.New(fv.Type().Elem())
			if d, ok := reflect.TypeAssert[interface{ SetDefaults() }](item); ok {
				d.SetDefaults()
			}
			walk(item.Elem(), p+"[]", visit)
		default:
			visit(p, f, fv, true)
		}
	}
}

// Dump prints the effective configuration as YAML that the binary reads back.
func Dump(kind string, cfg any) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	root.Content = append(root.Content, scalar("apiVersion"), scalar(APIVersion), scalar("kind"), scalar(kind))
	body := toNode(reflect.ValueOf(cfg).Elem())
	root.Content = append(root.Content, body.Content...)
	b, err := yaml.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("dump %s: %w", kind, err)
	}
	return b, nil
}

func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func toNode(v reflect.Value) *yaml.Node {
	switch {
	case v.Kind() == reflect.Pointer:
		return toNode(v.Elem())
	case v.Kind() == reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range fieldsOf(v.Type()) {
			fv := v.FieldByIndex(f.index)
			if fv.Kind() == reflect.Pointer && fv.IsNil() {
				continue
			}
			n.Content = append(n.Content, scalar(f.name), toNode(fv))
		}
		return n
	case v.Kind() == reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, toNode(v.Index(i)))
		}
		return n
	case v.Kind() == reflect.String:
		n := &yaml.Node{}
		_ = n.Encode(v.String()) // quotes what would read as another type
		return n
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: text(v)}
	}
}

// text is a value as it is written in a file or behind a flag.
func text(v reflect.Value) string {
	if v.Type() == durationType {
		return shortDuration(time.Duration(v.Int()))
	}
	if v.Kind() == reflect.Slice {
		var s []string
		for i := range v.Len() {
			s = append(s, text(v.Index(i)))
		}
		return strings.Join(s, ",")
	}
	return fmt.Sprint(v.Interface())
}

// shortDuration is d without the zero parts that time.Duration prints: 1m, not 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// Key describes one key for docs/config.md.
type Key struct {
	Path, Type, Default, Flag, Doc string
}

// Keys lists the keys of a configuration whose values are the defaults.
func Keys(cfg any) []Key {
	var out []Key
	walk(reflect.ValueOf(cfg).Elem(), "", func(path string, f field, v reflect.Value, leaf bool) {
		k := Key{Path: path, Flag: f.flag, Doc: f.doc, Type: typeWord(v)}
		if leaf {
			k.Default = text(v)
		}
		out = append(out, k)
	})
	return out
}

func typeWord(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "duration"
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		return "list"
	case v.Kind() == reflect.Slice:
		return "list of " + typeWord(reflect.New(v.Type().Elem()).Elem())
	case v.Kind() == reflect.Struct:
		return "mapping"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.String:
		return "text"
	default:
		return "number"
	}
}
