package conntrack

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// multi reads many datagrams with one system call (recvmmsg): events come one a
// datagram, and the call costs more than the message.
type multi struct {
	bufs []byte
	size int
	iovs []unix.Iovec
	msgs []mmsghdr
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

func newMulti(count, size int) *multi {
	m := &multi{bufs: make([]byte, count*size), size: size, iovs: make([]unix.Iovec, count), msgs: make([]mmsghdr, count)}
	for i := range m.msgs {
		m.iovs[i].Base = &m.bufs[i*size]
		m.iovs[i].SetLen(size)
		m.msgs[i].hdr.Iov = &m.iovs[i]
		m.msgs[i].hdr.SetIovlen(1)
	}
	return m
}

func (m *multi) read(fd, flags int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.msgs[0])), uintptr(len(m.msgs)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// message gives the i-th datagram of the last read; a cut one does not decode.
func (m *multi) message(i int) []byte {
	return m.bufs[i*m.size:][:min(int(m.msgs[i].n), m.size)]
}
