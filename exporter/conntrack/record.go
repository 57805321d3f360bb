package conntrack

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/weirnet/weir/exporter/track"
)

// A recording is a gzip stream: the magic, the time of its start (int64, Unix ms,
// big endian), then items: kind, ms since the start (uint32), length of the payload
// (uint32), payload. A payload is one raw netlink message, or nothing.
const (
	recordMagic   = "weir-ct1"
	itemDump      = 1 // a dump begins
	itemEntry     = 2 // an entry of the dump
	itemDumped    = 3 // the dump is whole
	itemDestroy   = 4 // a DESTROY event
	itemEnd       = 5 // the recording is whole
	itemHeader    = 9
	maxItem       = 64 << 10
	maxRecordings = 256 << 20 // bytes that a recording may unpack to
)

// Recorder writes what it reads from the kernel, for Replay.
type Recorder struct {
	z     *gzip.Writer
	start time.Time
	err   error
}

// NewRecorder starts a recording.
func NewRecorder(w io.Writer, start time.Time) (*Recorder, error) {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	r := &Recorder{z: z, start: start}
	_, err = z.Write(binary.BigEndian.AppendUint64([]byte(recordMagic), uint64(start.UnixMilli())))
	return r, err
}

func (r *Recorder) item(kind byte, payload []byte, now time.Time) {
	if r.err != nil {
		return
	}
	b := append([]byte{kind}, make([]byte, itemHeader-1)...)
	binary.BigEndian.PutUint32(b[1:], uint32(now.Sub(r.start).Milliseconds()))
	binary.BigEndian.PutUint32(b[5:], uint32(len(payload)))
	_, err := r.z.Write(append(b, payload...))
	r.err = err
}

// Close ends the recording.
func (r *Recorder) Close() error {
	r.item(itemEnd, nil, time.Now())
	return errors.Join(r.err, r.z.Close())
}

// Record dumps the namespace every poll and listens for ends, until ctx ends.
func Record(ctx context.Context, w io.Writer, o Options, poll time.Duration) error {
	rec, err := NewRecorder(w, time.Now())
	if err != nil {
		return err
	}
	reader, err := NewReader(o)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	events := make(chan []byte, 1<<16)
	l, err := Listen(ListenOptions{Options: o, Log: slog.New(slog.DiscardHandler), Tap: func(raw []byte) { //nolint:contextcheck // Stop ends it
		select {
		case events <- append([]byte(nil), raw...):
		default: // a recording is a sample for tests, not evidence
		}
	}})
	if err != nil {
		return err
	}
	go func() {
		for b := range l.Events() {
			l.Recycle(b)
		}
	}()
	reader.Tap = func(raw []byte) { rec.item(itemEntry, raw, time.Now()) }
	dump := func() error {
		rec.item(itemDump, nil, time.Now())
		_, err := reader.Dump(context.WithoutCancel(ctx), Filter{}, func(*track.Conn) {})
		rec.item(itemDumped, nil, time.Now())
		return err
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for err = dump(); err == nil && ctx.Err() == nil; {
		select {
		case b := <-events:
			rec.item(itemDestroy, b, time.Now())
		case <-tick.C:
			err = dump()
		case <-ctx.Done():
		}
	}
	l.Stop()
	return errors.Join(err, rec.Close())
}

// item is one item of a recording, decoded.
type item struct {
	kind byte
	at   time.Duration
	conn track.Conn
}

// ReadRecording reads a whole recording. The error says what is wrong with it and
// at which item.
func ReadRecording(r io.Reader) (start time.Time, items []item, err error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return start, nil, fmt.Errorf("recording: %w: want a file that Record wrote", err)
	}
	in := bufio.NewReader(io.LimitReader(z, maxRecordings))
	head := make([]byte, len(recordMagic)+8)
	if _, err := io.ReadFull(in, head); err != nil || string(head[:len(recordMagic)]) != recordMagic {
		return start, nil, errors.New("recording: it does not begin like one: want a file that Record wrote")
	}
	start = time.UnixMilli(int64(binary.BigEndian.Uint64(head[len(recordMagic):])))
	var buf [maxItem]byte
	for n := 0; ; n++ {
		h := make([]byte, itemHeader)
		if _, err := io.ReadFull(in, h); err != nil {
			return start, nil, fmt.Errorf("recording: item %d: %w: the file is cut", n, err)
		}
		it := item{kind: h[0], at: time.Duration(binary.BigEndian.Uint32(h[1:])) * time.Millisecond}
		size := binary.BigEndian.Uint32(h[5:])
		if it.kind < itemDump || it.kind > itemEnd || size > maxItem {
			return start, nil, fmt.Errorf("recording: item %d: kind %d with %d bytes", n, it.kind, size)
		}
		if _, err := io.ReadFull(in, buf[:size]); err != nil {
			return start, nil, fmt.Errorf("recording: item %d: %w: the file is cut", n, err)
		}
		if it.kind == itemEnd {
			return start, items, nil
		}
		if it.kind == itemEntry || it.kind == itemDestroy {
			_, payload, _, err := nextMessage(buf[:size])
			if err == nil {
				err = decodeConn(payload, &it.conn)
			}
			if err != nil {
				return start, nil, fmt.Errorf("recording: item %d: %w", n, err)
			}
			it.conn.Destroyed = it.kind == itemDestroy
		}
		items = append(items, it)
	}
}
