package conntrack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a netlink socket.
type Options struct {
	NetNS   string // path of a network namespace, such as /run/netns/n1; "" for the present one
	Receive int    // bytes of the socket's receive buffer; 0 for a default
}

const (
	groupDestroy   = 3 // NFNLGRP_CONNTRACK_DESTROY
	solNetlink     = 270
	wake           = 200 * time.Millisecond // how long a blocked read goes without a look at its context
	defaultReceive = 8 << 20
	maxReply       = 256 << 10 // a dump message is at most 32 KiB (netlink_dump); the rest is room
)

// socket is a netlink socket of one network namespace. Not for concurrent use.
type socket struct {
	fd  int
	seq uint32
}

// inNetNS calls f with the calling thread in the network namespace at path.
func inNetNS(path string, f func() error) error {
	if path == "" {
		return f()
	}
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked on failure to return: the thread dies with the goroutine
		errc <- func() error {
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return fmt.Errorf("open the present network namespace: %w", err)
			}
			defer own.Close()
			ns, err := os.Open(path)
			if err != nil {
				return fmt.Errorf("open network namespace: %w", err)
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				hint := "needs CAP_SYS_ADMIN"
				if errors.Is(err, unix.EINVAL) {
					hint = "it is none: name one like /run/netns/node-1 or /proc/PID/ns/net"
				}
				return fmt.Errorf("enter network namespace %s: %w (%s)", path, err, hint)
			}
			err = f()
			if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			return err
		}()
	}()
	return <-errc
}

func dial(o Options) (*socket, error) {
	s := &socket{fd: -1}
	err := inNetNS(o.NetNS, func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("open a netfilter netlink socket: %w (is nf_conntrack_netlink in the kernel?)", err)
		}
		s.fd = fd
		return nil
	})
	if err != nil {
		return nil, err
	}
	if o.Receive == 0 {
		o.Receive = defaultReceive
	}
	s.receive(o.Receive)
	tv := unix.NsecToTimeval(int64(wake))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return nil, errors.Join(fmt.Errorf("set the netlink socket's timeout: %w", err), s.close())
	}
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind the netlink socket: %w", err), s.close())
	}
	return s, nil
}

// receive sets the receive buffer and gives what the kernel made of it. Beyond
// net.core.rmem_max it needs CAP_NET_ADMIN, without which it stays smaller.
func (s *socket) receive(n int) int {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
	}
	got, _ := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return got
}

func (s *socket) close() error {
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

// read reads one datagram; it comes back early when ctx ends.
func (s *socket) read(ctx context.Context, buf []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, buf)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
		default:
			return 0, err
		}
	}
}

// exchange sends a request and gives each message of the answer to fn until the
// answer ends; fn sees no control message. It says whether the kernel marked the
// dump as interrupted.
func (s *socket) exchange(ctx context.Context, req, buf []byte, fn func(raw []byte, h header, payload []byte) error) (bool, error) {
	s.seq++
	ne.PutUint32(req[8:], s.seq)
	if err := unix.Sendto(s.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, fmt.Errorf("ask the kernel's conntrack: %w", err)
	}
	intr := false
	for {
		n, err := s.read(ctx, buf)
		if err != nil {
			return intr, fmt.Errorf("read the kernel's conntrack: %w", err)
		}
		done, err := s.answer(buf[:n], &intr, fn)
		if done || err != nil {
			return intr, err
		}
	}
}

func (s *socket) answer(b []byte, intr *bool, fn func(raw []byte, h header, payload []byte) error) (bool, error) {
	for len(b) > 0 {
		raw := b
		h, payload, rest, err := nextMessage(b)
		if err != nil {
			return false, err
		}
		b = rest
		if h.seq != s.seq {
			continue // the rest of an answer that was given up
		}
		*intr = *intr || h.flags&nlmFDumpIntr != 0
		switch h.typ {
		case nlmsgDone:
			return true, nil
		case nlmsgError:
			if len(payload) < 4 {
				return false, ErrMalformed
			}
			e := unix.Errno(-int32(ne.Uint32(payload)))
			if e == 0 {
				return true, nil
			}
			if e == unix.EPERM {
				return false, fmt.Errorf("the kernel refused: %w (needs CAP_NET_ADMIN in this network namespace)", e)
			}
			return false, fmt.Errorf("the kernel refused: %w", e)
		case nlmsgNoop, nlmsgOverrun:
		default:
			if err := fn(raw[:h.size], h, payload); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}
