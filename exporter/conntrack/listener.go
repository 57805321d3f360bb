package conntrack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter/track"
)

// ListenOptions of a Listener.
type ListenOptions struct {
	Options
	Filter     Filter
	MaxDying   int  // dying entries in the kernel at which reliable mode is given up; 65536
	Queue      int  // batches that wait for the reader of Events; 1024
	Unreliable bool // never ask for reliable delivery
	Log        *slog.Logger
	// Tap, when set, gets every raw message (Recorder).
	Tap func(raw []byte)

	watch time.Duration // how often the dying list is looked at
}

// Batch is a number of DESTROY events in the order of their arrival.
type Batch struct {
	Conns []track.Conn
	// Gap says that events were lost before these: how many is unknown, and a dump
	// has to show what is gone.
	Gap bool
	Why string
}

// ListenStats counts what a Listener did.
type ListenStats struct {
	Events, Outside, Malformed uint64
	Overruns                   uint64 // ENOBUFS; no loss in reliable mode
	Gaps                       uint64 // times at which events were lost
	Dying                      int64  // entries that wait in the kernel for us
	GaveUp                     uint64 // times at which they were too many
	Reliable                   bool
	Receive                    int64 // bytes of the socket's buffer
}

const (
	batchSize  = 256
	eventSize  = 2048 // of one DESTROY message; real ones have 200 to 400 bytes
	maxReceive = 64 << 20
	calmChecks = 5 // looks at an empty dying list before reliable mode is tried again
)

// Listener receives the DESTROY events of one network namespace.
type Listener struct {
	o     ListenOptions
	out   chan *Batch
	free  chan *Batch
	stop  chan struct{}
	once  sync.Once
	gap   atomic.Pointer[string] // a gap that the watcher found
	watch sync.WaitGroup

	s, dyingSocket *socket

	events, outside, malformed, overruns, gaps, gaveUp atomic.Uint64
	dying, receive                                     atomic.Int64
	reliable                                           atomic.Bool
}

// Listen subscribes. Subscribe before the first dump, so that nothing falls between.
func Listen(o ListenOptions) (*Listener, error) {
	if o.MaxDying <= 0 {
		o.MaxDying = 65536
	}
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	if o.Receive <= 0 {
		o.Receive = defaultReceive
	}
	if o.watch <= 0 {
		o.watch = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Listener{o: o, out: make(chan *Batch, o.Queue), free: make(chan *Batch, o.Queue), stop: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, err
	}
	l.watch.Add(1)
	go l.run()
	go l.watchDying()
	return l, nil
}

// Events gives the batches. It is closed after Stop, when all that had arrived
// was handed over.
func (l *Listener) Events() <-chan *Batch { return l.out }

// Recycle takes back a batch whose Conns nobody needs any more.
func (l *Listener) Recycle(b *Batch) {
	*b = Batch{Conns: b.Conns[:0]}
	select {
	case l.free <- b:
	default:
	}
}

// Stop ends the listening. Read Events until it is closed.
func (l *Listener) Stop() { l.once.Do(func() { close(l.stop) }) }

// Stats gives the counts. Safe from any goroutine.
func (l *Listener) Stats() ListenStats {
	return ListenStats{
		Events: l.events.Load(), Outside: l.outside.Load(), Malformed: l.malformed.Load(), Overruns: l.overruns.Load(),
		Gaps: l.gaps.Load(), Dying: l.dying.Load(), GaveUp: l.gaveUp.Load(), Reliable: l.reliable.Load(), Receive: l.receive.Load(),
	}
}

// open subscribes.
func (l *Listener) open() error {
	var err error
	if l.s, err = dial(l.o.Options); err != nil {
		return err
	}
	// The watcher's socket too is made here: another thread may be in another
	// network namespace.
	if l.dyingSocket, err = dial(Options{NetNS: l.o.NetNS}); err != nil {
		return errors.Join(err, l.s.close())
	}
	l.receive.Store(int64(l.s.receive(l.o.Receive)))
	if !l.o.Unreliable {
		l.setReliable(true)
	}
	if err := unix.SetsockoptInt(l.s.fd, solNetlink, unix.NETLINK_ADD_MEMBERSHIP, groupDestroy); err != nil {
		return errors.Join(fmt.Errorf("subscribe to conntrack events: %w (needs CAP_NET_ADMIN in this network namespace)", err), l.s.close(), l.dyingSocket.close())
	}
	return nil
}

// run reads until Stop, and then what is there already.
func (l *Listener) run() {
	defer close(l.out)
	defer func() {
		l.watch.Wait()
		_ = l.s.close()
	}()
	r := newMulti(batchSize, eventSize)
	for {
		stopping := l.stopped()
		if why := l.gap.Swap(nil); why != nil {
			l.send(&Batch{Gap: true, Why: *why})
		}
		flags := unix.MSG_WAITFORONE
		if stopping {
			flags = unix.MSG_DONTWAIT
		}
		n, err := r.read(l.s.fd, flags)
		switch {
		case err == nil:
			l.take(r, n)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if stopping {
				return
			}
		case errors.Is(err, unix.ENOBUFS):
			l.overruns.Add(1)
			if !l.reliable.Load() {
				l.heal()
			}
		default:
			l.o.Log.Error("conntrack events cannot be read", "error", err)
			l.heal()
			time.Sleep(wake)
		}
	}
}

func (l *Listener) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// heal books a gap and makes twice the room. The subscription itself survives an
// overrun; to drop and renew it would leave an instant without a listener, and
// entries born in it would never emit an event (nf_conntrack_events=2).
func (l *Listener) heal() {
	l.o.Receive = min(2*l.o.Receive, maxReceive)
	l.receive.Store(int64(l.s.receive(l.o.Receive)))
	l.gaps.Add(1)
	l.send(&Batch{Gap: true, Why: "overrun"})
}

// take decodes what one read brought.
func (l *Listener) take(r *multi, n int) {
	var b *Batch
	select {
	case b = <-l.free:
	default:
		b = &Batch{Conns: make([]track.Conn, 0, batchSize)}
	}
	for i := range n {
		for msg := r.message(i); len(msg) > 0; {
			h, payload, rest, err := nextMessage(msg)
			if err != nil {
				l.malformed.Add(1)
				break
			}
			if h.typ == msgDelete {
				if l.o.Tap != nil {
					l.o.Tap(msg[:h.size])
				}
				b.Conns = append(b.Conns, track.Conn{})
				c := &b.Conns[len(b.Conns)-1]
				switch {
				case decodeConn(payload, c) != nil:
					l.malformed.Add(1)
					b.Conns = b.Conns[:len(b.Conns)-1]
				case !l.o.Filter.Match(c):
					l.outside.Add(1)
					b.Conns = b.Conns[:len(b.Conns)-1]
				}
				c.Destroyed = true
			}
			msg = rest
		}
	}
	l.events.Add(uint64(len(b.Conns)))
	if len(b.Conns) > 0 {
		l.send(b)
	}
}

// send waits for the reader: while it does, events wait in the socket, and in
// reliable mode in the kernel behind it.
func (l *Listener) send(b *Batch) { l.out <- b }

// watchDying looks at the entries whose event did not fit into a listener's
// buffer. They hold memory and places in the table, so beyond a bound we let the
// kernel forget them, book the gap, and try again when the list is empty.
func (l *Listener) watchDying() {
	defer l.watch.Done()
	tick := time.NewTicker(l.o.watch)
	defer tick.Stop()
	s := l.dyingSocket
	defer func() { _ = s.close() }() // only read from: nothing to lose
	buf := make([]byte, maxReply)
	calm := 0
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		n, err := countDying(s, buf)
		if err != nil {
			l.o.Log.Warn("the list of dying connections cannot be read", "error", err)
			continue
		}
		l.dying.Store(int64(n))
		switch {
		case n > l.o.MaxDying && l.reliable.Load():
			l.setReliable(false)
			l.gaveUp.Add(1)
			l.gaps.Add(1)
			why := "too many dying entries"
			l.gap.Store(&why)
			l.o.Log.Warn("too many connections wait in the kernel for their last event; events may be lost until they are gone", "dying", n, "limit", l.o.MaxDying)
			calm = 0
		case n == 0 && !l.reliable.Load() && !l.o.Unreliable:
			if calm++; calm >= calmChecks {
				l.setReliable(true)
			}
		}
	}
}

func (l *Listener) setReliable(on bool) {
	v := 0
	if on {
		v = 1
	}
	if unix.SetsockoptInt(l.s.fd, solNetlink, unix.NETLINK_BROADCAST_ERROR, v) == nil {
		l.reliable.Store(on)
	}
}

func countDying(s *socket, buf []byte) (int, error) {
	n := 0
	_, err := s.exchange(context.Background(), request(msgGetDying, nlmFDump, 0).finish(0), buf, func([]byte, header, []byte) error {
		n++
		return nil
	})
	return n, err
}
