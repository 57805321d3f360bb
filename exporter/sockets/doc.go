// Package sockets reads what the kernel knows of the sockets in the pods' network
// namespaces, through NETLINK_SOCK_DIAG (sock_diag(7)).
//
// Idea: the sender's own TCP keeps what nobody on the path can measure as well:
// round trip times, what it sent again, what holds it back; a SYN that was dropped
// before conntrack confirmed it lives only in its SYN_SENT socket; and who listens
// where is a fact, not a guess. A walk visits the namespaces in turn, at a bounded
// rate, and keeps what it saw in a Table, where the exporter finds it by the tuple
// of the connection's end: the client's socket has the tuple before translation,
// the server's the one after it.
//
// In: namespaces (files that name them), netlink messages. Out: Socket values in
// the Table, Attempt, Listener, and a status for the node's coverage; in a record of a
// connection that did not go well, who waits at the server's port. A connection
// that lived between two walks was not seen and its fields stay absent. Sockets on
// loopback addresses are left out: another namespace may have the same.
//
// A netlink socket belongs to the namespace in which it was opened, so each is
// opened once, by a thread that enters and leaves; an open one keeps its namespace
// alive, so it is closed at the first walk that finds no name of it any more. If we
// die here, the kernel closes them; the next process begins anew with the first walk.
package sockets
