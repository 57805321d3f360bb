package dns

import (
	"hash/maphash"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/packet"
)

// Port is where DNS is served.
const Port = 53

// Limits of an Observer; zero for the default.
type Limits struct {
	Names     int   // addresses with a name, of all clients; 65536
	PerClient int   // of them for one client; a sixteenth
	Queries   int   // questions that wait for their answer, or were just answered; 16384
	Flows     int   // DNS connections that are remembered; 32768
	Streams   int   // directions of TCP connections that are followed; 1024
	Buffered  int   // bytes that wait for the rest of their message, of all streams; 4 MiB
	GraceMs   int64 // how long a name holds after its time to live: 300,000 ms
}

func (l *Limits) defaults() {
	for _, d := range []struct {
		p *int
		v int
	}{{&l.Names, 65536}, {&l.Queries, 16384}, {&l.Flows, 32768}, {&l.Streams, 1024}, {&l.Buffered, 4 << 20}} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if l.PerClient <= 0 {
		l.PerClient = max(1, l.Names/16)
	}
	if l.GraceMs <= 0 {
		l.GraceMs = 300_000
	}
}

const (
	answerMs = 10_000     // a question that has no answer by then has none
	maxTTLMs = 86_400_000 // no answer is believed longer than a day
)

// Stats counts what an Observer saw.
type Stats struct {
	Queries    uint64 // questions, each once
	Answers    uint64 // answers to a question that was seen
	Repeated   uint64 // the same message again: at another interface, or sent again
	Unasked    uint64 // answers to no question that was seen
	Unanswered uint64 // questions whose answer did not come in 10 s
	Malformed  uint64 // packets and messages that could not be read
	Incomplete uint64 // fragments, and messages over TCP with a segment missing
	Foreign    uint64 // addresses in answers to which the asked name does not lead
	Learned    uint64 // pairs of client and address that got a name or a new one

	EvictedNames   uint64 // names given up for lack of room
	RefusedNames   uint64 // names not taken: the client has its share
	EvictedQueries uint64 // questions given up for lack of room
	EvictedFlows   uint64
	EvictedStreams uint64

	Names, Flows, Streams, Buffered int // held now
}

// Flow is what a DNS connection asked last, and what came of it.
type Flow struct {
	Query    string // lower case, no dot at the end
	Rcode    uint8  // of the last answer (RFC 1035 section 4.1.1, without the EDNS extension)
	TimeUs   uint32 // from question to answer of the last answered one, us
	Answered bool   // Rcode and TimeUs are known
}

type pair struct{ client, addr [16]byte }

// span is the time in which an address has a name, in ms.
type span struct {
	name  string
	from  int64 // the first answer; the name has not lapsed since
	asked int64 // the last answer
	until int64 // when it lapses, the grace included
}

// holds says whether a connection that began at ms may have the name.
func (s *span) holds(ms int64) bool { return s.name != "" && s.from <= ms && ms <= s.until }

// after says whether s and not t was asked for last before ms; both hold then.
func (s *span) after(t *span, ms int64) bool {
	if a, b := s.asked <= ms, t.asked <= ms; a != b {
		return a
	} else if a {
		return s.asked >= t.asked
	}
	return s.from >= t.from
}

// named is what is known of an address for one client: the last name that was asked
// for, and the one before it, for connections that began then.
type named struct {
	client    [16]byte
	now, prev span
	used      int64
}

type asker struct {
	client [16]byte
	port   uint16
	id     uint16
	tcp    bool
}

type question struct {
	tuple    flow.Tuple // as it was first seen: the client's own, before translation
	ns       int64
	hash     uint64 // of the name and type
	answered bool
}

// Observer is the state. Not for concurrent use.
type Observer struct {
	lim     Limits
	seed    maphash.Seed
	names   *lru[pair, named]
	share   map[[16]byte]int // names of each client
	asked   *lru[asker, question]
	flows   *lru[flow.Tuple, Flow]
	streams *lru[flow.Tuple, stream]
	texts   map[string]string
	msg     message
	st      Stats
}

// New makes an Observer that knows nothing.
func New(l Limits) *Observer {
	l.defaults()
	return &Observer{
		lim: l, seed: maphash.MakeSeed(), share: map[[16]byte]int{}, texts: map[string]string{},
		names: newLRU[pair, named](l.Names), asked: newLRU[asker, question](l.Queries),
		flows: newLRU[flow.Tuple, Flow](l.Flows), streams: newLRU[flow.Tuple, stream](l.Streams),
	}
}

// Stats gives the counts.
func (o *Observer) Stats() Stats {
	s := o.st
	s.Names, s.Flows, s.Streams = o.names.len(), o.flows.len(), o.streams.len()
	return s
}

// Packet takes an IP packet to or from port 53 that arrived at ns (Unix ns). It
// keeps nothing of b.
func (o *Observer) Packet(ns int64, b []byte) {
	h, err := packet.Parse(b)
	if err != nil {
		o.st.Malformed++
		return
	}
	t := &h.Tuple
	switch {
	case h.Fragment || !h.Ports:
		o.st.Incomplete++
	case t.SrcAddr().IsLoopback():
		// A resolver on loopback asks others in its turn, with an address that
		// connections have.
	case t.Proto == packet.UDP:
		body, whole := h.Payload()
		if !whole {
			o.st.Incomplete++
			return
		}
		o.message(ns, t, body)
	case t.Proto == packet.TCP:
		if s, ok := h.Segment(); ok {
			o.segment(ns, t, &s)
		} else {
			o.st.Malformed++
		}
	}
}

// message takes one DNS message that t carried.
func (o *Observer) message(ns int64, t *flow.Tuple, b []byte) {
	id, response, err := header(b)
	if err != nil {
		o.st.Malformed++
		return
	}
	switch {
	case !response && t.DstPort == Port:
		o.query(ns, t, asker{t.Src, t.SrcPort, id, t.Proto == packet.TCP}, b)
	case response && t.SrcPort == Port:
		o.answer(ns, t, asker{t.Dst, t.DstPort, id, t.Proto == packet.TCP}, b)
	default:
		o.st.Malformed++ // a question from the server's port, or an answer to it
	}
}

func (o *Observer) query(ns int64, t *flow.Tuple, who asker, b []byte) {
	ok, err := o.msg.parse(b)
	if err != nil {
		o.st.Malformed++
		return
	}
	if !ok {
		return
	}
	hash := o.hash()
	q := o.asked.get(who)
	if q != nil && q.hash == hash && !q.answered {
		// The same at another interface, or a client that asks again: what it waits is
		// counted from its first try.
		o.st.Repeated++
		return
	}
	o.st.Queries++
	if q == nil {
		o.forget(ns)
		var gone question
		var evicted bool
		if q, gone, evicted = o.asked.put(who); evicted && !gone.answered {
			o.st.EvictedQueries++
		}
	} else {
		if !q.answered {
			o.st.Unanswered++
		}
		o.asked.use(who)
	}
	*q = question{tuple: *t, ns: ns, hash: hash}
	f := o.flows.get(*t)
	if f == nil {
		var evicted bool
		if f, _, evicted = o.flows.put(*t); evicted {
			o.st.EvictedFlows++
		}
	} else {
		o.flows.use(*t)
	}
	f.Query = o.text()
}

// forget drops the questions that are too old to be answered.
func (o *Observer) forget(ns int64) {
	for {
		q := o.asked.oldest()
		if q == nil || ns-q.ns < answerMs*1e6 {
			return
		}
		if !q.answered {
			o.st.Unanswered++
		}
		o.asked.dropOldest()
	}
}

func (o *Observer) answer(ns int64, t *flow.Tuple, who asker, b []byte) {
	o.forget(ns)
	q := o.asked.get(who)
	if q == nil {
		o.st.Unasked++
		return
	}
	if q.answered {
		o.st.Repeated++
		return
	}
	ok, err := o.msg.parse(b)
	if err != nil {
		o.st.Malformed++
		return
	}
	if !ok || o.hash() != q.hash {
		o.st.Unasked++
		return
	}
	q.answered = true
	o.st.Answers++
	if f := o.flows.get(q.tuple); f != nil {
		f.Rcode, f.Answered = o.msg.rcode, true
		f.TimeUs = uint32(min(max(ns-q.ns, 0)/1000, 1<<32-1))
	}
	o.st.Foreign += uint64(o.msg.reach(func(addr [16]byte, ttl uint32) { o.learn(ns/1e6, t.Dst, addr, ttl) }))
}

// learn remembers that a client asked for a name and got an address.
func (o *Observer) learn(ms int64, client, addr [16]byte, ttl uint32) {
	k := pair{client, addr}
	until := ms + min(int64(ttl)*1000, maxTTLMs) + o.lim.GraceMs
	n := o.names.get(k)
	if n == nil {
		if n = o.room(ms, k); n == nil {
			return
		}
	} else {
		o.names.use(k)
	}
	if n.now.name != string(o.msg.name) {
		n.now, n.prev = n.prev, n.now
		if n.now.name != string(o.msg.name) {
			n.now = span{name: o.text(), from: ms}
			o.st.Learned++
		}
	}
	if n.now.until != 0 && n.now.until < ms { // it had lapsed in between
		n.now.from = ms
	}
	n.now.asked, n.now.until = ms, max(n.now.until, until)
	n.used = ms
}

// room makes place for a name. What lapsed long ago goes first.
func (o *Observer) room(ms int64, k pair) *named {
	for n := o.names.oldest(); n != nil && max(n.now.until, n.used+o.lim.GraceMs) < ms; n = o.names.oldest() {
		o.unshare(n.client)
		o.names.dropOldest()
	}
	if o.share[k.client] >= o.lim.PerClient {
		o.st.RefusedNames++
		return nil
	}
	n, gone, evicted := o.names.put(k)
	if evicted {
		o.unshare(gone.client)
		o.st.EvictedNames++
	}
	o.share[k.client]++
	*n = named{client: k.client}
	return n
}

func (o *Observer) unshare(client [16]byte) {
	if o.share[client]--; o.share[client] <= 0 {
		delete(o.share, client)
	}
}

// Name gives the name that a client asked for before it began, at startMs, a connection
// to an address; "" for none. nowMs keeps a name that a live connection has. Times
// are Unix ms.
func (o *Observer) Name(client, addr [16]byte, startMs, nowMs int64) string {
	k := pair{client, addr}
	n := o.names.get(k)
	if n == nil {
		return ""
	}
	s := &n.now
	if h := s.holds(startMs); !h || n.prev.holds(startMs) && !s.after(&n.prev, startMs) {
		s = &n.prev
	}
	if !s.holds(startMs) {
		return ""
	}
	n.used = max(n.used, nowMs)
	o.names.use(k)
	return s.name
}

// Flow gives what a connection asked last; t is in the client's direction, before
// translation.
func (o *Observer) Flow(t *flow.Tuple) (Flow, bool) {
	f := o.flows.get(*t)
	if f == nil {
		return Flow{}, false
	}
	return *f, true
}

// hash is of the name and type of the message at hand.
func (o *Observer) hash() uint64 {
	return maphash.Bytes(o.seed, o.msg.name) ^ uint64(o.msg.qtype)*0x9e3779b97f4a7c15
}

// maxTexts bounds the names that are kept to be used again.
const maxTexts = 8192

// text gives the asked name as a string; one that is asked again is the same string.
func (o *Observer) text() string {
	if s, ok := o.texts[string(o.msg.name)]; ok {
		return s
	}
	if len(o.texts) >= maxTexts {
		clear(o.texts)
	}
	s := string(o.msg.name)
	o.texts[s] = s
	return s
}
