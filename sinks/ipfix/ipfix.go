// Package ipfix is the sink that sends records on to another collector, as IPFIX or
// as JSON lines, over TCP, TLS or UDP.
//
// In: batches from sinks.Runner. Out: messages on one connection, with the templates
// first on each new one and again at each refresh over UDP.
//
// IPFIX has no acknowledgement, so this sink is at-least-once and cannot be more: over
// TCP and TLS a batch counts as delivered when the collector's kernel has acknowledged its
// bytes and the connection still stands; if it breaks before, the whole batch
// is sent again and the collector may have some of it twice. What a collector had
// taken from its kernel or not yet read when it was killed is lost without a sign;
// no exporter of IPFIX can know of it. Over UDP a batch counts when it is sent. If the process dies, the Runner's spool has what did not count. It
// does not filter or retry: that is the Runner's.
package ipfix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
)

// LostTooLong is the reason for a record that fits no message of the size allowed.
const LostTooLong = "too_long"

// Sink is one exporting process. It is not safe for concurrent use: the Runner calls
// it from one goroutine.
type Sink struct {
	cfg  Config
	log  *slog.Logger
	now  func() time.Time
	set  ipfix.Set
	enc  *ipfix.Encoder
	json jsonWriter
	conn *connection
	sent time.Time // when the templates were sent last
}

// New checks the configuration; it connects at the first Write. log and now may be nil.
func New(cfg Config, log *slog.Logger, now func() time.Time) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ipfix sink: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	s := &Sink{cfg: cfg, log: log, now: now}
	s.set, _ = cfg.set() // Validate asked it
	// go-ipfix, and so Antrea, reads one set a message; to others it makes no difference
	s.enc = ipfix.NewEncoder(cfg.domain(), ipfix.EncoderOptions{MaxMessage: cfg.maxMessage(), OneSet: strings.HasPrefix(cfg.Template, "antrea")})
	for _, t := range s.set.Templates() {
		if !s.enc.AddTemplate(t) {
			s.enc.Take(0)
			if !s.enc.AddTemplate(t) {
				return nil, fmt.Errorf("ipfix sink: maxMessage: %d holds no template %s: raise it or use tcp", cfg.maxMessage(), cfg.Template)
			}
		}
	}
	s.enc.Reset()
	s.json = newJSONWriter(s.set, cfg.Template == "iana" || cfg.Template == "weir")
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

// Write implements sinks.Sink.
func (s *Sink) Write(ctx context.Context, recs []flow.Record) error {
	err := s.write(ctx, recs)
	var un *sinks.Undelivered
	if err != nil && !errors.As(err, &un) {
		s.drop()
		return fmt.Errorf("export to %s://%s: %w", s.cfg.Protocol, s.cfg.Address, err)
	}
	return err
}

func (s *Sink) write(ctx context.Context, recs []flow.Record) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(s.cfg.AckTimeout)
	}
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	lost, err := s.send(recs)
	if err != nil {
		return err
	}
	if err := s.conn.acknowledged(ctx, s.cfg.AckTimeout); err != nil {
		return err
	}
	if lost.Records > 0 {
		return &sinks.Undelivered{Reason: LostTooLong, Amount: lost}
	}
	return nil
}

func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && s.conn.broken() {
		s.log.Info("collector closed the connection", "address", s.cfg.Address)
		s.drop()
	}
	if s.conn == nil {
		c, err := dial(ctx, &s.cfg)
		if err != nil {
			return err
		}
		s.conn = c
		s.enc.Reset() // a new transport session counts its records from 0
		s.sent = time.Time{}
	}
	return nil
}

func (s *Sink) drop() {
	if s.conn == nil {
		return
	}
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Debug("close after a failure", "error", err)
	}
	s.conn = nil
}

func (s *Sink) send(recs []flow.Record) (lost ledger.Amount, err error) {
	if s.cfg.Format == "json" {
		return lost, s.sendJSON(recs)
	}
	if err := s.templates(); err != nil {
		return lost, err
	}
	for i := range recs {
		r := s.prepare(&recs[i])
		t := s.set.For(r)
		if s.enc.Append(t, r) {
			continue
		}
		if err := s.flush(); err != nil {
			return lost, err
		}
		if !s.enc.Append(t, r) {
			c, b := recs[i].Amounts()
			lost = lost.Plus(ledger.Amount{Records: 1, Connections: c, Bytes: b})
		}
	}
	return lost, s.flush()
}

// prepare gives the record as the template needs it: in proxy mode a direction that is
// not known is 255, while 0 would say ingress.
func (s *Sink) prepare(r *flow.Record) *flow.Record {
	if !s.cfg.proxy() || r.Has.Has(flow.FDirection) {
		return r
	}
	c := *r
	c.SetDirection(255)
	return &c
}

// templates announces the templates when the session is new or, over UDP, when they are due.
func (s *Sink) templates() error {
	now := s.now()
	if !s.sent.IsZero() && (s.cfg.Protocol != "udp" || now.Sub(s.sent) < s.cfg.TemplateRefresh) {
		return nil
	}
	for _, t := range s.set.Templates() {
		if s.enc.AddTemplate(t) {
			continue
		}
		if err := s.flush(); err != nil {
			return err
		}
		s.enc.AddTemplate(t) // New has made sure that it fits alone
	}
	// On its own, so that no data record of the message can come before it is known.
	if err := s.flush(); err != nil {
		return err
	}
	s.sent = now
	return nil
}

func (s *Sink) flush() error {
	msg := s.enc.Take(uint32(s.now().Unix()))
	if msg == nil {
		return nil
	}
	_, err := s.conn.Write(msg)
	return err
}

func (s *Sink) sendJSON(recs []flow.Record) error {
	at := s.now()
	buf := s.json.buf[:0]
	for i := range recs {
		buf = s.json.append(buf, s.prepare(&recs[i]), at)
		if s.cfg.Protocol == "udp" || len(buf) >= 64<<10 {
			if _, err := s.conn.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	s.json.buf = buf
	if len(buf) == 0 {
		return nil
	}
	_, err := s.conn.Write(buf)
	return err
}

// Tick implements sinks.Ticker: over UDP the templates are sent again when they are due,
// also when no records come.
func (s *Sink) Tick(_ context.Context, _ time.Time) error {
	if s.conn == nil || s.cfg.Protocol != "udp" || s.cfg.Format == "json" {
		return nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.cfg.AckTimeout)); err != nil {
		return err
	}
	if err := s.templates(); err != nil {
		s.drop()
		return fmt.Errorf("templates to %s: %w", s.cfg.Address, err)
	}
	return nil
}

// Close implements io.Closer.
func (s *Sink) Close() error {
	s.drop()
	return nil
}
