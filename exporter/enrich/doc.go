// Package enrich turns an export of one connection into a flow.Record with names:
// pods, workloads, nodes, zones, Services, external networks.
//
// Idea: everything that a node can say about a connection is said once, here, at
// the time of the flow: a name is looked up at the time at which the connection
// had it (internal/cluster), not at the time at which the record is made.
//
// In: track.Export, cluster.Reader, a Names file. Out: one flow.Record, filled in
// place; no field is filled that is not known, and a counter that the kernel did
// not keep stays absent. It joins no ends, opens nothing and keeps no connection.
//
// If we die here nothing is lost: the connections are the tracker's.
package enrich
