package conntrack

import (
	"context"
	"time"

	"github.com/weirnet/weir/exporter/track"
)

// DumpStats says what one dump did.
type DumpStats struct {
	Entries     int           // given to the callback
	Outside     int           // sent by the kernel and not wanted
	Malformed   int           // messages that could not be read
	Interrupted int           // dumps that the kernel marked as inconsistent: entries may be missing
	Took        time.Duration //
}

// Complete says that what the dump did not have is not in the table.
func (s *DumpStats) Complete() bool { return s.Interrupted == 0 && s.Malformed == 0 }

// Reader dumps the kernel's table. Not for concurrent use.
type Reader struct {
	s    *socket
	buf  []byte
	conn track.Conn
	// Tap, when set, gets every raw message of a dump (Recorder).
	Tap func(raw []byte)
}

// NewReader opens a reader.
func NewReader(o Options) (*Reader, error) {
	s, err := dial(o)
	if err != nil {
		return nil, err
	}
	return &Reader{s: s, buf: make([]byte, maxReply)}, nil
}

// Close closes the socket.
func (r *Reader) Close() error { return r.s.close() }

// Dump gives every entry that the filter wants to fn, IPv4 and IPv6. The Conn is
// valid until fn returns. After an error the dump is incomplete.
func (r *Reader) Dump(ctx context.Context, f Filter, fn func(*track.Conn)) (DumpStats, error) {
	var st DumpStats
	began := time.Now()
	for _, req := range f.requests() {
		intr, err := r.s.exchange(ctx, req, r.buf, func(raw []byte, h header, payload []byte) error {
			if h.typ != msgNew {
				return nil
			}
			if r.Tap != nil {
				r.Tap(raw)
			}
			if decodeConn(payload, &r.conn) != nil {
				st.Malformed++ // counted; one entry must not end the dump
				return nil     //nolint:nilerr // as said
			}
			if !f.Match(&r.conn) {
				st.Outside++
				return nil
			}
			st.Entries++
			fn(&r.conn)
			return nil
		})
		if intr {
			st.Interrupted++
		}
		if err != nil {
			st.Took = time.Since(began)
			return st, err
		}
	}
	st.Took = time.Since(began)
	return st, nil
}
