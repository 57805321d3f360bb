// Package send ships records as IPFIX to one or more aggregators over TCP, mutual
// TLS or UDP.
//
// In: records and the tuple by which both ends of a connection choose the same
// aggregator. Out: IPFIX messages. Each record goes to the aggregator that wins the
// rendezvous hash of its tuple among those that can be reached; while none can, it
// waits in a bounded queue, whose oldest record is given up and booked when it is
// full. Every second the books of the whole process travel with the records.
//
// If we die here, what waited in the queue dies with us: the connections are still
// in the kernel, and the next process tells their totals.
package send

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

// Config says where records go.
type Config struct {
	Aggregators      []string // host:port
	Transport        string   // tls, tcp or udp
	Queue            int      // records that wait at most, over all aggregators
	TemplateInterval time.Duration
	FlushInterval    time.Duration // how long a record waits for its message to fill
	LedgerInterval   time.Duration
	FactInterval     time.Duration // between two tellings of Deps.Facts
	StopTimeout      time.Duration // how long a stop may drain the queue
	Domain           uint32        // observation domain
	Observer         string        // name of this node in the books
	Instance         string        // changes at each start
	MTU              int           // largest UDP payload
}

// DefaultConfig gives the values that Config leaves open.
func DefaultConfig() Config {
	return Config{
		Transport: "tls", Queue: 1 << 16, TemplateInterval: 10 * time.Minute, FlushInterval: 200 * time.Millisecond,
		LedgerInterval: time.Second, FactInterval: 5 * time.Second, StopTimeout: 10 * time.Second, MTU: 1400,
	}
}

// Deps are what the sender needs from around it.
type Deps struct {
	Log  *slog.Logger
	Book *ledger.Book
	TLS  func(host string) *tls.Config // for transport tls
	// Facts gives what the node says of itself, Observer and Instance left empty; nil
	// for nothing. It is called from every session, with the aggregator's address.
	Facts func(aggregator string) []ipfix.FactRow
}

// item is a record that waits, encoded.
type item struct {
	hash   uint64
	body   []byte
	amount ledger.Amount
	v6     bool
	pairs  bool // the other end may be another node's
	handed bool // told before, to another aggregator
}

// Sender ships records. Send may be called from one goroutine or many.
type Sender struct {
	cfg   Config
	deps  Deps
	set   ipfix.Set
	peers []*peer
	stage *ledger.Stage
	held  heldAmount
	// stopping: no record changes its aggregator any more.
	stopping atomic.Bool

	Reconnects atomic.Uint64
}

type heldAmount struct{ records, connections, bytes atomic.Int64 }

func (h *heldAmount) add(a ledger.Amount, sign int64) {
	h.records.Add(sign * int64(a.Records))
	h.connections.Add(sign * int64(a.Connections))
	h.bytes.Add(sign * int64(a.Bytes))
}

func (h *heldAmount) load() ledger.Amount {
	return ledger.Amount{Records: uint64(h.records.Load()), Connections: uint64(h.connections.Load()), Bytes: uint64(h.bytes.Load())}
}

// New makes a sender; Run connects it.
func New(cfg Config, deps Deps) (*Sender, error) {
	switch {
	case len(cfg.Aggregators) == 0:
		return nil, errors.New("send: no aggregator is given: name host:port of at least one")
	case cfg.Transport == "tls" && deps.TLS == nil:
		return nil, errors.New("send: transport tls needs certificates")
	}
	s := &Sender{cfg: cfg, deps: deps, set: ipfix.WeirLink(), stage: deps.Book.Stage("send")}
	s.stage.SetHeld(s.held.load)
	for _, a := range cfg.Aggregators {
		p := &peer{s: s, addr: a, salt: xxhash.Sum64String(a)}
		p.up.Store(true) // until a dial fails: a start must not pile everything on the first that answers
		s.peers = append(s.peers, p)
	}
	return s, nil
}

// AmountOf is what one record moves in the books: itself, its connection if it is
// the first of it, and the bytes of both directions since the record before.
func AmountOf(r *flow.Record) ledger.Amount {
	a := ledger.Amount{Records: 1}
	if r.Has.Has(flow.FFirst) && r.First {
		a.Connections = 1
	}
	if r.Has.Has(flow.FBytesDelta) {
		a.Bytes = r.BytesDelta + r.RevBytesDelta
	}
	return a
}

// Send takes a record. route must be the same for both ends of a connection. It
// never waits for the network. It gives the address of the aggregator for which the
// record waits; another one gets it if that goes down first.
func (s *Sender) Send(r *flow.Record, route flow.Tuple) (aggregator string) {
	a := AmountOf(r)
	s.stage.In(a)
	t := s.set.For(r)
	it := item{hash: Hash(route), body: ipfix.AppendRecord(nil, t, r), amount: a, v6: t == s.set.V6, pairs: pairs(r)}
	s.held.add(a, 1)
	p := s.choose(it.hash)
	p.push(it)
	for s.held.records.Load() > int64(s.cfg.Queue) {
		if !p.dropOldest() {
			break
		}
	}
	return p.addr
}

// Hash is the hash of a route, the same on every node.
func Hash(t flow.Tuple) uint64 {
	return xxhash.Sum64(unsafe.Slice((*byte)(unsafe.Pointer(&t)), unsafe.Sizeof(t)))
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// choose gives the aggregator with the highest score (rendezvous hashing) among
// those that are up; among all where none is.
func (s *Sender) choose(hash uint64) *peer {
	var best, bestUp *peer
	var score, scoreUp uint64
	for _, p := range s.peers {
		v := mix(hash ^ p.salt)
		if best == nil || v > score {
			best, score = p, v
		}
		if p.up.Load() && (bestUp == nil || v > scoreUp) {
			bestUp, scoreUp = p, v
		}
	}
	if bestUp != nil {
		return bestUp
	}
	return best
}

// host gives the host of host:port.
func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return h
}

// peer is one aggregator and what waits for it.
type peer struct {
	s    *Sender
	addr string
	salt uint64
	up   atomic.Bool

	mu     sync.Mutex
	queue  []item // queue[head:] waits
	head   int
	recent []recent      // what was written lately, oldest first
	sent   []sessionSent // by session, newest last
}

// sessionSent is what was written in one transport session.
type sessionSent struct {
	id     string
	amount ledger.Amount
}

func (p *peer) push(it item) {
	p.mu.Lock()
	p.queue = append(p.queue, it)
	p.mu.Unlock()
}

func (p *peer) pop() (item, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		return item{}, false
	}
	it := p.queue[p.head]
	p.queue[p.head] = item{}
	p.head++
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	} else if p.head > 4096 && p.head*2 > len(p.queue) {
		p.queue = append(p.queue[:0], p.queue[p.head:]...)
		p.head = 0
	}
	return it, true
}

// unpop puts items back in front, in their order.
func (p *peer) unpop(items []item) {
	p.mu.Lock()
	p.queue = append(append([]item(nil), items...), p.queue[p.head:]...)
	p.head = 0
	p.mu.Unlock()
}

func (p *peer) dropOldest() bool {
	it, ok := p.pop()
	if ok {
		p.s.lose("queue_full", it.amount)
	}
	return ok
}

func (s *Sender) lose(reason string, a ledger.Amount) {
	s.held.add(a, -1)
	s.stage.Lost(reason, a)
}

// reroute hands what waits for a peer that went down to those that are up.
func (s *Sender) reroute(p *peer) {
	any := false
	for _, q := range s.peers {
		any = any || q.up.Load()
	}
	if !any {
		return
	}
	for {
		it, ok := p.pop()
		if !ok {
			return
		}
		s.choose(it.hash).push(it)
	}
}
