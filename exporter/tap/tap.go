package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter/conntrack"
)

// Options of a Socket.
type Options struct {
	NetNS   string // path of a network namespace; "" for the present one
	Filter  []bpf.Instruction
	Receive int // bytes of the socket's receive buffer; 0 for 4 MiB
}

const (
	defaultReceive = 4 << 20
	frames         = 16      // that one system call may bring
	frameSize      = 1 << 16 // the largest IPv4 packet, and all of a joined one (GRO)
	controlSize    = 64
	wake           = 200 * time.Millisecond // how long a read waits for the first packet
)

// Frame is one packet from its IP header on. Data is valid until the next read.
type Frame struct {
	Data   []byte
	TimeNs int64 // when the kernel had it, Unix ns
	Cut    bool  // Data is not all of it
	// Outgoing: it was seen as it left (PACKET_OUTGOING). What is forwarded came in
	// before; what did not was made by this node.
	Outgoing bool
}

// Stats counts what passed the filter.
type Stats struct {
	Packets uint64 // that passed it, the dropped ones too
	Dropped uint64 // of them, for lack of room in the socket's buffer
}

// Socket is an open packet socket. One goroutine reads; Stats is for any.
type Socket struct {
	fd       int
	bufs     []byte
	control  []byte
	names    []unix.RawSockaddrLinklayer
	iovs     []unix.Iovec
	msgs     []mmsghdr
	received atomic.Uint64
	dropped  atomic.Uint64
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// Open opens a socket that sees what the filter takes, from now on.
func Open(o Options) (*Socket, error) {
	code, err := bpf.Assemble(o.Filter)
	if err != nil {
		return nil, fmt.Errorf("packet filter: %w", err)
	}
	s := &Socket{fd: -1}
	err = conntrack.InNetNS(o.NetNS, func() error {
		// Protocol 0: nothing arrives before the filter is there.
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("open a packet socket: %w (needs CAP_NET_RAW)", err)
		}
		if err != nil {
			return fmt.Errorf("open a packet socket: %w (is CONFIG_PACKET in the kernel?)", err)
		}
		return nil
	})
	if err == nil {
		err = s.prepare(o, code)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.room()
	return s, nil
}

func (s *Socket) prepare(o Options, code []bpf.RawInstruction) error {
	list := make([]unix.SockFilter, len(code))
	for i, c := range code {
		list[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	f := unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f); err != nil {
		return fmt.Errorf("attach the packet filter: %w", err)
	}
	if o.Receive <= 0 {
		o.Receive = defaultReceive
	}
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, o.Receive) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, o.Receive) // without CAP_NET_ADMIN it stays smaller
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for times of arrival: %w", err)
	}
	tv := unix.NsecToTimeval(int64(wake))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fmt.Errorf("set the packet socket's timeout: %w", err)
	}
	// Only a socket for all protocols is shown what goes out.
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all}); err != nil {
		return fmt.Errorf("bind the packet socket: %w", err)
	}
	return nil
}

func (s *Socket) room() {
	s.bufs, s.control = make([]byte, frames*frameSize), make([]byte, frames*controlSize)
	s.iovs, s.msgs = make([]unix.Iovec, frames), make([]mmsghdr, frames)
	s.names = make([]unix.RawSockaddrLinklayer, frames)
	for i := range s.msgs {
		s.iovs[i].Base = &s.bufs[i*frameSize]
		s.iovs[i].SetLen(frameSize)
		h := &s.msgs[i].hdr
		h.Iov, h.Control = &s.iovs[i], &s.control[i*controlSize]
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.SetIovlen(1)
	}
}

// Read waits a moment for packets and gives each to fn. No packet is no error.
func (s *Socket) Read(fn func(*Frame)) error {
	for i := range s.msgs {
		s.msgs[i].hdr.SetControllen(controlSize)
		s.msgs[i].hdr.Namelen = unix.SizeofSockaddrLinklayer
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[0])), frames, unix.MSG_WAITFORONE, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR, unix.ENETDOWN: // ENETDOWN: an interface went; the others are still watched
		return nil
	default:
		return fmt.Errorf("read packets: %w", errno)
	}
	var f Frame
	for i := range int(n) {
		h := &s.msgs[i].hdr
		f = Frame{Data: s.bufs[i*frameSize:][:min(int(s.msgs[i].n), frameSize)], Cut: h.Flags&unix.MSG_TRUNC != 0, Outgoing: s.names[i].Pkttype == unix.PACKET_OUTGOING}
		f.TimeNs = arrival(s.control[i*controlSize:][:min(int(h.Controllen), controlSize)])
		fn(&f)
	}
	return nil
}

// arrival reads SCM_TIMESTAMPNS, the only message that is asked for.
func arrival(b []byte) int64 {
	const head = unix.SizeofCmsghdr
	if len(b) < head+16 {
		return time.Now().UnixNano()
	}
	return int64(binary.NativeEndian.Uint64(b[head:]))*1e9 + int64(binary.NativeEndian.Uint64(b[head+8:]))
}

// Stats asks the kernel. Safe from any goroutine.
func (s *Socket) Stats() Stats {
	if st, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		s.received.Add(uint64(st.Packets)) // since the last time it was asked
		s.dropped.Add(uint64(st.Drops))
	}
	return Stats{Packets: s.received.Load(), Dropped: s.dropped.Load()}
}

// Close closes the socket. No Read may be under way.
func (s *Socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

// Jump is a conditional jump of the instruction at place at, to the places yes and
// no, all counted from the beginning of the program.
func Jump(at int, cond bpf.JumpTest, val uint32, yes, no int) bpf.JumpIf {
	return bpf.JumpIf{Cond: cond, Val: val, SkipTrue: uint8(yes - at - 1), SkipFalse: uint8(no - at - 1)}
}

// What a filter's first lines compare with.
const (
	OtherHost = 3 // PACKET_OTHERHOST: seen in promiscuous mode only
	IPv4      = unix.ETH_P_IP
	IPv6      = unix.ETH_P_IPV6
	Whole     = 0x40000 // length that a filter returns to take all of a packet
)
