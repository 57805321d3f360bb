package sockets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wake     = 200 * time.Millisecond // how long a blocked read goes without a look at its context
	maxReply = 64 << 10               // a dump message is at most 32 KiB (netlink_dump)
)

// conn is one netlink socket. Not for concurrent use.
type conn struct {
	fd  int
	seq uint32
}

// enter calls f with a thread in the network namespace at path, which must have
// that inode: the process behind a path in /proc may be another one by now.
func enter(path string, inode uint64, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked on failure to return: the thread dies with the goroutine
		done <- func() error {
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
			var st unix.Stat_t
			if err := unix.Fstat(int(ns.Fd()), &st); err != nil || st.Ino != inode {
				return fmt.Errorf("network namespace %s was replaced meanwhile: %w", path, errors.Join(err, os.ErrNotExist))
			}
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace %s: %w (needs CAP_SYS_ADMIN)", path, err)
			}
			err = f()
			if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			return err
		}()
	}()
	return <-done
}

// dial opens a netlink socket in the namespace of the calling thread.
func dial(protocol int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	c := &conn{fd: fd}
	tv := unix.NsecToTimeval(int64(wake))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return nil, errors.Join(fmt.Errorf("set the netlink socket's timeout: %w", err), c.close())
	}
	return c, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// exchange sends a request and gives each message of the answer to fn. After each
// datagram it calls pause, while the kernel keeps the place in its dump. It says
// whether the kernel marked the dump as inconsistent.
func (c *conn) exchange(ctx context.Context, req, buf []byte, fn func(typ uint16, payload []byte), pause func(context.Context) error) (intr bool, err error) {
	c.seq++
	ne.PutUint32(req[8:], c.seq)
	if err := unix.Sendto(c.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, fmt.Errorf("ask the kernel: %w", err)
	}
	for {
		n, err := unix.Read(c.fd, buf)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN) && ctx.Err() == nil:
			continue
		case errors.Is(err, unix.EAGAIN):
			return intr, ctx.Err()
		default:
			return intr, fmt.Errorf("read the kernel's answer: %w", err)
		}
		for b := buf[:n]; len(b) > 0; {
			h, payload, rest, err := nextMessage(b)
			if err != nil {
				return intr, err
			}
			b = rest
			if h.seq != c.seq {
				continue // the rest of an answer that was given up
			}
			intr = intr || h.flags&nlmFDumpIntr != 0
			switch h.typ {
			case nlmsgDone, nlmsgError:
				// Both begin with an error number, negative or 0; of NLMSG_DONE it is the dump's.
				if len(payload) >= 4 {
					if e := int32(ne.Uint32(payload)); e < 0 {
						return intr, fmt.Errorf("the kernel refused: %w", unix.Errno(-e))
					}
				}
				return intr, nil
			default:
				fn(h.typ, payload)
			}
		}
		if err := pause(ctx); err != nil {
			return intr, err
		}
	}
}
