package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

const (
	// mergeBatch is how many records an aggregator's stream hands over at a time; two such
	// batches of each wait at most.
	mergeBatch = 32
	// silences is how many times its patience another aggregator may send nothing of a
	// stream, not even a sign of life.
	silences = 4
	// maxLine bounds a line of another aggregator.
	maxLine = 1 << 20
)

// source is a sorted stream of connections of one aggregator.
type source struct {
	peer    *Peer // nil for this one
	batches chan []flow.Record
	err     error         // of the stream, once batches is closed
	scanned query.Scanned // by a peer
	notes   []string
	sent    int

	now []flow.Record // of the batch that is being merged, what is left
}

// next gives the stream's next connection, nil where it has ended.
func (x *source) next() *flow.Record {
	if len(x.now) == 0 {
		batch, ok := <-x.batches
		if !ok {
			return nil
		}
		x.now = batch
	}
	return &x.now[0]
}

// filler gathers batches for a source.
type filler struct {
	x     *source
	ctx   context.Context //nolint:containedctx // of the stream
	batch []flow.Record
}

func (f *filler) add(r *flow.Record) error {
	if f.batch == nil {
		f.batch = make([]flow.Record, 0, mergeBatch)
	}
	if f.batch = append(f.batch, *r); len(f.batch) == mergeBatch {
		return f.send()
	}
	return nil
}

func (f *filler) send() error {
	if len(f.batch) == 0 {
		return nil
	}
	select {
	case f.x.batches <- f.batch:
		f.x.sent += len(f.batch)
		f.batch = nil
		return nil
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

// merge fills a streamed answer with the connections of this aggregator and its peers. A
// peer whose stream fails is missing from then on, and named.
func (s *Server) merge(ctx context.Context, a *query.Answer) (missing []query.Missing, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own := a.Beside()
	var list []*source
	var wg sync.WaitGroup
	begin := func(p *Peer, fill func(*filler) error) {
		x := &source{peer: p, batches: make(chan []flow.Record, 1)}
		list = append(list, x)
		wg.Go(func() { x.run(ctx, fill) })
	}
	begin(nil, func(f *filler) error {
		own.Into(f.add)
		return s.own(ctx, own)
	})
	for i := range s.Peers {
		p := &s.Peers[i]
		begin(p, func(f *filler) error { return p.stream(ctx, a, f) })
	}
	missing, err = s.mergeAll(ctx, a, list)
	cancel()
	wg.Wait()
	a.Scanned.Add(own.Scanned)
	for _, n := range own.Notes() {
		a.Note(n)
	}
	for _, x := range list {
		a.Scanned.Add(x.scanned)
		for _, n := range x.notes {
			a.Note(n)
		}
	}
	return missing, err
}

// run fills the source until its stream ends.
func (x *source) run(ctx context.Context, fill func(*filler) error) {
	f := &filler{x: x, ctx: ctx}
	err := fill(f)
	if _, ok := query.Ended(err); ok {
		err = f.send()
	}
	x.err = err
	close(x.batches)
}

// mergeAll adds to a what comes first, as long as something comes.
func (s *Server) mergeAll(ctx context.Context, a *query.Answer, list []*source) (missing []query.Missing, err error) {
	left := append([]*source(nil), list...)
	for len(left) > 0 {
		var first *source
		for i := 0; i < len(left); i++ {
			x := left[i]
			r := x.next()
			if r != nil {
				if first == nil || query.NewestFirst(r, &first.now[0]) < 0 {
					first = x
				}
				continue
			}
			left = append(left[:i], left[i+1:]...)
			i--
			if x.err == nil {
				continue
			}
			if ctx.Err() != nil {
				return missing, context.Cause(ctx)
			}
			if x.peer == nil {
				return missing, x.err
			}
			missing = append(missing, s.missing(x.peer, x.failure()))
		}
		if first == nil {
			break
		}
		if err := a.Add(0, &first.now[0]); err != nil {
			return missing, err
		}
		first.now = first.now[1:]
	}
	return missing, nil
}

// failure says how a peer's stream failed.
func (x *source) failure() error {
	if x.sent == 0 {
		return x.err
	}
	return fmt.Errorf("its answer broke off after %d rows, which are here: %w", x.sent, x.err)
}

// partLine is a line of a part that is no connection.
type partLine struct {
	Weir struct {
		Tail
		Alive bool `json:"alive"`
	} `json:"weir"`
}

// stream reads a peer's connections.
func (p *Peer) stream(ctx context.Context, a *query.Answer, f *filler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := silences * cmp.Or(p.Patience, defaultPatience)
	silence := time.AfterFunc(patience, func() {
		cancel(fmt.Errorf("it sent nothing for %v: is it hung, or cut off from here?", patience))
	})
	defer silence.Stop()
	res, err := p.ask(ctx, a, partsMedia)
	if err != nil {
		return orCause(ctx, err)
	}
	defer res.Body.Close()
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	var r flow.Record
	for {
		silence.Reset(patience)
		if !sc.Scan() {
			return orCause(ctx, broken(sc.Err()))
		}
		silence.Stop() // what follows may have to wait for others
		line := sc.Bytes()
		if bytes.HasPrefix(line, []byte(`{"weir":`)) {
			var t partLine
			if err := json.Unmarshal(line, &t); err != nil {
				return fmt.Errorf("read its answer: %w", err)
			}
			if t.Weir.Alive {
				continue
			}
			f.x.scanned, f.x.notes = t.Weir.Scanned, t.Weir.Notes
			switch {
			case t.Weir.Failed:
				return errors.New("it says: " + t.Weir.Why)
			case t.Weir.Rows != n:
				return fmt.Errorf("%d of its %d rows came", n, t.Weir.Rows)
			}
			return nil
		}
		r = flow.Record{}
		if err := flow.ParseJSON(line, &r); err != nil {
			return fmt.Errorf("a row of its answer: %w", err)
		}
		n++
		if err := f.add(&r); err != nil {
			return err
		}
	}
}

func broken(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// orCause gives why a context was ended where that is more than that it was.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
