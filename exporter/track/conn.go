package track

import "github.com/weirnet/weir/api/flow"

// Counters of both directions, absolute. Orig is client to server.
type Counters struct {
	OrigPackets, OrigBytes, ReplyPackets, ReplyBytes uint64
}

// Conn is one conntrack entry at one instant, whatever it was read from.
type Conn struct {
	Orig, Reply flow.Tuple // as the kernel has them: Reply.Src is the endpoint after DNAT, Reply.Dst the client after SNAT
	Zone        uint16
	ID          uint32 // CTA_ID; 0 where the source has none
	Status      uint32 // IPS_* bits (include/uapi/linux/netfilter/nf_conntrack_common.h)
	Mark        uint32
	Labels      [16]byte // CTA_LABELS, bit 0 is the lowest bit of byte 0
	Start, Stop int64    // CTA_TIMESTAMP, Unix ns; 0 where the kernel keeps none
	Timeout     uint32   // CTA_TIMEOUT, seconds left; valid only with HasTimeout
	TCPState    uint8    // CTA_PROTOINFO_TCP_STATE; valid only with HasTCP
	HasCounters bool     // the kernel kept CTA_COUNTERS for it
	HasTimeout  bool
	HasTCP      bool
	Destroyed   bool // from a DESTROY event: these are its last numbers
	NoEntry     bool // not from conntrack: an attempt that never had an entry (exporter/outcome)
	NoStatus    bool // the source keeps no IPS_* bits: that SEEN_REPLY is not set says nothing
	Counters    Counters
}

// Export is one thing to tell about one connection.
type Export struct {
	Conn     *Conn    // last known entry; valid until the next call of the tracker
	ConnID   uint64   // hash of Orig, Zone and start; see flow.Record.ConnID
	Seq      uint32   // number of this export within the connection, from 0
	StartMs  int64    // 0 where unknown
	EndMs    int64    // last packet, not the death of the entry
	Delta    Counters // since the previous export
	Reason   flow.EndReason
	First    bool
	Final    bool
	Outcome  flow.Outcome
	Evidence flow.Evidence
	// What other sources than conntrack add (exporter/outcome).
	ResetBy        flow.ResetBy
	Denied         uint32          // packets that a rule denied, as it logged them; 0 for none
	Action         flow.RuleAction // of that rule
	Policy, Rule   string          // as the rule's log names them
	Retransmits    uint32          // SYNs that the client sent again; valid with HasRetransmits
	HasRetransmits bool
}
