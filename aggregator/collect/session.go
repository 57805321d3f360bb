package collect

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

const (
	batchSize     = 64
	firstBuffer   = 16 << 10
	streamBuffer  = 256 << 10
	handshakeTime = 10 * time.Second
	templateTTL   = 30 * time.Minute // three times the refresh of 10 minutes
	udpIdle       = 30 * time.Minute
)

// receiver joins a decoder to the collector: it batches records and keeps the
// account of one transport session.
type receiver struct {
	c       *Collector
	src     Source
	dec     *ipfix.Session
	batch   *flow.Batch
	amount  ledger.Amount // of the batch
	account *account
	last    ipfix.Stats
}

func (c *Collector) receiver(remote, transport string, o ipfix.SessionOptions) *receiver {
	return &receiver{c: c, src: Source{Remote: remote, Transport: transport}, dec: ipfix.NewSession(o), account: &account{lossy: transport == "udp"}}
}

// Place gives the decoder the next place in the batch.
func (x *receiver) Place(fields *flow.Mask) *flow.Record {
	if x.batch == nil {
		x.batch = x.c.batches.Get().(*flow.Batch)
	}
	return x.batch.Place(fields)
}

// Record takes the record in that was decoded there.
func (x *receiver) Record(r *flow.Record) {
	x.batch.Commit()
	x.amount = x.amount.Plus(amountOf(r))
	if x.batch.Full() {
		x.flush()
	}
}

func amountOf(r *flow.Record) ledger.Amount {
	a := ledger.Amount{Records: 1}
	if r.Has.Has(flow.FFirst) && r.First {
		a.Connections = 1
	}
	if r.Has.Has(flow.FBytesDelta) {
		a.Bytes = r.BytesDelta + r.RevBytesDelta
	}
	return a
}

// Ledger takes one row of the exporter's books.
func (x *receiver) Ledger(row *ipfix.LedgerRow) {
	x.flush() // so that what came before the row is counted before it
	x.c.Stats.LedgerRows.Add(1)
	x.c.exporters.take(row, x.account)
}

// Fact takes what a node says of itself.
func (x *receiver) Fact(row *ipfix.FactRow) {
	x.c.Stats.Facts.Add(1)
	if !x.c.facts.take(row) {
		x.c.Stats.FactsRefused.Add(1)
	}
}

func (x *receiver) flush() {
	if x.batch == nil {
		return
	}
	if len(x.batch.Recs) == 0 { // its first record was cut
		x.batch.Release()
		x.batch = nil
		return
	}
	x.src.Domain = x.dec.Domain()
	x.c.stage.In(x.amount)
	x.account.add(x.amount)
	x.c.deps.Handler.HandleBatch(&x.src, x.batch)
	x.batch = nil
	x.c.stage.Out(x.amount)
	x.amount = ledger.Amount{}
}

// settle books what the decoder counted since the last call.
func (x *receiver) settle() {
	s, l := &x.dec.Stats, &x.last
	st := &x.c.Stats
	st.Messages.Add(s.Messages - l.Messages)
	st.Records.Add(s.Records - l.Records)
	st.Templates.Add(s.Templates - l.Templates)
	st.Malformed.Add(s.Malformed() - l.Malformed())
	st.UnknownSets.Add(s.SetsLost - l.SetsLost)
	if n := s.SequenceLost - l.SequenceLost; n > 0 {
		st.SequenceLost.Add(n)
		a := ledger.Amount{Records: n}
		x.c.stage.In(a)
		x.c.stage.Lost("sequence_gap", a)
	}
	x.last = *s
}

// serveStream reads one TCP or TLS session to its end.
func (c *Collector) serveStream(ctx context.Context, conn net.Conn) {
	x := c.receiver(conn.RemoteAddr().String(), "tcp", ipfix.SessionOptions{})
	if t, ok := conn.(*tls.Conn); ok {
		x.src.Transport = "tls"
		ctx, cancel := context.WithTimeout(ctx, handshakeTime)
		err := t.HandshakeContext(ctx)
		cancel()
		if err != nil {
			c.Stats.TLSFailures.Add(1)
			c.deps.Log.Warn("tls handshake failed", "remote", x.src.Remote, "error", err)
			return
		}
		if p := t.ConnectionState().PeerCertificates; len(p) > 0 {
			x.src.Identity = p[0].Subject.CommonName
		}
	}
	err := x.read(conn)
	x.flush()
	x.dec.Close()
	x.settle()
	x.account.ended.Store(true)
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.deps.Log.Warn("exporter's session ended", "remote", x.src.Remote, "identity", x.src.Identity, "error", err)
	}
}

// read decodes messages until the stream ends. A message that is malformed inside
// is counted and the next one read: the framing still holds.
func (x *receiver) read(conn net.Conn) error {
	buf := make([]byte, 0, firstBuffer)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(x.c.cfg.IdleTimeout)); err != nil {
			return err
		}
		if len(buf) == cap(buf) { // a message larger than the buffer, or a busy session
			buf = append(make([]byte, 0, min(cap(buf)*4, streamBuffer)), buf...)
		}
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest, ferr := x.messages(buf)
		if ferr != nil {
			return ferr
		}
		full := len(buf) == cap(buf)
		kept := copy(buf, rest)
		buf = buf[:kept]
		if full && cap(buf) < streamBuffer {
			buf = append(make([]byte, 0, cap(buf)*4), buf...)
		}
		x.flush()
		x.settle()
		if err != nil {
			return err
		}
	}
}

func (x *receiver) messages(buf []byte) (rest []byte, err error) {
	for {
		var msg []byte
		msg, buf, err = ipfix.NextMessage(buf)
		if err != nil {
			x.c.Stats.Malformed.Add(1)
			return nil, err
		}
		if msg == nil {
			return buf, nil
		}
		if err := x.dec.Decode(time.Now().UnixMilli(), msg, x); err != nil {
			x.c.deps.Log.Debug("malformed message", "remote", x.src.Remote, "error", err)
		}
	}
}

// serveUDP reads datagrams; a session is a remote address.
func (c *Collector) serveUDP(ctx context.Context) {
	type udpSession struct {
		*receiver
		seen time.Time
	}
	sessions := map[netip.AddrPort]*udpSession{}
	conn := c.packet.(*net.UDPConn)
	buf := make([]byte, 65536)
	swept := time.Now()
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			c.deps.Log.Warn("udp read failed", "error", err)
			continue
		}
		now := time.Now()
		x := sessions[from]
		if x == nil {
			if len(sessions) >= c.cfg.MaxSessions {
				c.Stats.Refused.Add(1)
				continue
			}
			c.Stats.Sessions.Add(1)
			x = &udpSession{receiver: c.receiver(from.String(), "udp", ipfix.SessionOptions{TemplateTTL: templateTTL.Milliseconds(), MaxHeldBytes: 64 << 10})}
			sessions[from] = x
		}
		x.seen = now
		if err := x.dec.Decode(now.UnixMilli(), buf[:n], x.receiver); err != nil {
			c.deps.Log.Debug("malformed datagram", "remote", x.src.Remote, "error", err)
		}
		x.flush()
		x.settle()
		if now.Sub(swept) > time.Minute {
			swept = now
			for a, s := range sessions {
				if now.Sub(s.seen) > udpIdle {
					s.dec.Close()
					s.settle()
					delete(sessions, a)
				}
			}
		}
	}
}
