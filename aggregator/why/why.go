// Package why answers one question: why can A not reach B?
//
// Idea: what a person would check, in the order in which they would, over facts that
// are already there. Every cause is one rule that looks at the Facts and speaks only
// where the facts prove it; a rule without its facts is silent, and what could not be
// seen is said instead of guessed.
//
// In: Facts, gathered by a shell: the connections of the pair in the range, the Service
// and its endpoints, listeners, policies, nodes, DNS, changes. Out: Findings, the most
// telling first: a claim, its evidence, and what to do next. It reads nothing
// and keeps nothing; the same facts give the same answer.
package why

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

// Facts are everything that is known about a pair of ends in a range of time. What
// nobody looked at is nil, or has its Known false.
type Facts struct {
	Src, Dst     string // as they were asked for: shop/cart, payments
	SrcQuery     string // the conditions of the query language that pick connections of these ends
	DstQuery     string
	Port         uint16 // dialled; 0 where none was asked for
	FromMs, ToMs int64

	Conns []flow.Record // one a connection, the newest record of each, newest first
	More  uint64        // connections of the pair beyond those in Conns

	// PolicyMs is when the policies are asked, in ms since the epoch; 0 for the end of the range.
	PolicyMs int64

	Service   *Service
	Listeners Listeners
	Policy    *Policy
	Nodes     []Node           // those of either end
	Changes   []cluster.Change // that touch either end, from an hour before FromMs, in the order of time
	DNS       []flow.Record    // DNS connections of the source in the range, newest first
	Name      string           // the name under which the destination was asked for, "" where it is no name
	Covered   bool             // the nodes of both ends said what they can see
	Blind     []string         // what could not be seen, in words: from coverage
}

// Service is what the destination is reached through.
type Service struct {
	Name           string // namespace/name
	Ready, Unready int    // endpoints
	Ports          []cluster.Port
	EndpointPorts  []uint16 // where the endpoints are said to listen
}

// Listeners are the sockets that wait for connections in the destination's pods.
type Listeners struct {
	Known bool // somebody looked
	List  []Listener
}

// Listener is one of them.
type Listener struct {
	Pod   string // namespace/name
	Addr  netip.Addr
	Proto uint8
	Port  uint16
	Queue uint32 // TCP connections that wait for accept(2)
	Limit uint32 // how many may wait
	Full  bool   // the queue was full when it was looked at
	Drops uint64 // connections that the queue had no room for, in the range; 0 unknown or none
}

// Policy is what the NetworkPolicies say of the pair that were in force at PolicyMs.
type Policy struct {
	Decision eval.Decision
	Steps    []eval.Step // what it was come to by
}

// Node is what is known of a node of either end.
type Node struct {
	Name    string
	HeardMs int64 // when its agent last spoke; 0 never
	Silent  bool
	Table   *Table // its conntrack table as it is now; nil unknown
}

// Table is what a node said of its conntrack table last.
type Table struct {
	FillPct    int
	Drops      uint64 // packets of new connections that found no room, within Window
	EarlyDrops uint64 // entries that the kernel threw out to make room, within Window
	Window     time.Duration
}

// Cause names what a Finding says.
type Cause string

// The causes, in the order in which they are told where several are proven.
const (
	CauseNodeSilent      Cause = "node_silent"
	CauseNameMissing     Cause = "name_missing"
	CauseNoEndpoint      Cause = "no_endpoint"
	CauseWrongPort       Cause = "wrong_port"
	CauseLoopbackOnly    Cause = "loopback_only"
	CauseNothingListens  Cause = "nothing_listens"
	CauseBacklogFull     Cause = "backlog_full"
	CauseDenied          Cause = "denied"
	CausePolicyDenies    Cause = "policy_denies"
	CauseConntrackFull   Cause = "conntrack_full"
	CauseRejectedOnPath  Cause = "rejected_on_path"
	CauseMTU             Cause = "mtu_black_hole"
	CausePathLoss        Cause = "path_loss"
	CauseReset           Cause = "reset"
	CauseUnanswered      Cause = "unanswered"
	CauseUnexplained     Cause = "unexplained"
	CauseConntrackNear   Cause = "conntrack_near_full"
	CauseNotSeen         Cause = "not_seen"
	CauseNotEnforced     Cause = "policy_not_enforced"
	CauseAllWell         Cause = "all_well"
	CauseRecentlyChanged Cause = "changed"
)

// Finding is one thing that the facts prove.
type Finding struct {
	Cause    Cause    `json:"cause"`
	Claim    string   `json:"claim"`    // one sentence
	Evidence []string `json:"evidence"` // what it rests on, a line each
	Next     string   `json:"next"`     // a command or an action
}

// rule looks at the facts and tells what they prove of one cause, or nothing.
type rule func(f *Facts, m *mix) *Finding

// causes explain failures, in the order of Cause: what explains everything below it
// comes first. closings are what is left to say.
var (
	causes = []rule{
		nodeSilent, nameMissing, noEndpoint, wrongPort, loopbackOnly, nothingListens, backlogFull, denied, policyDenies, conntrackFull, rejectedOnPath,
		mtu, pathLoss, reset, unanswered,
	}
	closings = []rule{conntrackNear, notSeen, notEnforced, allWell, changed}
)

// Why gives what the facts prove, the most telling first. There is always at least
// one finding: that all is well, or that nothing was seen and what hides it.
func Why(f *Facts) []Finding {
	m := count(f.Conns)
	var out []Finding
	for _, r := range causes {
		if x := r(f, m); x != nil {
			out = append(out, *x)
			m.explained = m.explained || x.Cause != CauseNodeSilent
		}
	}
	if m.failed > 0 && !m.explained {
		out = append(out, *unexplained(f, m))
	}
	for _, r := range closings {
		if x := r(f, m); x != nil {
			out = append(out, *x)
		}
	}
	for i := range out {
		out[i].bound()
	}
	return out
}

// The bounds of a Finding: names come from clusters and may be long, changes be many.
const (
	maxEvidence = 12   // lines, and one that says how many more there are
	maxLine     = 1000 // characters
)

func (x *Finding) bound() {
	if n := len(x.Evidence) - maxEvidence; n > 0 {
		x.Evidence = append(x.Evidence[:maxEvidence:maxEvidence], fmt.Sprintf("and %d more of that", n))
	}
	cut := func(s *string) {
		if r := []rune(*s); len(r) > maxLine {
			*s = string(r[:maxLine-1]) + "…"
		}
	}
	cut(&x.Claim)
	cut(&x.Next)
	for i := range x.Evidence {
		cut(&x.Evidence[i])
	}
}

// mix is what became of the connections.
type mix struct {
	n       int
	by      [16]int // outcome -> connections
	failed  int
	last    *flow.Record // the newest that failed
	example [16]*flow.Record

	explained bool // a cause spoke, other than a silent node
}

func count(conns []flow.Record) *mix {
	m := &mix{n: len(conns)}
	for i := range conns {
		r := &conns[i]
		o := int(r.Outcome) & 15
		m.by[o]++
		if m.example[o] == nil {
			m.example[o] = r
		}
		if Failed(r) {
			m.failed++
			if m.last == nil {
				m.last = r
			}
		}
	}
	return m
}

// Failed says whether a connection has an outcome, and not a good one.
func Failed(r *flow.Record) bool {
	return r.Outcome != flow.OutcomeUnknown && r.Outcome != flow.OutcomeOK
}

func (m *mix) of(list ...flow.Outcome) (n int) {
	for _, o := range list {
		n += m.by[o]
	}
	return n
}

// text says "31 of 40 connections".
func (m *mix) text(n int) string {
	if m.n == 1 {
		return "the one connection"
	}
	return fmt.Sprintf("%d of %d connections", n, m.n)
}

// words gives the outcomes with their numbers, the most frequent first.
func (m *mix) words() string {
	type pair struct {
		n int
		w string
	}
	var list []pair
	for o, n := range m.by {
		if n > 0 {
			list = append(list, pair{n, flow.OutcomeWords[o]})
		}
	}
	slices.SortStableFunc(list, func(a, b pair) int { return cmp.Compare(b.n, a.n) })
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = fmt.Sprintf("%d %s", p.n, p.w)
	}
	return strings.Join(words, ", ")
}
