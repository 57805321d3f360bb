package kube

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weirnet/weir/internal/nearest"
)

var (
	unknownField = regexp.MustCompile(`^unknown field "(?:(.*)\.)?([^."]*)"$`)
	wrongKind    = regexp.MustCompile(`^cannot unmarshal (?:bool|number)\b.* of type string$`)
)

// remedy is what to do about an error of the decoder, "" where its text says it all.
func remedy(text string) string {
	if wrongKind.MatchString(text) {
		return `: put "" around the value, as in "true"`
	}
	m := unknownField.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	known := fieldsAt(reflect.TypeFor[networkingv1.NetworkPolicy](), m[1])
	if near := nearest.Word(m[2], known); near != "" {
		return ": did you mean " + near + "?"
	}
	if len(known) == 0 || len(known) > 8 {
		return ": take it out"
	}
	return ": use " + strings.Join(known, ", ")
}

var index = regexp.MustCompile(`\[\d+\]`)

// fieldsAt names the keys of what a path like spec.ingress[0] leads to within t.
func fieldsAt(t reflect.Type, path string) []string {
	path = index.ReplaceAllString(path, "")
	for path != "" {
		var key string
		key, path, _ = strings.Cut(path, ".")
		i := slices.IndexFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return jsonName(&f) == key })
		if i < 0 {
			return nil
		}
		t = reflect.VisibleFields(t)[i].Type
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
	}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if n := jsonName(&f); n != "" {
			names = append(names, n)
		}
	}
	return names
}

func jsonName(f *reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return strings.TrimPrefix(name, "-")
}
