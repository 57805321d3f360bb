// Package nflog reads what the rules of nftables and iptables log to a group of
// NFNETLINK_LOG (`log group 5 prefix "DENY:web "`, `-j NFLOG --nflog-group 5`), and
// makes of it proof that a packet was denied, and by which rule.
//
// Idea: a SYN that a rule drops or rejects leaves no conntrack entry, so nothing else
// on the node shows it. The rule itself can say so: it logs the packet to a group
// with a prefix, and the configuration says what the prefixes mean (Rule). What no
// Rule matches is counted and told to nobody.
//
// In: NFLOG messages of the groups that the rules name, in one network namespace.
// Out: Denial values in bounded batches:
//
//	l, err := nflog.Listen(nflog.Options{NetNS: path, Rules: rules})
//	for batch := range l.Denials() { for i := range batch { use(&batch[i]) } }
//
// Read them in the exporter's loop. Denials is closed after Stop. What a slow reader
// leaves is dropped there and counted (Stats.Dropped); what the kernel had no room
// for is counted by the gaps in the sequence numbers (Stats.Lost) and ENOBUFS
// (Stats.Overruns).
//
// Tuple is as the packet was where the rule stood: in a forward or input chain its
// destination is the endpoint, after DNAT; its source is the client's own. A denial
// is one packet: a client that tries again makes another.
//
// A group has one reader. A group that another process has (ulogd) is refused with
// its number. If we die here, the kernel frees the groups, and what is logged
// meanwhile is gone; the rules go on as they are.
package nflog
