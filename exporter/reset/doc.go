// Package reset watches for TCP segments with RST and says who sent each: the end
// whose address it has, or this node in that end's name.
//
// Idea: conntrack knows that a connection was reset and not by whom (RFC 9293 section
// 3.5.2: either end may). The segment has the sender's address; but a firewall that
// rejects puts the server's there. What this node forwards comes in before it goes out,
// so a RST that only goes out was made here, and if its address is none of this node's,
// a rule of this node made it.
//
// In: a packet socket with a classic filter (exporter/tap) on all interfaces of one
// network namespace, both directions, both families. Out: Reset values in bounded
// batches:
//
//	w, err := reset.Watch(reset.Options{NetNS: path})
//	for batch := range w.Resets() { for i := range batch { use(&batch[i]) } }
//
// Resets is closed after Stop. What a slow reader leaves is dropped and counted. A RST
// that passes several interfaces is told once for each pair of addresses that it has
// there (translation changes them, and leaves the sequence numbers). Where the kernel
// dropped frames, the missing one may be how a RST came in: what was seen to leave only
// is not told then, and counted (Stats.Unsure).
//
// It cannot tell what another node on the path made in an end's name, nor a rule of
// this node that rejects what is addressed to the node itself. Anyone can forge a RST:
// a consumer takes it only for a connection that conntrack says was reset. IPv6 packets
// with extension headers are not seen.
//
// If we die here, resets that come meanwhile have no sender.
package reset
