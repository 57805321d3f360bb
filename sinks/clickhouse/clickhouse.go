// Package clickhouse writes flow records to ClickHouse over its native protocol: one
// table with a column for each field, sums kept beside it, and a view with the names of
// Antrea's Theia. It also answers the query language from there.
//
// In: batches of records with their positions in the sink's spool. Out: one INSERT a
// batch, of columns, which is stored whole or not at all. Each row holds the spool and
// its position: what a killed process has stored is found there, and is not written
// again. A try whose answer was lost carries the same token as the one before, and the
// server drops what it has (docs/adr/0012).
//
// Nothing is kept but the connection; if the process dies, the spool has what the
// server has not. Where the server is down, a Write fails and the Runner tries again.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
	"github.com/weirnet/weir/sinks/spool"
)

// LostPoisoned is the reason for records that the server can never take.
const LostPoisoned = "poisoned"

// Sink writes to one database. It is a sinks.Resumer.
type Sink struct {
	cfg   Config
	log   *slog.Logger
	now   func() time.Time
	table string
	enc   *encoder
	m     metrics

	conn  *ch.Client
	host  int    // index of the one that is next, or connected
	spool string // id, from Resume
	ready bool   // the layout was seen to fit
	asked bool   // next is known
	next  uint64 // position behind the last that the table has

	tried    uint64 // position of the batch tried last
	inserted uint32 // and when it was tried first: a later try must land in the same partition
	pos      []uint64
}

var _ sinks.Resumer = (*Sink)(nil)

// New makes the sink; it connects at the first Write. Log and now may be nil.
func New(cfg Config, log *slog.Logger, now func() time.Time) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	l := cfg.Layout()
	s := &Sink{cfg: cfg, log: log.With("sink", cfg.Name), now: now, table: l.Name(l.Local(ddl.Flows)), enc: newEncoder()}
	s.m.name = cfg.Name
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

// Resume takes the spool's id. The table is asked at the first write, as the server
// may be down now; what it has by then is passed over there.
func (s *Sink) Resume(_ context.Context, id string) (uint64, bool, error) {
	s.spool, s.asked = id, false
	return 0, false, nil
}

// Write implements sinks.Sink. The Runner calls WriteAt.
func (s *Sink) Write(context.Context, []flow.Record) error {
	return errors.New("clickhouse: records need positions: use WriteAt")
}

// WriteAt implements sinks.Resumer.
func (s *Sink) WriteAt(ctx context.Context, pos uint64, recs []flow.Record) error {
	err := s.writeAt(ctx, pos, recs)
	if _, lost := errors.AsType[*sinks.Undelivered](err); err == nil || lost {
		return err
	}
	s.disconnect()
	if codeOf(err) == 0 || codeOf(err) == codeAuthentication {
		s.host = (s.host + 1) % len(s.cfg.Hosts) // the next one may live
	}
	if c := codeOf(err); c == codeUnknownTable || c == codeUnknownDatabase {
		s.ready = false
	}
	return s.cfg.explain(err)
}

func (s *Sink) writeAt(ctx context.Context, pos uint64, recs []flow.Record) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if pos < s.next {
		have := min(s.next-pos, uint64(len(recs)))
		s.m.skipped.Add(have)
		pos, recs = pos+have, recs[have:]
	}
	if len(recs) == 0 {
		return nil
	}
	if s.tried != pos || s.inserted == 0 {
		s.tried, s.inserted = pos, uint32(s.now().Unix())
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	good, lost := s.placed(pos, recs)
	if err := s.insert(ctx, good, s.pos, &lost); err != nil {
		return err
	}
	s.enc.release()
	if lost.Records > 0 {
		s.m.poisoned.Add(lost.Records)
		return &sinks.Undelivered{Reason: LostPoisoned, Amount: lost}
	}
	return nil
}

// prepare makes sure that the layout fits and asks which positions the table has.
func (s *Sink) prepare(ctx context.Context) error {
	if s.ready && s.asked {
		return nil
	}
	conn, err := s.cfg.open(2)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := oldEnough(conn); err != nil {
		return err
	}
	m := migration{cfg: &s.cfg, layout: s.cfg.Layout(), conn: conn}
	if s.cfg.Schema == "check" {
		err = m.check(ctx)
	} else {
		err = m.to(ctx, ddl.Latest)
	}
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	s.ready = true
	if s.asked {
		return nil
	}
	var last, rows uint64
	err = conn.QueryRow(ctx, "SELECT max(pos), count() FROM "+s.table+" WHERE spool = "+ddl.Quote(s.spool)).Scan(&last, &rows)
	if err != nil {
		return fmt.Errorf("ask for its position: %w", err)
	}
	s.next, s.asked = 0, true
	if rows > 0 {
		s.next = last + 1
	}
	return nil
}

func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	var errs []error
	for range s.cfg.Hosts {
		conn, err := s.cfg.dial(ctx, s.cfg.Hosts[s.host])
		if err == nil {
			s.conn = conn
			s.log.Info("connected", "host", s.cfg.Hosts[s.host], "server", conn.ServerInfo().String())
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.cfg.Hosts[s.host], err))
		s.host = (s.host + 1) % len(s.cfg.Hosts)
	}
	return errors.Join(errs...)
}

func (s *Sink) disconnect() {
	if s.conn != nil {
		_ = s.conn.Close() // it failed already
		s.conn = nil
	}
}

// Close ends the connection.
func (s *Sink) Close() error {
	s.disconnect()
	return nil
}

// Times that DateTime64 holds and that can be of a flow: 2000 to 2200, in milliseconds.
const minEnd, maxEnd = 946_684_800_000, 7_258_118_400_000

// placed sets aside records that have no place in the table: without an end, or with one
// that cannot be. It numbers the others in s.pos.
func (s *Sink) placed(pos uint64, recs []flow.Record) (good []flow.Record, lost ledger.Amount) {
	ok := func(r *flow.Record) bool { return r.Has.Has(flow.FEnd) && r.End >= minEnd && r.End <= maxEnd }
	bad := 0
	for i := range recs {
		if !ok(&recs[i]) {
			bad++
		}
	}
	if bad == 0 {
		s.pos = positions(s.pos, pos, len(recs))
		return recs, lost
	}
	s.pos = s.pos[:0]
	for i := range recs {
		if r := &recs[i]; ok(r) {
			good, s.pos = append(good, *r), append(s.pos, pos+uint64(i))
		} else {
			lost = lost.Plus(spool.AmountOf(r))
		}
	}
	return good, lost
}

// insert writes records as one block. Where the server says that the data is at fault,
// it halves the batch until the records that are stand alone, and books those as lost.
func (s *Sink) insert(ctx context.Context, recs []flow.Record, pos []uint64, lost *ledger.Amount) error {
	if len(recs) == 0 {
		return nil
	}
	err := s.send(ctx, recs, pos)
	if !dataCodes[codeOf(err)] {
		return err
	}
	if len(recs) == 1 {
		s.log.Error("the server can never take this record", "conn_id", recs[0].Text(flow.FConnID), "id", recs[0].Text(flow.FID), "error", err)
		*lost = lost.Plus(spool.AmountOf(&recs[0]))
		return nil
	}
	half := len(recs) / 2
	if err := s.insert(ctx, recs[:half], pos[:half], lost); err != nil {
		return err
	}
	return s.insert(ctx, recs[half:], pos[half:], lost)
}

func (s *Sink) send(ctx context.Context, recs []flow.Record, pos []uint64) error {
	if err := s.connect(ctx); err != nil { // a refusal may have ended the connection
		return err
	}
	input := s.enc.encode(recs, s.spool, pos, s.inserted)
	token := s.spool + ":" + strconv.FormatUint(pos[0], 10) + ":" + strconv.Itoa(len(recs))
	err := s.conn.Do(ctx, ch.Query{
		Body: s.enc.statement(s.table), Input: input,
		Settings: []ch.Setting{
			{Key: "insert_deduplicate", Value: "1", Important: true},
			{Key: "insert_deduplication_token", Value: token, Important: true},
			{Key: "deduplicate_blocks_in_dependent_materialized_views", Value: "1", Important: true},
			{Key: "async_insert", Value: "0", Important: true},
		},
	})
	if err != nil {
		s.disconnect()
		return err
	}
	s.m.inserts.Add(1)
	s.m.rows.Add(uint64(len(recs)))
	return nil
}

// positions numbers n rows from first on.
func positions(buf []uint64, first uint64, n int) []uint64 {
	buf = buf[:0]
	for i := range n {
		buf = append(buf, first+uint64(i))
	}
	return buf
}
