// Package icmp watches for ICMP errors and gives each with the connection that it
// quotes: port and host unreachable, prohibited, fragmentation needed and packet
// too big, time exceeded.
//
// Idea: an error quotes the beginning of the packet that it answers (RFC 792, RFC
// 4443), so it is evidence about one connection from a named sender. It is hearsay:
// anyone who can send to this node can make one. A consumer takes it only for a
// tuple that it knows.
//
// In: a packet socket with a classic filter (exporter/tap) on all interfaces of one
// network namespace. Out: Error values in bounded batches:
//
//	w, err := icmp.Watch(icmp.Options{NetNS: path})
//	for batch := range w.Errors() { for i := range batch { use(&batch[i]) } }
//
// Read them in the exporter's loop. Errors is closed after Stop. What a slow reader
// leaves is dropped there and counted (Stats.Dropped).
//
// Both directions are watched, since an error that this node itself makes for a pod
// is only ever outgoing and one for this node's processes only incoming. What passes
// several interfaces is seen several times; it is told once (Stats.Repeated). Where
// the client is translated, the error is told twice: with the tuple as the outside
// knows it (conntrack's reply tuple, reversed) and with the client's own (conntrack's
// original tuple). Quoted is in the direction of the packet that failed: compare it
// with Orig and Reply of an entry and with both reversed.
//
// If we die here, errors that come meanwhile are not seen: the outcome of their
// connections rests on other evidence.
package icmp
