package track

import "github.com/weirnet/weir/api/flow"

// death is how an entry left the kernel, as far as we know.
type death uint8

const (
	alive    death = iota
	reported       // a DESTROY event: the entry's last word
	expired        // it is gone, and its time had run out since its last packet
	vanished       // it is gone from the table, and we do not know why
)

// outcome says what conntrack alone proves about c. prev is the TCP state in which
// it was seen before c; d is how it left. What is not proven stays unknown.
func outcome(c *Conn, prev uint8, d death) (flow.Outcome, flow.Evidence) {
	o := flow.OutcomeUnknown
	if c.Orig.Proto == protoTCP {
		o = tcpOutcome(c, prev, d)
	} else {
		switch {
		case c.seenReply() || (c.HasCounters && c.Counters.ReplyPackets > 0):
			o = flow.OutcomeOK
		case (d == reported || d == expired) && (c.HasCounters || !c.NoStatus):
			o = flow.OutcomeUnanswered
		}
	}
	if o == flow.OutcomeUnknown {
		return o, 0
	}
	return o, flow.EvidenceConntrack
}

func tcpOutcome(c *Conn, prev uint8, d death) flow.Outcome {
	closed := c.HasTCP && c.TCPState == TCPClose // only a RST leads there
	switch {
	case c.tcpHandshake():
		switch {
		case closed && !tcpClosing(prev):
			return flow.OutcomeReset
		case d == expired && c.HasTCP && !tcpClosing(c.TCPState) && !closed:
			return flow.OutcomeTimedOut
		}
		return flow.OutcomeOK
	case refused(c, closed, d):
		return flow.OutcomeRefused
	case c.seenReply() || (c.HasCounters && c.Counters.ReplyPackets > 0):
		return flow.OutcomeUnknown // answered, and neither established nor refused
	case d == reported || d == expired:
		return flow.OutcomeUnanswered
	}
	return flow.OutcomeUnknown
}

// refused: the kernel kills an entry at once when its first reply is a RST
// (nf_conntrack_tcp_packet), before it marks it as answered; so the entry lives
// only in a DESTROY event with one reply packet. Where the entry had been picked
// up otherwise, CLOSE after one packet each way says the same.
func refused(c *Conn, closed bool, d death) bool {
	one := c.HasCounters && c.Counters.ReplyPackets == 1
	if d == reported && !c.seenReply() {
		return one || (closed && !c.HasCounters)
	}
	return closed && one && c.Counters.OrigPackets == 1
}
