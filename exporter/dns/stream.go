package dns

import (
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/packet"
)

// stream is one direction of a TCP connection, followed from its SYN. Segments are
// taken in order; one that is missing ends it, because where the next message begins is
// then unknown (RFC 7766 section 8: each has two bytes of length before it).
type stream struct {
	next uint32 // the sequence number that comes next
	buf  []byte // a message that is not whole yet, its length included
}

// segment takes one TCP segment. The same segment at another interface lies before
// what comes next and is skipped.
func (o *Observer) segment(ns int64, t *flow.Tuple, s *packet.Segment) {
	if s.SYN {
		o.follow(t, s.Seq+1)
		return
	}
	st := o.streams.get(*t)
	if st == nil {
		return // began before we did, or was given up
	}
	if s.RST {
		o.unfollow(t)
		return
	}
	data := s.Data
	if skip := int32(st.next - s.Seq); skip != 0 {
		if skip < 0 {
			o.gap(t)
			return
		}
		if int(skip) >= len(data) {
			return
		}
		data = data[skip:]
	}
	if !s.Whole {
		o.gap(t)
		return
	}
	st.next += uint32(len(data))
	o.streams.use(*t)
	if !o.deliver(ns, t, st, data) {
		o.gap(t)
		return
	}
	if s.FIN {
		o.unfollow(t)
	}
}

// deliver hands whole messages over and keeps the rest. It is false when the streams
// hold too much.
func (o *Observer) deliver(ns int64, t *flow.Tuple, st *stream, data []byte) bool {
	for len(data) > 0 {
		if len(st.buf) == 0 && len(data) >= 2 { // the usual case: whole messages, nothing copied
			n := 2 + int(data[0])<<8 + int(data[1])
			if n <= len(data) {
				o.message(ns, t, data[2:n])
				data = data[n:]
				continue
			}
		}
		want := 2
		if len(st.buf) >= 2 {
			want = 2 + int(st.buf[0])<<8 + int(st.buf[1])
		}
		n := min(want-len(st.buf), len(data))
		if o.st.Buffered+n > o.lim.Buffered {
			return false
		}
		st.buf = append(st.buf, data[:n]...)
		o.st.Buffered += n
		data = data[n:]
		if want = len(st.buf); want >= 2 && want == 2+int(st.buf[0])<<8+int(st.buf[1]) {
			o.message(ns, t, st.buf[2:])
			o.st.Buffered -= len(st.buf)
			st.buf = nil
		}
	}
	return true
}

func (o *Observer) follow(t *flow.Tuple, next uint32) {
	st := o.streams.get(*t)
	if st == nil {
		var gone stream
		var evicted bool
		if st, gone, evicted = o.streams.put(*t); evicted {
			o.st.EvictedStreams++
			o.st.Buffered -= len(gone.buf)
		}
	} else {
		if st.next == next { // the SYN at another interface, or again
			return
		}
		o.st.Buffered -= len(st.buf)
		o.streams.use(*t)
	}
	*st = stream{next: next}
}

// gap gives a stream up.
func (o *Observer) gap(t *flow.Tuple) {
	o.st.Incomplete++
	o.unfollow(t)
}

func (o *Observer) unfollow(t *flow.Tuple) {
	if i, ok := o.streams.index[*t]; ok {
		o.st.Buffered -= len(o.streams.drop(i).buf)
	}
}
