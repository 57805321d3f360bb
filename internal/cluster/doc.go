// Package cluster knows who had which address, and when.
//
// Idea: an address is not an identity; an address at a time is. Every claim on an
// address (by a pod, a node, a Service) is a span with a beginning and an end, and
// a lookup names the time of the flow, so that a flow that ended 40 s ago finds
// the pod that had the address then, even if another pod has it now.
//
// In: Event values, in any order, with the time of their arrival (Model.Apply, one
// writer). Out: Index (many readers). It reads no API server, file or clock, and
// it starts nothing; internal/kube feeds it.
//
// Spans that have ended are kept for a bounded time and number; what is forgotten
// early is counted by reason (Stats). What a lookup says depends on the claims
// that are known, never on the order in which they arrived.
//
// If we die here the history is lost and the present is read again: flows of pods
// that were deleted before the restart stay unnamed, none gets a wrong name.
package cluster
