// Package collect accepts IPFIX from agents and any other exporter over TCP, mutual
// TLS and UDP.
//
// In: connections. Out: batches of records and the exporters' books, through a
// Handler. Each TCP or TLS session is decoded by a goroutine of its own, so that a
// slow or hostile one delays no other; a slow handler slows the senders down. What
// the sequence numbers miss is booked as lost. If we die here, exporters notice and
// send what follows to another replica or wait; what they had written and we had
// not read shows as the difference between their books and ours.
package collect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

// Source tells where a batch comes from.
type Source struct {
	Remote    string // address of the exporter
	Transport string // tcp, tls or udp
	Identity  string // common name of its certificate, "" without one
	Domain    uint32 // observation domain of the newest message
}

// Handler takes what arrives. The batch is HandleBatch's own, which must see that it
// is released; it may block, which slows that exporter down.
type Handler interface {
	HandleBatch(src *Source, b *flow.Batch)
}

// Config says where to listen; an empty address is none.
type Config struct {
	TCP, TLS, UDP string
	MaxSessions   int
	IdleTimeout   time.Duration // a stream that says nothing for so long is closed
	UDPBuffer     int           // bytes of the UDP socket's receive buffer
}

// DefaultConfig gives the values that Config leaves open.
func DefaultConfig() Config {
	return Config{MaxSessions: 10000, IdleTimeout: 10 * time.Minute, UDPBuffer: 16 << 20}
}

// Deps are what the collector needs from around it.
type Deps struct {
	Log       *slog.Logger
	Book      *ledger.Book
	Handler   Handler
	ServerTLS *tls.Config // for Config.TLS
	// Former are the notes of the books of the processes before (ledger.OpenBook).
	Former map[string]ledger.Amount
}

// Stats are the collector's numbers, totals since the start.
type Stats struct {
	Sessions, Refused                        atomic.Uint64
	Messages, Records, LedgerRows, Templates atomic.Uint64
	Malformed, SequenceLost, UnknownSets     atomic.Uint64
	TLSFailures                              atomic.Uint64
	Facts, FactsRefused                      atomic.Uint64
}

// Collector listens. Run it once.
type Collector struct {
	cfg   Config
	deps  Deps
	stage *ledger.Stage
	Stats Stats

	mu        sync.Mutex
	listeners []net.Listener
	packet    net.PacketConn
	conns     map[net.Conn]struct{}
	draining  bool
	exporters exporters
	facts     facts
	wg        sync.WaitGroup
	batches   sync.Pool
	ready     atomic.Bool
	live      atomic.Int64
}

// New makes a collector. Listen opens its sockets, Run serves them.
func New(cfg Config, deps Deps) (*Collector, error) {
	if cfg.TCP == "" && cfg.TLS == "" && cfg.UDP == "" {
		return nil, errors.New("collect: no address to listen on: set one of tcp, tls, udp")
	}
	if cfg.TLS != "" && deps.ServerTLS == nil {
		return nil, errors.New("collect: listening for TLS needs a certificate")
	}
	c := &Collector{cfg: cfg, deps: deps, stage: deps.Book.Stage("collect"), conns: map[net.Conn]struct{}{}}
	c.exporters.byID, c.exporters.book, c.exporters.former = map[string]*exporter{}, deps.Book, map[string]ledger.Amount{}
	for name, a := range deps.Former {
		if id, ok := strings.CutPrefix(name, notePrefix); ok {
			c.exporters.former[id] = a
		}
	}
	c.batches.New = func() any { return flow.NewBatch(batchSize, func(b *flow.Batch) { c.batches.Put(b) }) }
	return c, nil
}

// Listen opens the sockets, so that an address in use is told at the start.
func (c *Collector) Listen() error {
	for _, l := range []struct{ proto, addr string }{{"tcp", c.cfg.TCP}, {"tls", c.cfg.TLS}} {
		if l.addr == "" {
			continue
		}
		ln, err := net.Listen("tcp", l.addr)
		if err != nil {
			return fmt.Errorf("listen for IPFIX over %s: %w: stop what uses the address, or set another collect.%s", l.proto, err, l.proto)
		}
		if l.proto == "tls" {
			ln = tls.NewListener(ln, c.deps.ServerTLS)
		}
		c.listeners = append(c.listeners, ln)
	}
	if c.cfg.UDP != "" {
		pc, err := net.ListenPacket("udp", c.cfg.UDP)
		if err != nil {
			return fmt.Errorf("listen for IPFIX over udp: %w: stop what uses the address, or set another collect.udp", err)
		}
		if u, ok := pc.(*net.UDPConn); ok {
			if err := u.SetReadBuffer(c.cfg.UDPBuffer); err != nil {
				c.deps.Log.Warn("udp receive buffer not set", "error", err)
			}
		}
		c.packet = pc
	}
	c.ready.Store(true)
	return nil
}

// Addrs gives the addresses in the order tcp, tls, udp, for port 0 in tests.
func (c *Collector) Addrs() []net.Addr {
	var a []net.Addr
	for _, l := range c.listeners {
		a = append(a, l.Addr())
	}
	if c.packet != nil {
		a = append(a, c.packet.LocalAddr())
	}
	return a
}

// Ready reports whether the sockets are open.
func (c *Collector) Ready() bool { return c.ready.Load() }

func (c *Collector) String() string { return "collect" }

// Sessions is the number of live stream sessions.
func (c *Collector) Sessions() int { return int(c.live.Load()) }

// Run serves until ctx ends, then drains: it stops accepting, tells the exporters
// to go elsewhere, and reads what they still send. drainFor bounds that.
func (c *Collector) Run(ctx context.Context, drainFor time.Duration) error {
	for _, l := range c.listeners {
		c.wg.Go(func() { c.accept(ctx, l) })
	}
	if c.packet != nil {
		c.wg.Go(func() { c.serveUDP(ctx) })
	}
	<-ctx.Done()
	c.drain(drainFor)
	return nil
}

func (c *Collector) drain(limit time.Duration) {
	c.ready.Store(false)
	for _, l := range c.listeners {
		if err := l.Close(); err != nil {
			c.deps.Log.Warn("listener not closed", "error", err)
		}
	}
	c.mu.Lock()
	c.draining = true
	for conn := range c.conns {
		closeWrite(conn)
	}
	c.mu.Unlock()
	if c.packet != nil {
		// what the kernel has queued is read; nothing tells a UDP exporter to stop
		if err := c.packet.SetReadDeadline(time.Now().Add(min(limit, 200*time.Millisecond))); err != nil {
			c.deps.Log.Warn("udp socket not drained", "error", err)
		}
	}
	done := make(chan struct{})
	go func() { c.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
		c.mu.Lock()
		c.deps.Log.Warn("exporters did not leave in time", "sessions", len(c.conns))
		for conn := range c.conns {
			conn.Close()
		}
		c.mu.Unlock()
		<-done
	}
	if c.packet != nil {
		if err := c.packet.Close(); err != nil {
			c.deps.Log.Warn("udp socket not closed", "error", err)
		}
	}
}

func closeWrite(conn net.Conn) {
	if h, ok := conn.(interface{ CloseWrite() error }); ok {
		if h.CloseWrite() == nil {
			return
		}
	}
	conn.Close()
}

func (c *Collector) accept(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			c.deps.Log.Warn("accept failed", "error", err)
			time.Sleep(50 * time.Millisecond) // out of descriptors: give the others time to end
			continue
		}
		c.mu.Lock()
		refuse := c.draining || len(c.conns) >= c.cfg.MaxSessions
		if !refuse {
			c.conns[conn] = struct{}{}
			c.wg.Add(1)
		}
		c.mu.Unlock()
		if refuse {
			c.Stats.Refused.Add(1)
			conn.Close()
			continue
		}
		c.live.Add(1)
		c.Stats.Sessions.Add(1)
		go func() {
			defer c.wg.Done()
			c.serveStream(context.WithoutCancel(ctx), conn) // a stop drains the session, it does not cut it
			conn.Close()
			c.live.Add(-1)
			c.mu.Lock()
			delete(c.conns, conn)
			c.mu.Unlock()
		}()
	}
}

var _ ipfix.Placer = (*receiver)(nil)
