package conntrack

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/weirnet/weir/exporter/track"
)

// Replay is a recording as a Source. It runs at the recording's own pace, with all
// times moved to now; when it is over, Events is closed.
type Replay struct {
	items  []item
	begun  time.Time
	events chan *Batch
	stop   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	dump  []track.Conn         // the last whole dump that has come
	ended map[liveKey]struct{} // what ended after it
}

// liveKey names an entry of the kernel's table.
type liveKey struct {
	id   uint32
	zone uint16
}

// NewReplay reads the recording and starts it.
func NewReplay(r io.Reader) (*Replay, error) {
	start, items, err := ReadRecording(r)
	if err != nil {
		return nil, err
	}
	p := &Replay{items: items, begun: time.Now(), events: make(chan *Batch, 16), stop: make(chan struct{}), ended: map[liveKey]struct{}{}}
	shift := p.begun.Sub(start).Nanoseconds()
	for i := range items {
		if c := &items[i].conn; c.Start != 0 {
			c.Start += shift
			if c.Stop != 0 {
				c.Stop += shift
			}
		}
	}
	first := p.take(0) // the first dump stands before anyone asks
	go p.run(first)
	return p, nil
}

// take keeps the dump whose begin is at i, and gives the place behind it.
func (p *Replay) take(i int) int {
	var conns []track.Conn
	for ; i < len(p.items); i++ {
		switch p.items[i].kind {
		case itemEntry:
			conns = append(conns, p.items[i].conn)
		case itemDumped:
			p.mu.Lock()
			p.dump = conns
			clear(p.ended)
			p.mu.Unlock()
			return i + 1
		}
	}
	return i
}

func (p *Replay) run(i int) {
	defer close(p.events)
	for i < len(p.items) {
		it := &p.items[i]
		select {
		case <-p.stop:
			return
		case <-time.After(time.Until(p.begun.Add(it.at))):
		}
		if it.kind != itemDestroy {
			i = p.take(i)
			continue
		}
		p.mu.Lock()
		p.ended[liveKey{it.conn.ID, it.conn.Zone}] = struct{}{}
		p.mu.Unlock()
		select {
		case p.events <- &Batch{Conns: []track.Conn{it.conn}}:
		case <-p.stop:
			return
		}
		i++
	}
}

// Dump gives the last dump of the recording that is due, without what has ended since.
func (p *Replay) Dump(_ context.Context, fn func(*track.Conn)) (DumpStats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var st DumpStats
	for i := range p.dump {
		if _, gone := p.ended[liveKey{p.dump[i].ID, p.dump[i].Zone}]; !gone {
			c := p.dump[i]
			fn(&c)
			st.Entries++
		}
	}
	return st, nil
}

// Events gives the ends; it is closed when the recording is over.
func (p *Replay) Events() <-chan *Batch { return p.events }

// Recycle does nothing: a recording is short.
func (p *Replay) Recycle(*Batch) {}

// Stop ends the replay.
func (p *Replay) Stop() { p.once.Do(func() { close(p.stop) }) }

// Close has nothing to free.
func (p *Replay) Close() error { return nil }

// Vitals knows the size of the table.
func (p *Replay) Vitals() Vitals {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Vitals{Count: uint64(len(p.dump))}
}
