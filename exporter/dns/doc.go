// Package dns reads DNS messages as they pass and remembers which name a client asked
// for before it dialled an address, and what its DNS connections asked and got.
//
// Idea: the name of an outside address is the one that this client asked for, so an
// answer counts only for the client to which it went, and only if the question was
// seen before: same client port, same id, same name and type. An address belongs to the
// name that was asked if the answer's CNAMEs lead to it; any other record in the
// answer is ignored. Nothing is ever resolved.
//
// In: IP packets to and from port 53 and the time (Observer.Packet), UDP and TCP. Out,
// on asking: a name (Name), a DNS connection's last question, response code and time to
// answer (Flow). Everything is bounded and what is given up is counted (Stats). Pure:
// no I/O, no clock; exporter/dnswatch is the socket.
//
// Names are evidence, not proof: two names may share an address (the one asked for last
// before the connection began is told), a client may dial an address that it has from
// elsewhere, and what is asked by DNS over HTTPS or TLS is not seen. A client is an
// address: pods of the host network and the node's own processes share one.
//
// Parser: golang.org/x/net/dns/dnsmessage. It walks a message without building it, its
// compression pointers are bounded and it rejects labels with dots; a library that
// makes a tree of all records would do more work for each hostile message, and here
// records other than A, AAAA and CNAME are only skipped.
//
// If we die here, names asked for before are unknown to the successor until they are
// asked for again.
package dns
