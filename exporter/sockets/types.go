package sockets

import (
	"github.com/weirnet/weir/api/flow"
)

// State is the state of a TCP socket (include/net/tcp_states.h). UDP sockets are
// Closed, or Established where they are connected.
type State uint8

// The states, with the kernel's names.
const (
	Established State = 1  // TCP_ESTABLISHED
	SynSent     State = 2  // TCP_SYN_SENT
	SynRecv     State = 3  // TCP_SYN_RECV
	FinWait1    State = 4  // TCP_FIN_WAIT1
	FinWait2    State = 5  // TCP_FIN_WAIT2
	TimeWait    State = 6  // TCP_TIME_WAIT
	Closed      State = 7  // TCP_CLOSE
	CloseWait   State = 8  // TCP_CLOSE_WAIT
	LastAck     State = 9  // TCP_LAST_ACK
	Listen      State = 10 // TCP_LISTEN
	Closing     State = 11 // TCP_CLOSING
	NewSynRecv  State = 12 // TCP_NEW_SYN_RECV
)

// Socket is one socket at one instant.
type Socket struct {
	Tuple  flow.Tuple // Src is the socket's own end
	State  State
	Cookie uint64 // idiag_cookie: tells two sockets with one tuple apart
	Queue  uint32 // idiag_rqueue; of a listening TCP socket sk_ack_backlog: connections that wait for accept(2)
	Limit  uint32 // idiag_wqueue; of a listening TCP socket sk_max_ack_backlog: what listen(2) asked for
	Drops  uint32 // SK_MEMINFO_DROPS: packets that the socket had no room for; valid with HasDrops
	Info   Info

	HasDrops bool
	HasInfo  bool
	V6       bool // AF_INET6
	V6Only   bool // INET_DIAG_SKV6ONLY: of a waiting AF_INET6 socket, no IPv4
}

// Info is what is taken of struct tcp_info (include/uapi/linux/tcp.h).
type Info struct {
	RTT        uint32 // tcpi_rtt, smoothed, us; 0 where it was not measured yet
	RTTMin     uint32 // tcpi_min_rtt, us; 0 where not measured, or the kernel has none (before 4.5)
	Retrans    uint32 // tcpi_total_retrans, segments, SYN and FIN among them
	Unanswered uint8  // tcpi_retransmits: times that the oldest segment, such as the SYN, was sent again
	PathMTU    uint32 // tcpi_pmtu, bytes
	AppLimited bool   // tcpi_delivery_rate_app_limited
	// Cumulative, us; valid with HasBusy (kernels from 4.10 on).
	Busy   uint64 // tcpi_busy_time: something was in flight or waited, the two below included
	Rwnd   uint64 // tcpi_rwnd_limited: the receiver's window was full
	Sndbuf uint64 // tcpi_sndbuf_limited: the own send buffer was full

	HasBusy bool
}

// Attempt is a TCP connection that was tried and that the far end had not answered
// when it was last seen: its socket is or was in SYN_SENT. It proves that the SYN
// was sent, not why nothing came back.
type Attempt struct {
	Tuple       flow.Tuple // as the client dialled it, before any translation
	NetNS       uint64     // inode of the client's network namespace
	FirstMs     int64      // the first walk that saw it, Unix ms; the connect(2) was up to one walk before
	LastMs      int64      // the last walk that saw it
	Retransmits uint32     // SYNs sent again when last seen; 0 after the first SYN alone
	// Over: a later complete walk of the namespace had no such socket. The caller
	// gave up, or was refused, or the connection was made and ended between two walks:
	// conntrack can tell.
	Over bool
}

// Listener is a socket that waits for others.
type Listener struct {
	Addr     [16]byte // bind address, IPv4 mapped; all zero for every address
	Port     uint16
	Proto    uint8  // 6 TCP, 17 UDP
	V6       bool   // an AF_INET6 socket; bound to all addresses it takes IPv4 too, unless V6Only
	V6Only   bool   // IPV6_V6ONLY
	Queue    uint32 // TCP: connections that wait for accept(2). UDP: bytes that wait to be read
	Limit    uint32 // TCP: how many may wait, as listen(2) asked; the queue is full when Queue exceeds it. UDP: 0
	Drops    uint32 // packets that it had no room for since it was made; valid with HasDrops
	HasDrops bool
}

// Full says that the accept queue takes no more: the kernel drops SYNs
// (sk_acceptq_is_full).
func (l *Listener) Full() bool { return l.Proto == protoTCP && l.Queue > l.Limit }

// Loopback says that only the pod itself can reach it.
func (l *Listener) Loopback() bool { return loopback(&l.Addr) }

// Any says that it is bound to every address.
func (l *Listener) Any() bool {
	return l.Addr == [16]byte{} || l.Addr == [16]byte{10: 0xff, 11: 0xff}
}

const (
	protoTCP = 6
	protoUDP = 17
)

func loopback(a *[16]byte) bool {
	return *a == [16]byte{15: 1} || ([12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff} && a[12] == 127)
}
