package sockets

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// Walker reads the sockets of all namespaces, again and again. Run it once; the
// other methods may be called by anyone.
type Walker struct {
	cfg    Config
	log    *slog.Logger
	table  *Table
	spaces map[uint64]*space
	buf    []byte
	sock   Socket
	batch  []Socket
	state  atomic.Pointer[Status]
	st     Status
	err    error // of the present walk
	told   string
	spent  int // sockets since began
	began  time.Time
	paused time.Duration // in the present walk
	every  atomic.Int64  // ms between two looks at a namespace, as they are

	read, malformed, interrupted, outside, waited atomic.Uint64
}

// share is the part of one processor that walks may take: one in so many. What a
// namespace costs grows with the kernel's table of connections, not with its own sockets.
const share = 50

// New makes a walker. The configuration must be valid.
func New(cfg Config, log *slog.Logger) *Walker {
	// What ended is remembered until its last record: its end is told after the last
	// walk that saw it, and a timeout of conntrack may lie between.
	keep := max(2*time.Minute, 4*cfg.Interval)
	w := &Walker{cfg: cfg, log: log, table: NewTable(cfg.MaxSockets, keep.Milliseconds()), spaces: map[uint64]*space{}, buf: make([]byte, maxReply)}
	w.state.Store(&Status{Enabled: cfg.Enabled})
	w.every.Store(cfg.Interval.Milliseconds())
	return w
}

// Table gives what was seen.
func (w *Walker) Table() *Table { return w.table }

// Status says what the walks do.
func (w *Walker) Status() Status { return *w.state.Load() }

func (w *Walker) String() string { return "sockets" }

// Ready is true from the start: that sockets cannot be read is a status, not a
// reason to hold the node's other facts back.
func (w *Walker) Ready() bool { return true }

// Run walks until ctx is done.
func (w *Walker) Run(ctx context.Context) error {
	if !w.cfg.Enabled {
		<-ctx.Done()
		return nil
	}
	defer func() {
		for _, s := range w.spaces {
			_ = s.close()
		}
	}()
	for {
		began := time.Now()
		w.Walk(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(w.every.Load())*time.Millisecond - time.Since(began)):
		}
	}
}

// Walk reads every namespace once. It is what Run does at each interval.
func (w *Walker) Walk(ctx context.Context) {
	began := time.Now()
	w.paused = 0
	found, capped := find(w.cfg.Netns)
	for inode, s := range w.spaces {
		if _, ok := found[inode]; !ok {
			_ = s.close() // an open socket would keep the namespace alive
			delete(w.spaces, inode)
		}
	}
	w.st = Status{Enabled: true, Capped: capped, Walks: w.st.Walks}
	w.err = nil
	for _, inode := range slices.Sorted(maps.Keys(found)) {
		if ctx.Err() != nil {
			return
		}
		s := w.spaces[inode]
		if s == nil {
			var err error
			if s, err = open(inode, found[inode]); err != nil {
				w.failed(err)
				continue
			}
			w.spaces[inode] = s
		}
		if err := w.space(ctx, s); err != nil {
			if ctx.Err() != nil {
				return
			}
			w.failed(err)
			_ = s.close()
			delete(w.spaces, inode)
		}
	}
	now := time.Now().UnixMilli()
	w.table.expire(now)
	took := time.Since(began)
	w.every.Store(max(w.cfg.Interval, took, share*(took-w.paused)).Milliseconds())
	w.st.Namespaces, w.st.Walks, w.st.LastWalkMs = len(w.spaces), w.st.Walks+1, now
	if w.err != nil {
		w.st.Err = w.err.Error()
		if w.st.Err != w.told {
			w.log.Warn("sockets of some network namespaces cannot be read", "error", w.st.Err, "namespaces", w.st.Unreadable, "remedy", remedy)
		}
	}
	w.told = w.st.Err
	st := w.st
	w.state.Store(&st)
}

func (w *Walker) failed(err error) {
	if gone(err) {
		return
	}
	w.st.Unreadable++
	w.err = err
}

// space reads one namespace.
func (w *Walker) space(ctx context.Context, s *space) error {
	began := time.Now().UnixMilli()
	complete := true
	var addrs [][16]byte
	_, err := s.route.exchange(ctx, addressRequest(), w.buf, func(typ uint16, b []byte) {
		if a, ok := decodeAddress(b); ok && typ == rtmNewAddr {
			addrs = append(addrs, a)
		}
	}, w.pause)
	if err != nil {
		return err
	}
	var list []Listener
	for _, q := range walkQueries() {
		if q.proto == protoUDP && s.noUDP {
			continue
		}
		intr, err := w.dump(ctx, s, &q, &list)
		switch {
		case errors.Is(err, unix.ENOENT) && q.proto == protoUDP:
			s.noUDP = true // no udp_diag in this kernel
		case err != nil:
			return err
		case intr:
			w.interrupted.Add(1)
			complete = false
		}
	}
	if complete {
		w.table.walked(began, time.Now().UnixMilli(), s.inode, addrs, list)
	}
	return nil
}

// dump runs one query. The sockets of a datagram go to the table together.
func (w *Walker) dump(ctx context.Context, s *space, q *query, list *[]Listener) (bool, error) {
	take := func(typ uint16, b []byte) {
		if typ != sockDiagByFamily && typ != tcpDiagGetSock {
			return
		}
		if decodeSocket(b, q.proto, &w.sock) != nil {
			w.malformed.Add(1) // counted; one socket must not end the walk
			return
		}
		w.batch = append(w.batch, w.sock)
	}
	return s.diag.exchange(ctx, q.encode(), w.buf, take, func(ctx context.Context) error {
		w.flush(s.inode, q, list)
		return w.pause(ctx)
	})
}

// flush gives the batch to the table.
func (w *Walker) flush(ns uint64, q *query, list *[]Listener) {
	w.read.Add(uint64(len(w.batch)))
	w.spent += len(w.batch)
	now := time.Now().UnixMilli()
	w.table.mu.Lock()
	for i := range w.batch {
		x := &w.batch[i]
		switch {
		case x.State == Listen, x.State == Closed && q.proto == protoUDP:
			*list = append(*list, listener(x, q))
		case !wanted(&x.Tuple):
			w.outside.Add(1)
		case x.State == SynSent:
			w.table.try(now, ns, x)
			w.table.put(now, x)
		case x.HasInfo:
			delete(w.table.attempts, x.Tuple) // it became a connection
			w.table.put(now, x)
		}
	}
	w.table.mu.Unlock()
	w.batch = w.batch[:0]
}

func listener(x *Socket, q *query) Listener {
	l := Listener{Addr: x.Tuple.Src, Port: x.Tuple.SrcPort, Proto: q.proto, V6: x.V6, V6Only: x.V6Only, Queue: x.Queue, Drops: x.Drops, HasDrops: x.HasDrops}
	if q.proto == protoTCP {
		l.Limit = x.Limit
	}
	return l
}

// pause waits while the walk is ahead of its rate.
func (w *Walker) pause(ctx context.Context) error {
	if w.spent == 0 {
		w.began = time.Now()
		return nil
	}
	due := time.Duration(w.spent) * time.Second / time.Duration(w.cfg.MaxPerSecond)
	ahead := due - time.Since(w.began)
	if ahead < -time.Second { // what was not used is not saved up for a burst
		w.began, w.spent = time.Now(), 0
	}
	if ahead < 5*time.Millisecond {
		return nil
	}
	w.waited.Add(1)
	w.paused += ahead
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ahead):
		return nil
	}
}

// Fill says in r what is known of the sockets at both ends of x: the client's has
// the tuple that was dialled, the server's the one after translation; and, where the
// connection did not go well, who waits at the server's port.
func (w *Walker) Fill(x *track.Export, r *flow.Record) {
	c := x.Conn
	w.fillListen(x, r)
	if c.Orig.Proto != protoTCP {
		return
	}
	src, hasSrc := w.end(x, &c.Orig)
	dst, hasDst := w.end(x, &c.Reply)
	if hasDst {
		r.SetRetransDst(dst.Info.Retrans)
		fillPath(&dst, r)
		if dst.LimitedBy != flow.LimitedByUnknown {
			r.SetLimitedByDst(dst.LimitedBy)
		}
	}
	if hasSrc { // the client's word on the path stands above the server's
		r.SetRetransSrc(src.Info.Retrans)
		fillPath(&src, r)
		if src.LimitedBy != flow.LimitedByUnknown {
			r.SetLimitedBySrc(src.LimitedBy)
		}
	}
}

func fillPath(s *Seen, r *flow.Record) {
	if s.Info.RTT != 0 {
		r.SetRTT(s.Info.RTT)
	}
	if s.Info.RTTMin != 0 {
		r.SetRTTMin(s.Info.RTTMin)
	}
	if s.Info.PathMTU != 0 {
		r.SetPathMTU(s.Info.PathMTU)
	}
}

// slackMs is how far the kernel's time of a packet and a walk's may be apart.
const slackMs = 50

// end finds the socket of one end, unless it is another connection's with the same
// tuple: last seen before this one began, or first seen after it was over.
func (w *Walker) end(x *track.Export, t *flow.Tuple) (Seen, bool) {
	s, ok := w.table.Find(t)
	if !ok || (x.StartMs != 0 && s.LastMs+slackMs < x.StartMs) || (x.Final && x.EndMs != 0 && s.FirstMs > x.EndMs+slackMs) {
		return Seen{}, false
	}
	return s, true
}
