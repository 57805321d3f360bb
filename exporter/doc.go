// Package exporter runs the flow exporter of one node: it reads connections from a
// source, has the tracker find what is new about them, has them named and sends
// the records on.
//
// Idea: one goroutine owns source, tracker and enrichment, so that order is plain:
// a DESTROY event is applied between dumps, never inside one. Time is read in one
// place and passed on.
//
// In: conntrack.Source. Out: Sink.Send, one record at a time; a sink that cannot
// take it books it lost. The ledger's stages "conntrack" and "track" account for
// every connection and byte that the source showed. It does no I/O of its own.
//
// On a graceful stop it reads what events had arrived, dumps once more and exports
// all that is pending. If we die here, the connections are still in the kernel;
// those that ended since the last export are lost, and the aggregator sees the
// gap in the sequence numbers.
package exporter
