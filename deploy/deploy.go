// Package deploy holds the manifests that bring Weir to a cluster. They are
// generated from Go values by internal/gen/deploygen; edit those, then run
// `make generate`. The package itself only carries the files for tests and tools.
package deploy

import _ "embed"

//go:generate go run github.com/weirnet/weir/internal/gen/deploygen -out observe.yaml
//go:generate go run github.com/weirnet/weir/internal/gen/deploygen -evidence dns,icmp,resets,sockets -out observe-evidence.yaml
//go:generate go run github.com/weirnet/weir/internal/gen/deploygen -alerts alerts/weir.yaml -monitors monitoring.yaml

// Observe is observe.yaml: the agent as a pure observer, and the aggregator.
//
//go:embed observe.yaml
var Observe []byte

// Evidence is observe-evidence.yaml: the same with agents that read DNS, ICMP errors,
// RSTs and sockets, and have the rights for it.
//
//go:embed observe-evidence.yaml
var Evidence []byte
