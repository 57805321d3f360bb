// Package tap reads packets of one network namespace from a packet socket with a
// classic filter: all interfaces, both directions, from the IP header on.
//
// Idea: the kernel picks (a classic BPF program, no eBPF), the reader only ever sees
// what it asked for. The socket is cooked (SOCK_DGRAM), so that Ethernet, a VLAN, a
// tunnel and a raw link look the same. The filter is attached before the socket is
// bound: no packet comes that it did not pass.
//
// In: a filter, a namespace. Out: frames with the kernel's time of arrival, many a
// system call. What does not fit into the socket's buffer the kernel drops, and
// counts (Stats). It understands nothing of what it reads.
//
// A packet that is forwarded is seen at each interface that it passes. Both
// directions are needed, because translation happens between them: an answer has the
// client's address only where it leaves towards the client, and what this node
// itself sends never comes in. Readers deduplicate.
//
// The socket needs CAP_NET_RAW, and CAP_SYS_ADMIN to open it in another namespace.
// It costs every outgoing packet of the namespace a reference-counted clone and a
// run of the filter (dev_queue_xmit_nit). If we die here the kernel closes it.
package tap
