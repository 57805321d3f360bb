package send

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/certs"
	"github.com/weirnet/weir/internal/ledger"
)

const (
	backoffMin   = 200 * time.Millisecond
	backoffMax   = 4 * time.Second // agents that find a returned aggregator at different times tear connections apart: well below correlate.halfTimeout
	dialTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	lingerFor    = 2 * time.Second
	keepSessions = 8
)

// Run connects to the aggregators and ships until ctx ends; then it drains the
// queue for at most StopTimeout and books the rest as lost.
func (s *Sender) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, p := range s.peers {
		wg.Go(func() { p.run(ctx) })
	}
	wg.Wait()
	for _, p := range s.peers {
		for {
			it, ok := p.pop()
			if !ok {
				break
			}
			s.lose("shutdown", it.amount)
		}
	}
	return nil
}

// Ready reports whether an aggregator can be reached.
func (s *Sender) Ready() bool {
	for _, p := range s.peers {
		if p.connected() {
			return true
		}
	}
	return false
}

func (s *Sender) String() string { return "send" }

func (p *peer) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up.Load() && len(p.sent) > 0
}

func (p *peer) run(ctx context.Context) {
	wait := backoffMin
	stopBy := time.Time{}
	for {
		if ctx.Err() != nil {
			if stopBy.IsZero() {
				stopBy = time.Now().Add(p.s.cfg.StopTimeout)
			}
			if p.empty() || time.Now().After(stopBy) {
				return
			}
		}
		conn, taken, err := p.dial()
		if err == nil {
			var began bool
			if began, err = p.session(ctx, conn, taken); began {
				wait = backoffMin
			}
			if errors.Is(err, errStopped) {
				return
			}
			if !errors.Is(err, errDrained) {
				p.forget() // whether it has told what it was told nobody knows
			}
			p.s.Reconnects.Add(1)
		}
		p.up.Store(false)
		p.s.reroute(p)
		p.s.handOver(p)
		p.s.deps.Log.Warn("aggregator not reached, trying again", "aggregator", p.addr, "error", err, "wait", wait)
		select {
		case <-ctx.Done():
			if !sleepUntil(stopBy, wait) && !stopBy.IsZero() {
				return
			}
		case <-time.After(jitter(wait)):
		}
		wait = min(wait*2, backoffMax)
	}
}

// sleepUntil waits for d but not past the deadline; it reports whether there is
// time left.
func sleepUntil(deadline time.Time, d time.Duration) bool {
	if deadline.IsZero() {
		return true
	}
	left := time.Until(deadline)
	if left <= 0 {
		return false
	}
	time.Sleep(min(d, left))
	return true
}

// jitter spreads d over half to all of it, so that a cluster does not come back in step.
func jitter(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d/2)+1))
	if err != nil {
		return d
	}
	return d/2 + time.Duration(n.Int64())
}

func (p *peer) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head == len(p.queue)
}

// dial connects. What it gives besides tells when an aggregator has taken a session of TLS
// for good.
func (p *peer) dial() (net.Conn, certs.Tickets, error) {
	d := &net.Dialer{Timeout: dialTimeout}
	switch p.s.cfg.Transport {
	case "tls":
		cfg, taken := p.s.deps.TLS(host(p.addr)).Clone(), certs.NewTickets()
		cfg.ClientSessionCache = taken
		c, err := tls.DialWithDialer(d, "tcp", p.addr, cfg)
		if err != nil {
			return nil, nil, fmt.Errorf("dial %s: %w", p.addr, err)
		}
		return c, taken, nil
	case "tcp", "udp":
		c, err := d.Dial(p.s.cfg.Transport, p.addr)
		return c, nil, err
	default:
		return nil, nil, fmt.Errorf("send: transport %q is unknown: use tls, tcp or udp", p.s.cfg.Transport)
	}
}

var (
	errStopped = errors.New("stopped")
	errDrained = errors.New("the aggregator takes no more")
)

// session is one transport session.
type session struct {
	p         *peer
	conn      net.Conn
	enc       *ipfix.Encoder
	ledger    *ipfix.Template
	facts     *ipfix.Template
	tellAt    time.Time // when facts are due
	inMessage []item    // the records of the unfinished message
	amount    ledger.Amount
	announced time.Time
	udp       bool
}

// session sends until the connection or the agent ends. began is false where the aggregator
// took no part in it.
func (p *peer) session(ctx context.Context, conn net.Conn, taken certs.Tickets) (began bool, err error) {
	defer conn.Close()
	eof := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn) // an aggregator says nothing but goodbye
		eof <- err
	}()
	if certs.Await(conn) {
		select {
		case <-taken:
		case <-time.After(certs.TicketWait):
		case err := <-eof:
			return false, fmt.Errorf("the aggregator ended the session behind the handshake: does it know the CA of certFile? %w", errOr(err, io.EOF))
		}
	}
	return true, p.ship(ctx, conn, eof)
}

// ship is a session whose aggregator listens.
func (p *peer) ship(ctx context.Context, conn net.Conn, eof <-chan error) error {
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	cfg := &p.s.cfg
	udp := cfg.Transport == "udp"
	limit := 32 << 10 // latency and memory, not the protocol, set it
	if udp {
		limit = cfg.MTU
	}
	x := &session{p: p, conn: conn, udp: udp, enc: ipfix.NewEncoder(cfg.Domain, ipfix.EncoderOptions{MaxMessage: limit}), ledger: ipfix.LedgerTemplate(), facts: ipfix.FactTemplate()}
	p.begin(hex.EncodeToString(id))
	p.up.Store(true)
	if err := x.start(hex.EncodeToString(id)); err != nil {
		return err
	}
	p.s.deps.Log.Info("aggregator connected", "aggregator", p.addr)
	for _, q := range p.s.peers {
		if q != p {
			p.s.handOver(q)
		}
	}
	flush := time.NewTicker(cfg.FlushInterval)
	defer flush.Stop()
	books := time.NewTicker(cfg.LedgerInterval)
	defer books.Stop()
	for {
		select {
		case <-flush.C:
			if err := x.pump(); err != nil {
				return err
			}
		case <-books.C:
			if err := x.tellBooks(); err != nil {
				return err
			}
		case err := <-eof:
			if udp { // port unreachable
				return fmt.Errorf("udp: %w", errOr(err, errDrained))
			}
			p.up.Store(false)
			if err == nil {
				err = x.finish(false)
			}
			return errOr(err, errDrained)
		case <-ctx.Done():
			if err := x.finish(true); err != nil {
				return err
			}
			if !udp {
				select {
				case err := <-eof: // it has read all
					if err != nil {
						return err
					}
				case <-time.After(lingerFor):
				}
			}
			return errStopped
		}
	}
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// begin opens the account of a session. Old ones are added up under one name.
func (p *peer) begin(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, sessionSent{id: id})
	if n := len(p.sent); n > keepSessions {
		if p.sent[0].id != "older" {
			p.sent[0].id = "older"
		}
		p.sent[0].amount = p.sent[0].amount.Plus(p.sent[1].amount)
		p.sent = append(p.sent[:1], p.sent[2:]...)
	}
}

// start announces the templates and tells which session this is.
func (x *session) start(id string) error {
	if err := x.announce(); err != nil {
		return err
	}
	row := x.row("session", x.p.addr, id, ledger.Amount{}, time.Now())
	if err := x.tell(&row); err != nil {
		return err
	}
	return x.tellBooks()
}

func (x *session) announce() error {
	for _, t := range append(x.p.s.set.Templates(), x.ledger, x.facts) {
		for !x.enc.AddTemplate(t) {
			if x.enc.Empty() {
				return fmt.Errorf("send: template %d does not fit a message of %d bytes: raise the MTU", t.ID, x.p.s.cfg.MTU)
			}
			if err := x.write(); err != nil {
				return err
			}
		}
	}
	x.announced = time.Now()
	return x.write()
}

// pump writes everything that waits.
func (x *session) pump() error {
	if x.udp && time.Since(x.announced) > x.p.s.cfg.TemplateInterval {
		if err := x.announce(); err != nil {
			return err
		}
	}
	for {
		it, ok := x.p.pop()
		if !ok {
			return x.write()
		}
		// It may have waited here while the one that the other end tells came back.
		// What is handed over still goes where it was meant to, and there again: the
		// other end may have told that one already.
		if q := x.p.s.choose(it.hash); q != x.p && !it.handed && !x.p.s.stopping.Load() {
			q.push(it)
			continue
		}
		t := x.p.s.set.V4
		if it.v6 {
			t = x.p.s.set.V6
		}
		for !x.enc.AppendBody(t, it.body) {
			if x.enc.Empty() {
				x.p.s.lose("record_too_large", it.amount)
				it.body = nil
				break
			}
			if err := x.write(); err != nil {
				x.p.unpop([]item{it})
				return err
			}
		}
		if it.body != nil {
			x.inMessage = append(x.inMessage, it)
			x.amount = x.amount.Plus(it.amount)
		}
	}
}

// write sends the unfinished message. If not a byte of it left, its records go back
// to the queue; if some did, nobody can tell whether they arrived, and the books of
// both sides will.
func (x *session) write() error {
	msg := x.enc.Take(uint32(time.Now().Unix()))
	if msg == nil {
		return nil
	}
	if err := x.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	n, err := x.conn.Write(msg)
	if err != nil && n == 0 {
		x.p.unpop(x.inMessage)
	} else {
		x.p.s.stage.Out(x.amount)
		x.p.s.held.add(x.amount, -1)
		var late []recent
		x.p.mu.Lock()
		last := &x.p.sent[len(x.p.sent)-1]
		last.amount = last.amount.Plus(x.amount)
		if err == nil {
			late = x.p.remember(time.Now(), x.inMessage)
		}
		x.p.mu.Unlock()
		x.p.s.tellAgain(late)
	}
	clear(x.inMessage)
	x.inMessage, x.amount = x.inMessage[:0], ledger.Amount{}
	if err != nil {
		return fmt.Errorf("write to %s: %w", x.p.addr, err)
	}
	return nil
}

// finish sends what the session still owes: the message, on a stop the whole queue,
// the books and a farewell; then it closes its half of the connection.
func (x *session) finish(all bool) error {
	if all {
		x.p.s.stopping.Store(true) // other sessions may be over already: what is here goes here
		if err := x.pump(); err != nil {
			return err
		}
	}
	if err := x.write(); err != nil {
		return err
	}
	if err := x.tellBooks(); err != nil {
		return err
	}
	if all {
		row := x.row(ipfix.StageProcess, ipfix.KindStopped, "", ledger.Amount{}, time.Now())
		if err := x.tell(&row); err != nil {
			return err
		}
		if err := x.write(); err != nil {
			return err
		}
	}
	if c, ok := x.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

func (x *session) row(stage, kind, reason string, a ledger.Amount, now time.Time) ipfix.LedgerRow {
	return ipfix.LedgerRow{
		Observer: x.p.s.cfg.Observer, Instance: x.p.s.cfg.Instance, Stage: stage, Kind: kind, Reason: reason,
		Records: a.Records, Connections: a.Connections, Bytes: a.Bytes, AtMs: now.UnixMilli(),
	}
}

func (x *session) tell(row *ipfix.LedgerRow) error {
	for !x.enc.AppendLedger(row) {
		if x.enc.Empty() {
			return fmt.Errorf("send: a row of the books does not fit a message of %d bytes", x.p.s.cfg.MTU)
		}
		if err := x.write(); err != nil {
			return err
		}
	}
	return nil
}

// tellBooks sends the whole book of the process, and what each session was given.
func (x *session) tellBooks() error {
	now := time.Now()
	if err := x.pump(); err != nil {
		return err
	}
	var rows []ipfix.LedgerRow
	for _, l := range x.p.s.deps.Book.Snapshot() {
		rows = append(rows, x.row(l.Stage, "in", "", l.In, now), x.row(l.Stage, "out", "", l.Out, now), x.row(l.Stage, "held", "", l.Held, now))
		for _, why := range l.Reasons() {
			rows = append(rows, x.row(l.Stage, "lost", why, l.Lost[why], now))
		}
	}
	for _, p := range x.p.s.peers {
		p.mu.Lock()
		for _, v := range p.sent {
			rows = append(rows, x.row("wire", p.addr, v.id, v.amount, now))
		}
		p.mu.Unlock()
	}
	for i := range rows {
		if err := x.tell(&rows[i]); err != nil {
			return err
		}
	}
	if err := x.tellFacts(now); err != nil {
		return err
	}
	return x.write()
}

// tellFacts sends what the node says of itself, when it is due. A fact that does not
// fit a message is left out: it is no reason to end the session.
func (x *session) tellFacts(now time.Time) error {
	s := x.p.s
	if s.deps.Facts == nil || now.Before(x.tellAt) {
		return nil
	}
	x.tellAt = now.Add(s.cfg.FactInterval)
	for _, row := range s.deps.Facts(x.p.addr) {
		row.Observer, row.Instance = s.cfg.Observer, s.cfg.Instance
		for !x.enc.AppendFact(&row) {
			if x.enc.Empty() {
				s.deps.Log.Warn("a fact about this node is too large to be told", "topic", row.Topic, "key", row.Key)
				break
			}
			if err := x.write(); err != nil {
				return err
			}
		}
	}
	return nil
}
