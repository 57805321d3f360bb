// Package deploy holds the manifests that bring Weir to a cluster. observe.yaml is
// generated from Go values by internal/gen/deploygen; edit those, then run
// `make generate`. The package itself only carries the file for tests and tools.
package deploy

import _ "embed"

//go:generate go run github.com/weirnet/weir/internal/gen/deploygen -out observe.yaml

// Observe is observe.yaml: the agent as a pure observer, and the aggregator.
//
//go:embed observe.yaml
var Observe []byte
