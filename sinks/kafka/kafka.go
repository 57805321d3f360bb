// Package kafka writes flow records to a topic of Kafka, as Protobuf (api/flow/flow.proto)
// or JSON, one message a record, keyed by connection, so that what is said of one stands in
// one partition in its order.
//
// In: batches of sinks.Runner. Out: messages that all replicas in sync have. The producer
// is idempotent: whatever happens to brokers and to answers on their way, each message is
// stored once as long as this process lives. A Write that ends without an answer does not
// end its messages: the next one waits for the same ones. A process that is killed can
// tell nobody which of its last batch had arrived; the next sends that batch again, and
// the header id, the record's own, tells which came twice (docs/adr/0013).
//
// Nothing is kept but the connections and one batch; if the process dies, the spool has
// what was not confirmed.
package kafka

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks"
)

// LostPoisoned is the reason for records that no broker can ever take.
const LostPoisoned = "poisoned"

// Sink writes to one topic. It is not safe for concurrent use: the Runner calls it from
// one goroutine.
type Sink struct {
	cfg     Config
	log     *slog.Logger
	headers []kgo.RecordHeader
	m       metrics

	ctx  context.Context //nolint:containedctx // the life of the messages, which a Write may not end
	stop context.CancelFunc

	client  *kgo.Client
	checked bool
	cur     *batch // the last one
}

// New makes the sink; it connects at the first Write. log may be nil.
func New(cfg Config, log *slog.Logger) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{cfg: cfg, log: log.With("sink", cfg.Name)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.m.name = cfg.Name
	s.headers = []kgo.RecordHeader{{Key: headerType, Value: contentTypes[cfg.Format]}}
	for k, v := range cfg.Headers {
		s.headers = append(s.headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
	}
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

// Write implements sinks.Sink.
func (s *Sink) Write(ctx context.Context, recs []flow.Record) error {
	if len(recs) == 0 {
		return nil
	}
	if err := s.write(ctx, recs); err != nil {
		s.checked = false
		return s.cfg.explain(err)
	}
	if lost := s.cur.lost; lost.Records > 0 {
		s.m.poisoned.Add(lost.Records)
		return &sinks.Undelivered{Reason: LostPoisoned, Amount: lost}
	}
	return nil
}

func (s *Sink) write(ctx context.Context, recs []flow.Record) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.take(ctx, recs); err != nil {
		return err
	}
	for !s.cur.finished() {
		if s.cur.trying == nil {
			s.cur.produce(s.ctx, s.client) //nolint:contextcheck // a message outlives the Write
		}
		if err := s.outcome(ctx); err != nil {
			return err
		}
	}
	return nil
}

// take encodes the records, or goes on with the batch of the try before if they are its.
func (s *Sink) take(ctx context.Context, recs []flow.Record) error {
	if s.cur == nil || s.cur.finished() {
		if s.cur == nil {
			s.cur = &batch{}
		}
		s.cur = s.encode(s.cur, recs)
		return nil
	}
	fresh := s.encode(&batch{}, recs)
	if fresh.same(s.cur) {
		return nil
	}
	// Another batch, against the contract of Write: what the client has ends first.
	if s.cur.trying != nil {
		if err := s.outcome(ctx); err != nil {
			return err
		}
	}
	s.cur = fresh
	return nil
}

// prepare makes the client, and asks whether the topic can be written where the try before
// failed.
func (s *Sink) prepare(ctx context.Context) error {
	if s.client == nil {
		cl, err := s.cfg.client(logger{s.log})
		if err != nil {
			return err
		}
		s.client = cl
	}
	if s.checked {
		return nil
	}
	if err := s.cfg.check(ctx, s.client); err != nil {
		return fmt.Errorf("topic %s: %w", s.cfg.Topic, err)
	}
	s.checked = true
	return nil
}

// outcome sends what the client has, and returns when it is known what became of it.
func (s *Sink) outcome(ctx context.Context) error {
	b := s.cur
	if err := s.client.Flush(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return fmt.Errorf("%d of %d messages are not confirmed: %w", b.waiting.Load(), len(b.trying), ctx.Err())
	}
	written, err := b.settle(s.log)
	s.m.messages.Add(uint64(written))
	return err
}

// Close ends the connections. What is not confirmed by then comes again.
func (s *Sink) Close() error {
	s.stop()
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
	return nil
}
