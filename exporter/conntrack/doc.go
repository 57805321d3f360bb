// Package conntrack reads connections where they are tracked: the kernel's
// nf_conntrack through netlink, OVS's userspace conntrack through its control
// socket, or a recorded stream of either.
//
// Idea: the kernel is the floor of the cost, so nothing is allocated above it: one
// buffer, one track.Conn, and a walk over the attributes. A dump gives the state
// of all entries; DESTROY events give the last numbers of those that die in
// between. Entries that are older than the listener emit no event under the
// kernel's default (nf_conntrack_events=2): the next dump shows that they are gone.
//
// In: netlink messages, vswitchd's text, a file. Out: track.Conn values, by
// callback (Dump) or in bounded batches (Events). What the source does not tell
// stays absent. Zones and marks are filtered in the kernel, and again here, as
// kernels before 5.8 and 6.8 ignore the filters. Nothing is kept about a
// connection (exporter/track does that) and no sysctl is written unless asked
// (EnableAccounting).
//
// Events are reliable as conntrackd's are: with NETLINK_BROADCAST_ERROR an entry
// whose event did not fit waits in the kernel, dying, and its event comes again.
// If we die here, the kernel drops our socket and what waited for it; the next
// process dumps the table.
package conntrack
