package nflog

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/coverage"
)

// Options of a Listener.
type Options struct {
	NetNS   string // path of a network namespace; "" for the present one
	Rules   []Rule
	Receive int // bytes of the socket's receive buffer; 4 MiB
	Queue   int // batches that wait for the reader of Denials; 256
	Log     *slog.Logger
}

// Stats counts what a Listener did.
type Stats struct {
	Denials   uint64 // told
	Unmatched uint64 // of a group that is read, with a prefix that no Rule names
	Malformed uint64 // could not be read
	Lost      uint64 // logged, but the kernel had no room for them
	Overruns  uint64 // ENOBUFS
	Dropped   uint64 // denials that the reader was too slow for
}

const (
	wake     = 200 * time.Millisecond // how long a blocked read goes without a look at Stop
	maxRead  = 256 << 10
	maxLinks = 4096
	relist   = time.Second // between two listings of the interfaces
)

// Listener reads the groups of one network namespace.
type Listener struct {
	o     Options
	rules rules
	fd    int
	out   chan []Denial
	stop  chan struct{}
	once  sync.Once
	next  map[uint16]uint32 // the sequence number that a group's next message has
	links map[uint32]string
	list  time.Time // when the interfaces were listed

	denials, unmatched, malformed, lost, overruns, dropped atomic.Uint64
}

// Listen subscribes to the groups that the rules name.
func Listen(o Options) (*Listener, error) {
	r, err := compile(o.Rules)
	if err != nil {
		return nil, err
	}
	if o.Queue <= 0 {
		o.Queue = 256
	}
	if o.Receive <= 0 {
		o.Receive = 4 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Listener{o: o, rules: r, fd: -1, out: make(chan []Denial, o.Queue), stop: make(chan struct{}), next: map[uint16]uint32{}, links: map[uint32]string{}}
	if err := l.open(); err != nil {
		if l.fd >= 0 {
			err = errors.Join(err, unix.Close(l.fd))
		}
		return nil, err
	}
	go l.run()
	return l, nil
}

// Denials gives the denials in the order in which they were logged. It is closed
// after Stop.
func (l *Listener) Denials() <-chan []Denial { return l.out }

// Stop ends the listening; what had arrived is still handed over.
func (l *Listener) Stop() { l.once.Do(func() { close(l.stop) }) }

// Stats gives the counts. Safe from any goroutine.
func (l *Listener) Stats() Stats {
	return Stats{
		Denials: l.denials.Load(), Unmatched: l.unmatched.Load(), Malformed: l.malformed.Load(),
		Lost: l.lost.Load(), Overruns: l.overruns.Load(), Dropped: l.dropped.Load(),
	}
}

func (l *Listener) open() error {
	err := conntrack.InNetNS(l.o.NetNS, func() (err error) {
		if l.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return fmt.Errorf("open a netfilter netlink socket: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, l.o.Receive) != nil {
		_ = unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, l.o.Receive) // without CAP_NET_ADMIN it stays smaller
	}
	tv := unix.NsecToTimeval(int64(wake))
	if err := unix.SetsockoptTimeval(l.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fmt.Errorf("set the netlink socket's timeout: %w", err)
	}
	if err := unix.Bind(l.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind the netlink socket: %w", err)
	}
	// Subscribe first to all, so that a group that is refused is known before any
	// denial is told.
	early := make([]byte, maxRead)
	for _, g := range l.rules.groups() {
		for i, req := range configure(g) {
			if err := l.ask(req, uint32(i+1), early); err != nil {
				return fmt.Errorf("NFLOG group %d: %w", g, refusal(err))
			}
		}
	}
	return nil
}

func refusal(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY):
		// nfulnl_recv_config gives EPERM for a group of another socket too.
		return fmt.Errorf("%w: another process reads it (ulogd? log to a second group for this agent), or CAP_NET_ADMIN is missing", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: is nfnetlink_log in the kernel? (modprobe nfnetlink_log)", err)
	}
	return err
}

// ask sends a request and waits for its acknowledgement; what is logged meanwhile is
// handled.
func (l *Listener) ask(req []byte, seq uint32, buf []byte) error {
	if err := unix.Sendto(l.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		n, err := unix.Read(l.fd, buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) {
			continue
		}
		if err != nil {
			return err
		}
		for b := buf[:n]; len(b) > 0; {
			h, payload, rest, err := nextMessage(b)
			if err != nil {
				return err
			}
			if h.typ == nlmsgError && h.seq == seq {
				if len(payload) < 4 {
					return errMalformed
				}
				if e := unix.Errno(-int32(ne.Uint32(payload))); e != 0 {
					return e
				}
				return nil
			}
			if h.typ == msgPacket {
				l.take(b[:h.size], time.Now().UnixMilli())
			}
			b = rest
		}
	}
	return errors.New("the kernel does not answer")
}

// run reads until Stop, and then what is there already.
func (l *Listener) run() {
	defer close(l.out)
	defer func() { _ = unix.Close(l.fd) }() // only read from: nothing to lose
	buf := make([]byte, maxRead)
	for {
		stopping := false
		select {
		case <-l.stop:
			stopping = true
		default:
		}
		flags := 0
		if stopping {
			flags = unix.MSG_DONTWAIT
		}
		n, _, err := unix.Recvfrom(l.fd, buf, flags)
		switch {
		case err == nil:
			l.take(buf[:n], time.Now().UnixMilli())
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if stopping {
				return
			}
		case errors.Is(err, unix.ENOBUFS):
			l.overruns.Add(1)
		case stopping:
			return
		default:
			l.o.Log.Error("NFLOG cannot be read", "error", err)
			time.Sleep(wake)
		}
	}
}

// take decodes what one read brought and hands the denials over.
func (l *Listener) take(b []byte, nowMs int64) {
	var batch []Denial
	var m message
	for len(b) > 0 {
		h, payload, rest, err := nextMessage(b)
		if err != nil {
			l.malformed.Add(1)
			break
		}
		b = rest
		if h.typ != msgPacket {
			continue
		}
		err = decode(payload, &m)
		l.sequence(&m)
		if err != nil {
			l.malformed.Add(1)
			continue
		}
		if m.TimeMs == 0 { // the kernel stamps only what something asked it to
			m.TimeMs = nowMs
		}
		m.Prefix = printable(m.prefix)
		if !l.rules.name(&m.Denial) {
			l.unmatched.Add(1)
			continue
		}
		m.In, m.Out = l.link(m.in), l.link(m.out)
		batch = append(batch, m.Denial)
	}
	if len(batch) == 0 {
		return
	}
	select {
	case l.out <- batch:
		l.denials.Add(uint64(len(batch)))
	default:
		l.dropped.Add(uint64(len(batch)))
	}
}

// sequence counts what is missing before a message of its group.
func (l *Listener) sequence(m *message) {
	if !m.hasSeq {
		return
	}
	if want, ok := l.next[m.Group]; ok {
		l.lost.Add(uint64(m.seq - want)) // modulo 2^32, as the kernel counts
	}
	l.next[m.Group] = m.seq + 1
}

// link names an interface. One that is gone or cannot be listed keeps its number.
func (l *Listener) link(index uint32) string {
	if index == 0 {
		return ""
	}
	if n, ok := l.links[index]; ok {
		return n
	}
	if time.Since(l.list) > relist {
		l.list = time.Now()
		clear(l.links)
		_ = conntrack.InNetNS(l.o.NetNS, func() error { // a number is name enough
			all, err := net.Interfaces()
			for i := range all {
				if len(l.links) < maxLinks {
					l.links[uint32(all[i].Index)] = all[i].Name
				}
			}
			return err
		})
	}
	if n, ok := l.links[index]; ok {
		return n
	}
	return fmt.Sprintf("if%d", index)
}

// Status says whether NFLOG is read, for the coverage table. err is what Listen
// gave; enabled is what the configuration says.
func Status(enabled bool, err error) coverage.Evidence {
	e := coverage.Evidence{Name: "nflog"}
	switch {
	case !enabled:
		e.Why = "no group is configured: what the node's own rules deny is not proven"
		e.Remedy = `log in your rules (nft: log group 5 prefix "DENY:name "), and set nflog.enabled and nflog.prefixes`
	case err != nil:
		e.Why, e.Remedy = err.Error(), "see the agent's log; the group must be free and the agent needs CAP_NET_ADMIN"
	default:
		e.On, e.Why = true, "packets that the configured groups and prefixes name are denials"
	}
	return e
}
