package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/testenv"
)

// crowd fills the conntrack table of a node with answered UDP entries of a zone, which the
// kernel does not give up for others. The limit is the machine's, so it takes as many
// as any table may have.
func crowd(t testing.TB, node *testenv.Space, zone uint16) {
	t.Helper()
	err := node.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		answer := make([]byte, 64<<10)
		for first := 0; first < 8<<20; first += crowdBatch {
			var b []byte
			for i := range crowdBatch {
				if b, err = appendEntry(b, uint32(first+i), zone); err != nil {
					return err
				}
			}
			if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
				return err
			}
			n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				continue // only refusals are answered
			}
			if err != nil || n < unix.NLMSG_HDRLEN+4 {
				return fmt.Errorf("%d bytes of an answer: %w", n, err)
			}
			if e := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:]))); e != unix.ENOMEM {
				return e
			}
			return nil // it is full
		}
		return errors.New("the table has room for more than 8 million entries")
	})
	if err != nil {
		t.Fatalf("fill a conntrack table: %v", err)
	}
}

const crowdBatch = 128 // entries told in one message to the kernel

// appendEntry appends the request for the i-th entry (IPCTNL_MSG_CT_NEW).
func appendEntry(b []byte, i uint32, zone uint16) ([]byte, error) {
	// Of enum ctattr_type, ctattr_tuple, ctattr_ip and ctattr_l4proto.
	const (
		tupleOrig, tupleReply, status, timeout, zoneAttr = 1, 2, 3, 7, 18
		tupleIP, tupleProto, v4Src, v4Dst                = 1, 2, 1, 2
		protoNum, srcPort, dstPort                       = 1, 2, 3
		alive                                            = 1<<1 | 1<<2 | 1<<3 // IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED
	)
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	client, server := 10<<24|20<<16|i&0xffff, uint32(10<<24|30<<16|1)
	port := uint16(1024 + i>>16)
	tuple := func(src, dst uint32, sport, dport uint16) func(*netlink.AttributeEncoder) error {
		return func(e *netlink.AttributeEncoder) error {
			e.Nested(tupleIP, func(e *netlink.AttributeEncoder) error {
				e.Uint32(v4Src, src)
				e.Uint32(v4Dst, dst)
				return nil
			})
			e.Nested(tupleProto, func(e *netlink.AttributeEncoder) error {
				e.Uint8(protoNum, unix.IPPROTO_UDP)
				e.Uint16(srcPort, sport)
				e.Uint16(dstPort, dport)
				return nil
			})
			return nil
		}
	}
	e.Nested(tupleOrig, tuple(client, server, port, 9))
	e.Nested(tupleReply, tuple(server, client, 9, port))
	e.Uint32(status, alive)
	e.Uint32(timeout, 3600)
	e.Uint16(zoneAttr, zone)
	attrs, err := e.Encode()
	if err != nil {
		return nil, err
	}
	m := netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK << 8, Flags: netlink.Request | netlink.Create},
		Data:   append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}
	m.Header.Length = uint32(unix.NLMSG_HDRLEN + len(m.Data))
	raw, err := m.MarshalBinary()
	return append(b, raw...), err
}
