package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentIsCurrent compares the committed document with what the types give.
func TestDocumentIsCurrent(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../../aggregator/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(have)); d != "" {
		t.Errorf("run make generate:\n%s", d)
	}
}
