// Package elastic writes flow records to Elasticsearch 8 and 9 and to OpenSearch: a data
// stream with a document a record, or with sums by minute, or the daily indices of
// Antrea 1.0's ELK flow collector.
//
// In: batches of records. Out: _bulk requests, compressed, whose every item creates a
// document under an id that is the record's. What is there already (409) is done, what the
// server has no room for now (429) comes again, what it can never take is told record by
// record, and the rest goes on (docs/adr/0015).
//
// It keeps the connections and which records of the batch at hand are done. If the process
// dies, the next one sends the batch again from the spool, and ids keep it single.
package elastic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/spool"
)

// LostPoisoned is the reason for records that the server can never take.
const LostPoisoned = "poisoned"

// unsureAtStart is how many records at the start a killed process may have written, in its
// last request, without noting it: a bound of the largest batch.
const unsureAtStart = 2_000_000

// Sink writes to one data stream.
type Sink struct {
	cfg   Config
	log   *slog.Logger
	now   func() time.Time
	cl    client
	srv   server
	enc   *encoder
	m     metrics
	limit int // bytes of a request, now
	calm  int // requests in a row that went well

	strict  bool // a document that can never go is an error, and is not given up
	ready   bool // the layout was seen to fit
	checked time.Time
	young   int // records that a process before may have written

	batch batch
}

// batch is what is known of the records of the Write that is tried.
type batch struct {
	first, last flow.UUID
	n           int
	pending     []int // indices of records that are neither there nor given up
	lost        ledger.Amount
	tried       time.Time   // when it was tried first
	unsure      bool        // an earlier request may have been carried out
	oldest      int64       // the earliest end of a record, in milliseconds
	landed      []flow.UUID // ids of unsure requests, to be looked at for copies
}

var (
	_ sinks.Sink   = (*Sink)(nil)
	_ sinks.Ticker = (*Sink)(nil)
)

// New makes the sink; it connects at the first Write. Log and now may be nil. With
// FormatMinutes it gives a sinks.Keeper.
func New(cfg Config, log *slog.Logger, now func() time.Time) (sinks.Sink, error) {
	s, err := newSink(cfg, log, now)
	if err != nil {
		return nil, err
	}
	if cfg.Format == FormatMinutes {
		return newMinutes(s)
	}
	return s, nil
}

func newSink(cfg Config, log *slog.Logger, now func() time.Time) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Index == "" {
		cfg.Index = defaultIndex[cfg.Format]
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	s := &Sink{cfg: cfg, log: log.With("sink", cfg.Name), now: now, limit: cfg.RequestBytes, young: unsureAtStart}
	s.cl.cfg, s.srv.cfg = &s.cfg, &s.cfg
	s.enc = newEncoder(&s.cfg)
	s.m.name = cfg.Name
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

// Close ends the connections.
func (s *Sink) Close() error {
	s.cl.close()
	return nil
}

// Tick implements sinks.Ticker. Nothing is due.
func (s *Sink) Tick(context.Context, time.Time) error { return nil }

// Write implements sinks.Sink. Where it fails, it remembers which records of the batch are
// done, and the next try sends the others.
func (s *Sink) Write(ctx context.Context, recs []flow.Record) error {
	if len(recs) == 0 {
		return nil
	}
	s.begin(recs)
	if err := s.deliver(ctx, func(i int) document { return s.enc.record(&recs[i]) }); err != nil {
		return err
	}
	return s.end()
}

// begin takes up a batch, or goes on with the one that failed before.
func (s *Sink) begin(recs []flow.Record) {
	b := &s.batch
	last := len(recs) - 1
	if b.n == len(recs) && b.first == recs[0].ID && b.last == recs[last].ID {
		return
	}
	*b = batch{first: recs[0].ID, last: recs[last].ID, n: len(recs), pending: b.pending[:0], tried: s.now(), oldest: maxEnd}
	for i := range recs {
		if placed(&recs[i]) {
			b.oldest = min(b.oldest, recs[i].End)
			b.pending = append(b.pending, i)
			continue
		}
		b.lost = b.lost.Plus(spool.AmountOf(&recs[i]))
		s.poison(recs[i].ID, recs[i].ConnID, "no time of end, or one that cannot be of a flow")
	}
}

// Times that can be of a flow: 2000 to 2200, in milliseconds.
const minEnd, maxEnd = 946_684_800_000, 7_258_118_400_000

func placed(r *flow.Record) bool { return r.Has.Has(flow.FEnd) && r.End >= minEnd && r.End <= maxEnd }

// end closes the batch.
func (s *Sink) end() error {
	lost := s.batch.lost
	s.young = max(0, s.young-s.batch.n)
	s.batch = batch{pending: s.batch.pending[:0]}
	if lost.Records > 0 {
		s.m.poisoned.Add(lost.Records)
		return &sinks.Undelivered{Reason: LostPoisoned, Amount: lost}
	}
	return nil
}

// poison tells of a record that the server can never take.
func (s *Sink) poison(id flow.UUID, conn uint64, reason string) {
	s.log.Error("the server can never take this record, it is lost", "id", string(s.enc.appendID(nil, id)), "conn_id", fmt.Sprintf("%016x", conn), "reason", reason)
}

// deliver sends what is pending until nothing is.
func (s *Sink) deliver(ctx context.Context, doc func(i int) document) error {
	if err := s.prepare(ctx); err != nil {
		return s.cfg.explain(err)
	}
	for len(s.batch.pending) > 0 || len(s.batch.landed) > 0 {
		if err := s.step(ctx, doc); err != nil {
			return s.cfg.explain(err)
		}
	}
	return nil
}

// step sends one request and takes its answer.
func (s *Sink) step(ctx context.Context, doc func(i int) document) error {
	b := &s.batch
	if len(b.landed) > 0 {
		return s.dropCopies(ctx)
	}
	sent := s.enc.fill(b.pending, s.limit, doc)
	unsure := b.unsure || s.young > 0
	out, err := s.bulk(ctx)
	if err != nil {
		return s.refused(err, sent)
	}
	b.unsure = b.unsure || out.unsure
	return s.take(ctx, out, sent, unsure || out.unsure)
}

// refused acts on a request that failed whole.
func (s *Sink) refused(err error, sent int) error {
	b := &s.batch
	if _, yes := errors.AsType[unsureError](err); yes {
		b.unsure = true
	}
	status, typ := statusOf(err)
	if status == http.StatusRequestEntityTooLarge && sent == 1 && !s.strict {
		// Alone it is too large: it can never go.
		s.giveUp(0, fmt.Sprintf("its document of %d bytes is more than the server takes in a request", s.enc.size()))
		b.pending = b.pending[1:]
		return nil
	}
	s.shrink()
	if status == http.StatusRequestEntityTooLarge {
		return nil
	}
	if status == http.StatusNotFound || typ == "index_not_found_exception" {
		s.ready = false
	}
	if status == http.StatusTooManyRequests {
		s.m.rejected.Add(uint64(sent))
	}
	return err
}

// minRequest is how small requests become at most.
const minRequest = 64 << 10

// shrink halves what a request may hold: a server that has no room, or a connection that
// broke within a large body, may take less.
func (s *Sink) shrink() {
	s.calm = 0
	s.limit = max(minRequest, min(s.limit, s.enc.size())/2)
}

// grow lets requests be larger again when many went well.
func (s *Sink) grow() {
	if s.calm++; s.calm%16 == 0 {
		s.limit = min(s.cfg.RequestBytes, 2*s.limit)
	}
}

// giveUp books a record of the request as lost; at is its place in the request.
func (s *Sink) giveUp(at int, reason string) {
	d := &s.enc.docs[at]
	s.batch.lost = s.batch.lost.Plus(d.amount)
	s.poison(d.id, d.conn, reason)
}

// take acts on the answers for each item of a request.
func (s *Sink) take(ctx context.Context, out reply, sent int, unsure bool) error {
	b := &s.batch
	if len(out.items) != sent {
		return fmt.Errorf("%s answers for %d documents of %d", out.host, len(out.items), sent)
	}
	var again []int
	var poisoned []int
	var last *item
	for i := range out.items {
		it := &out.items[i]
		switch it.verdict() {
		case taken:
			if unsure && s.enc.elk == "" {
				b.landed = append(b.landed, s.enc.docs[i].id)
			}
		case later:
			again, last = append(again, b.pending[i]), it
		case never:
			poisoned = append(poisoned, i)
		}
	}
	if len(poisoned) > 0 {
		// Where the mapping is not Weir's, it is at fault and not the records.
		if err := s.checkMapping(ctx); err != nil {
			return err
		}
	}
	if len(poisoned) > 0 && s.strict {
		it := &out.items[poisoned[0]]
		return &statusError{status: it.Status, host: out.host, typ: it.Error.Type, reason: it.reason()}
	}
	for _, i := range poisoned {
		s.giveUp(i, out.items[i].Error.Type+": "+head(out.items[i].reason()))
	}
	s.m.requests.Add(1)
	s.m.created.Add(out.created)
	s.m.there.Add(out.there)
	b.pending = append(again, b.pending[sent:]...)
	if last == nil {
		s.grow()
		return nil
	}
	s.m.rejected.Add(uint64(len(again)))
	s.shrink()
	return &statusError{status: last.Status, host: out.host, typ: last.Error.Type, reason: fmt.Sprintf("%s, for %d of %d documents", head(last.Error.Reason), len(again), sent)}
}
