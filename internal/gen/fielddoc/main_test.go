package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

func TestFieldsPageIsCurrent(t *testing.T) {
	got, err := os.ReadFile("../../../docs/fields.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), string(render(flow.Fields))); diff != "" {
		t.Errorf("docs/fields.md is not what the table says: run `go generate ./api/flow` (-file +table):\n%s", diff)
	}
}

func TestEveryFieldSaysItsMeaningAndAbsence(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range flow.Fields {
		if f.Doc == "" || f.Absent == "" || f.Name == "" || len(f.Elems) == 0 {
			t.Errorf("field %q lacks a meaning, what absence means, or an element", f.Name)
		}
		if seen[f.Name] {
			t.Errorf("field %q stands twice", f.Name)
		}
		seen[f.Name] = true
	}
}
