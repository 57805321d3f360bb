// Package outcome adds what other sources prove to what conntrack knows of a
// connection, and tells of the attempts that conntrack never knew.
//
// Idea: a rule that denies a SYN at its own node leaves no conntrack entry; the
// rule's log and the client's socket still show it. Each observation waits for an
// export of its connection (Join). What no export takes within the hold time was no
// connection: it is told on its own, once, its repeats counted.
//
// In: Observation values, the tracker's exports and the time in milliseconds. Out:
// amended exports, and exports of their own (Conn.NoEntry) through the function given
// to New. It does no I/O, reads no clock and starts no goroutine; the number of
// attempts held is bounded, and what finds no room is counted.
//
// An ICMP error and a RST are hearsay: they are taken for a connection that is known
// otherwise, and never make a record. A RST or an ICMP error by which this node itself
// answers an opening, in another's name or about its packet, is not: a rule of this node
// rejected the connection, which has no entry here. If we die here, what waited is lost; a client that goes on
// trying is seen again.
package outcome

import (
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// Kind is what was observed.
type Kind uint8

// The kinds.
const (
	Attempt Kind = iota + 1 // a socket in SYN_SENT; Tuple is as the client dialled it
	Denial                  // a packet that a rule denied; Tuple is the packet's at that rule
	Error                   // an ICMP error; Tuple is the packet that it quotes
	Reset                   // a RST; Tuple.Src is the end whose address it has
	Reject                  // a RST or an ICMP error that this node made as the answer to an opening, whose Tuple it is
)

// Observation is one thing seen of one connection.
type Observation struct {
	Kind         Kind
	TimeMs       int64
	SinceMs      int64 // Attempt: when it was seen first; 0 for TimeMs
	Tuple        flow.Tuple
	Retransmits  uint32          // Attempt: SYNs sent again so far
	Action       flow.RuleAction // Denial: drop or reject
	Policy, Rule string          // Denial: as the rule's prefix names them
	Means        flow.Outcome    // Error: refused or path_loss
	From         [16]byte        // Error: who sent it
	Forged       bool            // Reset: this node made it in the name of that end
}

// Config of a Joiner, times in ms. Zero values give the defaults.
type Config struct {
	HoldMs int64 // how long an observation waits for its connection's export; 12000
	SoonMs int64 // how long one waits whose connection has no entry; 1500, in which a SYN is sent again
	// Exists asks the kernel whether a connection with that tuple has an entry; ok is false
	// where it cannot be asked (now). Nil where there is nobody to ask.
	Exists  func(t *flow.Tuple) (exists, ok bool)
	AgainMs int64 // what is told already is told again, with its repeats, this often; 30000
	QuietMs int64 // and is over after so long without another; 70000, more than the 64 s between the last two SYNs
	Max     int   // attempts held; 65536
}

// Stats counts observations: In = Joined + Told + NoConnection + Full + held.
type Stats struct {
	In           uint64
	Joined       uint64 // became part of a connection's record
	Told         uint64 // became part of a record of their own
	NoConnection uint64 // ICMP errors and RSTs for connections that nobody knows
	Full         uint64 // found no room
	Records      uint64 // records of their own
	Attempts     int    // held now
	Resets       int    // held now
	Held         uint64 // observations that are part of no record yet
}

// key is a client's end. A TCP port of a client has one connection at a time, so the
// address dialled and the endpoint behind it meet under it; for others the server
// belongs to it.
type key struct {
	src, dst [16]byte
	sport    uint16
	dport    uint16
	proto    uint8
}

const protoTCP = 6

func keyOf(t *flow.Tuple) key {
	k := key{src: t.Src, sport: t.SrcPort, proto: t.Proto}
	if t.Proto != protoTCP {
		k.dst, k.dport = t.Dst, t.DstPort
	}
	return k
}

// attempt is all that was seen of one.
type attempt struct {
	firstMs, lastMs, toldMs int64
	askedMs                 int64      // when the kernel was asked for its entry
	startMs                 int64      // when it began, as far as is known
	dialled, endpoint       flow.Tuple // zero where not seen
	tries                   uint32     // observations of the socket
	retransmits             uint32
	denied                  uint32
	rejected                uint32
	action                  flow.RuleAction
	policy, rule            string
	means                   flow.Outcome
	from                    [16]byte
	seq                     uint32
	held                    uint64 // observations that are part of no record yet
	joined                  bool
}

// Joiner is the state. One goroutine owns it.
type Joiner struct {
	cfg   Config
	emit  func(*track.Export)
	m     map[key]*attempt
	rsts  resets
	stats Stats
	conn  track.Conn
	out   track.Export
}

// New makes an empty Joiner that gives records of attempts to emit.
func New(cfg Config, emit func(*track.Export)) *Joiner {
	def := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&cfg.HoldMs, 12_000)
	def(&cfg.SoonMs, 1500)
	def(&cfg.AgainMs, 30_000)
	def(&cfg.QuietMs, 70_000)
	if cfg.Max <= 0 {
		cfg.Max = 1 << 16
	}
	return &Joiner{cfg: cfg, emit: emit, m: map[key]*attempt{}, rsts: newResets()}
}

// Stats gives the counts.
func (j *Joiner) Stats() Stats {
	s := j.stats
	s.Attempts, s.Resets = len(j.m), len(j.rsts.at)
	return s
}

// Observe takes one observation. It tells whether that is the first of its attempt: a
// connection of that tuple that is known has something new to tell.
func (j *Joiner) Observe(nowMs int64, o *Observation) (first bool) {
	j.stats.In++
	if o.Kind == Reset {
		j.reset(o)
		return false
	}
	k := keyOf(&o.Tuple)
	a := j.m[k]
	if a != nil && (o.TimeMs-a.lastMs > j.cfg.QuietMs || a.elsewhere(o)) {
		j.finish(nowMs, k, a)
		a = nil
	}
	if a == nil {
		if len(j.m) >= j.cfg.Max {
			j.stats.Full++
			return false
		}
		first = true
		a = &attempt{firstMs: o.TimeMs, startMs: o.TimeMs}
		if o.SinceMs != 0 {
			a.startMs = min(o.SinceMs, o.TimeMs)
		}
		j.m[k] = a
	}
	a.lastMs = max(a.lastMs, o.TimeMs)
	a.held++
	j.stats.Held++
	switch o.Kind {
	case Attempt:
		a.dialled, a.retransmits = o.Tuple, max(a.retransmits, o.Retransmits)
		a.tries++
	case Denial:
		a.endpoint, a.action, a.policy, a.rule = o.Tuple, o.Action, o.Policy, o.Rule
		a.denied++
	case Reject:
		a.rejected++
		if a.endpoint == (flow.Tuple{}) {
			a.endpoint = o.Tuple
		}
	case Error:
		if a.means == flow.OutcomeUnknown { // its translated copy comes later
			a.means, a.from = o.Means, o.From
		}
		if a.endpoint == (flow.Tuple{}) {
			a.endpoint = o.Tuple
		}
	case Reset: // apart
	}
	return first
}

// twinMs is in which time an error of the same client's port is the same error.
const twinMs = 1000

// elsewhere tells whether o is of another connection than what was seen before.
func (a *attempt) elsewhere(o *Observation) bool {
	was := a.endpoint
	switch {
	case o.Kind == Attempt:
		was = a.dialled
	case o.Kind == Error && o.TimeMs-a.lastMs < twinMs:
		return false // translation gives one error two tuples
	}
	return was != (flow.Tuple{}) && was != o.Tuple
}

// Join adds to an export what was observed of its connection.
func (j *Joiner) Join(x *track.Export) {
	if len(j.rsts.at) > 0 {
		j.whoReset(x)
	}
	if len(j.m) == 0 {
		return
	}
	c := x.Conn
	outside := c.Reply.Reverse() // the client as it was translated, the endpoint
	keys := [...]key{
		keyOf(&c.Orig), keyOf(&outside),
		keyOf(&flow.Tuple{Src: c.Orig.Src, SrcPort: c.Orig.SrcPort, Dst: c.Reply.Src, DstPort: c.Reply.SrcPort, Proto: c.Orig.Proto}),
	}
	for i, k := range keys {
		if i > 0 && k == keys[0] || i > 1 && k == keys[1] {
			continue
		}
		if a := j.m[k]; a != nil && a.of(x) {
			j.take(a, x)
		}
	}
}

// of tells whether what was seen is of that connection: its server, and its time.
func (a *attempt) of(x *track.Export) bool {
	c := x.Conn
	server := func(t *flow.Tuple) bool {
		return *t == (flow.Tuple{}) || t.Dst == c.Orig.Dst && t.DstPort == c.Orig.DstPort || t.Dst == c.Reply.Src && t.DstPort == c.Reply.SrcPort
	}
	const slack = 1000 // ms; the sources' clocks are the kernel's, read at different times
	return server(&a.dialled) && server(&a.endpoint) &&
		(x.StartMs == 0 || a.lastMs >= x.StartMs-slack) && (c.Stop == 0 || a.firstMs <= c.Stop/1e6+slack)
}

func (j *Joiner) take(a *attempt, x *track.Export) {
	j.stats.Joined += a.held
	j.stats.Held -= a.held
	a.held, a.joined = 0, true
	if a.denied > 0 {
		x.Denied, x.Action, x.Policy, x.Rule = a.denied, a.action, a.policy, a.rule
	}
	c := x.Conn
	answered := x.Outcome == flow.OutcomeOK || x.Outcome == flow.OutcomeReset || c.Status&track.StatusSeenReply != 0
	switch {
	case answered: // what was denied or failed later did not decide it
	case a.denied > 0:
		x.Outcome, x.Evidence = flow.OutcomeDenied, x.Evidence|flow.EvidenceNFLOG
	case a.rejected > 0:
		x.Outcome, x.ResetBy, x.Evidence = flow.OutcomeRefused, flow.ResetByPath, x.Evidence|flow.EvidencePacket
	case a.means != flow.OutcomeUnknown && (x.Outcome == flow.OutcomeUnanswered || x.Outcome == flow.OutcomeUnknown || x.Outcome == a.means):
		x.Outcome, x.Evidence = a.means, x.Evidence|flow.EvidencePacket
		if a.means == flow.OutcomeRefused && x.ResetBy == flow.ResetByUnknown {
			x.ResetBy = a.sender(c)
		}
	}
	if a.tries > 0 {
		x.HasRetransmits, x.Retransmits = true, a.retransmits
		x.Evidence |= socketProves(x.Outcome)
	}
}

// sender is whose error it was. Where the server is translated, so is the address of
// whoever sent the error (nf_nat_icmp_reply_translation): what came from the address that
// was dialled says nothing of its sender.
func (a *attempt) sender(c *track.Conn) flow.ResetBy {
	switch a.from {
	case c.Reply.Src:
		return flow.ResetByDst
	case c.Orig.Dst:
		return flow.ResetByUnknown
	default:
		return flow.ResetByPath
	}
}

// socketProves: a socket in SYN_SENT shows that no answer came.
func socketProves(o flow.Outcome) flow.Evidence {
	switch o {
	case flow.OutcomeUnanswered, flow.OutcomeDenied, flow.OutcomeAttempt:
		return flow.EvidenceSocket
	default:
		return 0
	}
}

func (j *Joiner) tell(nowMs int64, a *attempt, final bool) {
	j.stats.Held -= a.held
	if a.denied == 0 && a.tries == 0 && a.rejected == 0 {
		j.stats.NoConnection += a.held
		a.held = 0
		return
	}
	j.stats.Told += a.held
	a.held = 0
	dialled, endpoint := a.dialled, a.endpoint
	if a.tries == 0 {
		dialled = endpoint
	}
	if endpoint == (flow.Tuple{}) {
		endpoint = dialled
	}
	j.conn = track.Conn{Orig: dialled, Reply: endpoint.Reverse(), Start: a.startMs * 1e6, NoEntry: true}
	x := &j.out
	*x = track.Export{
		Conn: &j.conn, ConnID: track.ConnID(&j.conn), Seq: a.seq, StartMs: a.startMs, EndMs: a.lastMs,
		Reason: flow.EndReasonActive, First: a.seq == 0, Final: final, Outcome: flow.OutcomeAttempt,
	}
	if final {
		x.Reason = flow.EndReasonEnd
	}
	switch {
	case a.denied > 0:
		x.Outcome, x.Evidence = flow.OutcomeDenied, flow.EvidenceNFLOG
		x.Denied, x.Action, x.Policy, x.Rule = a.denied, a.action, a.policy, a.rule
	case a.rejected > 0:
		x.Outcome, x.ResetBy, x.Evidence = flow.OutcomeRefused, flow.ResetByPath, flow.EvidencePacket
	}
	if a.tries > 0 {
		x.HasRetransmits, x.Retransmits = true, a.retransmits
		x.Evidence |= socketProves(x.Outcome)
	}
	a.seq++
	a.toldMs = nowMs
	j.stats.Records++
	j.emit(x)
}
