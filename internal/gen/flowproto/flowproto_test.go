package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

func TestProtoFileIsCurrent(t *testing.T) {
	got, err := os.ReadFile("../../../api/flow/flow.proto")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), string(render(flow.Fields))); diff != "" {
		t.Errorf("api/flow/flow.proto is not what the table says: run `go generate ./api/flow` (-file +table):\n%s", diff)
	}
}
