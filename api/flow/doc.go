// Package flow holds the nouns that every part of Weir shares: the connection
// key, the flow record, the rule that decided, and the one table of fields
// (schema.go) from which IPFIX templates, JSON, CSV, flow.proto and docs/fields.md derive.
//
// Inputs and outputs are values; the package does no I/O, reads no clock and
// starts no goroutine. It does not decide anything about a flow: conntrack
// reading, naming and correlation live in exporter and aggregator. There is no
// state here that could be lost.
package flow

//go:generate go run ../../internal/gen/flowgen
//go:generate go run ../../internal/gen/fielddoc ../../docs/fields.md
//go:generate go run ../../internal/gen/flowproto flow.proto
