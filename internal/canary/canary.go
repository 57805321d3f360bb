// Package canary is what the probe's connections are, how each hop notes them, and
// the judgement over what was noted.
//
// Idea: a canary is a connection of known size and end, to a port that nothing else
// should use. Every hop that a record passes notes the canaries it sees (Trail, a few
// hundred bytes each, bounded); Judge compares the notes, hop by hop, with what the
// kernel counted, and names the first hop that is not right. Canaries are real
// connections: they are in the books and in totals, and their records say so in the
// field canary, so that a reader can leave them out.
//
// In: records and entries on their way, at their hops. Out: Views and a Verdict. It
// opens nothing (internal/probe does) and reads no clock. If it dies, the next process
// notes the next canaries.
package canary

import (
	"fmt"
	"net/netip"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// Kind is what becomes of a canary.
type Kind uint8

// The kinds.
const (
	TCP        Kind = iota // accepted, its bytes sent back, closed
	UDP                    // its datagrams sent back
	Refused                // nobody listens
	Unanswered             // received, and not answered
	NumKinds
)

// KindWords names the kinds.
var KindWords = [...]string{"tcp", "udp", "refused", "unanswered"}

func (k Kind) String() string { return KindWords[k] }

// FirstPort to LastPort are the destination ports of canaries: above the ephemeral
// ports of Linux (32768 to 60999) and the NodePorts. A kind has each NumKinds-th one,
// so that a port that is in use can be passed over.
const (
	FirstPort = 61980
	LastPort  = 61999
)

// Port gives the i-th port of a kind; false where there are no more.
func (k Kind) Port(i int) (uint16, bool) {
	p := FirstPort + int(k) + i*int(NumKinds)
	return uint16(p), p <= LastPort
}

// Answered is the port at which the agents of other nodes answer the kind.
func (k Kind) Answered() uint16 { return LastPort - uint16(NumKinds) + 1 + uint16(k) }

// Is says whether a connection to that port is a canary's.
func Is(proto uint8, dstPort uint16) bool {
	return dstPort >= FirstPort && dstPort <= LastPort && (proto == 6 || proto == 17)
}

// IsRecord says whether a record is a canary's: by its port, or because the agent that
// opened it said so.
func IsRecord(r *flow.Record) bool {
	return Is(r.Proto, r.DstPort) && r.Has.Has(flow.FDstPort) || r.Canary && r.Has.Has(flow.FCanary)
}

// MayBe says whether an entry is a canary's, or may be one to a server outside, which
// goes from a port of the probe.
func MayBe(c *track.Conn) bool {
	return Is(c.Orig.Proto, c.Orig.DstPort) || Is(c.Orig.Proto, c.Orig.SrcPort)
}

// Wanted is the outcome of the kind.
func (k Kind) Wanted() flow.Outcome {
	switch k {
	case Refused:
		return flow.OutcomeRefused
	case Unanswered:
		return flow.OutcomeUnanswered
	default:
		return flow.OutcomeOK
	}
}

// Key is the tuple of a canary as text: tcp 10.0.0.1:40000>10.0.0.2:61980.
func Key(proto uint8, src, dst netip.AddrPort) string {
	word := "tcp"
	if proto == 17 {
		word = "udp"
	}
	return fmt.Sprintf("%s %s>%s", word, src, dst)
}

func recordKey(r *flow.Record) string {
	return Key(r.Proto, netip.AddrPortFrom(r.SrcIP.Unmap(), r.SrcPort), netip.AddrPortFrom(r.DstIP.Unmap(), r.DstPort))
}

func connKey(c *track.Conn) string {
	// A Service's canary is known by the endpoint that answers, as its records are.
	return Key(c.Orig.Proto, netip.AddrPortFrom(c.Orig.SrcAddr(), c.Orig.SrcPort), netip.AddrPortFrom(c.Reply.SrcAddr(), c.Reply.SrcPort))
}

// Numbers are the counters of both directions.
type Numbers struct {
	Packets    uint64 `json:"packets"`
	Bytes      uint64 `json:"bytes"`
	RevPackets uint64 `json:"reverse_packets"`
	RevBytes   uint64 `json:"reverse_bytes"`
}

func (n Numbers) String() string {
	return fmt.Sprintf("%d packets of %d bytes, and %d of %d back", n.Packets, n.Bytes, n.RevPackets, n.RevBytes)
}

// NumbersOf gives the counters of an entry.
func NumbersOf(c *track.Conn) Numbers {
	return Numbers{c.Counters.OrigPackets, c.Counters.OrigBytes, c.Counters.ReplyPackets, c.Counters.ReplyBytes}
}
