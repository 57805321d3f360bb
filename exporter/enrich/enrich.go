package enrich

import (
	"net/netip"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/dns"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
)

// Config says what this node is and what its records tell.
type Config struct {
	Node      string // this node's name: the observer
	ClusterID string // "" leaves the field out
	Names     *Names // names of external networks; nil for none
	DNS       DNS    // what was seen of DNS; nil where it is not watched
	Labels    bool   // fill the labels of pods
	Datapath  bool   // conntrack labels are Weir's rule ids; without it they are someone else's
}

// DNS is what was seen of DNS on the wire (dnswatch.Watcher).
type DNS interface {
	// Name gives the name that a client asked for before it began, at startMs, a
	// connection to an address; "" for none.
	Name(client, addr [16]byte, startMs, nowMs int64) string
	// Flow gives what a DNS connection asked last, by its tuple as the client sent it.
	Flow(t *flow.Tuple) (dns.Flow, bool)
}

// maxTexts bounds the cache of addresses as text.
const maxTexts = 4096

// Enricher fills records. One goroutine owns it.
type Enricher struct {
	cfg   Config
	idx   cluster.Reader
	judge *judge // nil where policies are not known
	texts map[[16]byte]string
}

// New makes an Enricher that names what idx knows. An idx that is a
// cluster.PolicyReader too lets it judge connections by NetworkPolicies.
func New(cfg Config, idx cluster.Reader) *Enricher {
	e := &Enricher{cfg: cfg, idx: idx, texts: map[[16]byte]string{}}
	if p, ok := idx.(cluster.PolicyReader); ok {
		e.judge = newJudge(p)
	}
	return e
}

// end is one end of a connection, as far as it is known.
type end struct {
	id   *cluster.Identity
	kind flow.EndKind
	node string
	zone string
}

// Fill resets r and says in it all that is known of x at the time of the flow.
// nowMs is the end of a connection whose last packet is not known.
func (e *Enricher) Fill(nowMs int64, x *track.Export, r *flow.Record) {
	*r = flow.Record{}
	c := x.Conn
	endMs := x.EndMs
	if endMs == 0 {
		endMs = nowMs
	}
	if x.StartMs != 0 {
		r.SetStart(x.StartMs)
	}
	r.SetEnd(endMs)
	r.SetEndReason(x.Reason)
	fillTuple(c, r)
	fillCounters(x, r)
	e.fillConntrack(x, r)

	at := times{x.StartMs, endMs}
	if c.Orig.Proto != cluster.ProtoTCP {
		// What follows a pod to a new holder of its address is no TCP connection,
		// but a datagram "connection" goes on with whoever is there now.
		at[0], at[1] = at[1], at[0]
	}
	src := e.place(c.Orig.Src, c.Orig.Proto, c.Orig.SrcPort, at)
	dst := e.place(c.Reply.Src, c.Orig.Proto, c.Reply.SrcPort, at)
	e.fillService(c, r, &dst, at)
	e.fillSource(c, r, &src)
	e.fillDestination(c, r, &dst, nowMs)
	e.fillDNS(c, r)
	e.fillRelation(r, &src, &dst)
	e.fillSNAT(c, r, &dst)
	e.fillPolicy(c, r, &src, &dst, at)
	fillEvidence(x, r)
}

// times are the times at which an address is looked up, the preferred one first.
type times [2]int64

func hasPorts(proto uint8) bool {
	switch proto {
	case 6, 17, 33, 132, 136: // TCP, UDP, DCCP, SCTP, UDP-Lite
		return true
	}
	return false
}

func isICMP(proto uint8) bool { return proto == 1 || proto == 58 }

func fillTuple(c *track.Conn, r *flow.Record) {
	r.SetSrcIP(c.Orig.SrcAddr())
	r.SetDstIP(c.Reply.SrcAddr())
	r.SetProto(c.Orig.Proto)
	switch {
	case hasPorts(c.Orig.Proto):
		r.SetSrcPort(c.Orig.SrcPort)
		r.SetDstPort(c.Reply.SrcPort)
	case isICMP(c.Orig.Proto):
		// The identifier stands in the place of the client's port: two pings
		// between the same ends are two connections.
		r.SetSrcPort(c.Orig.SrcPort)
		r.SetICMP(c.Orig.DstPort)
	}
}

func fillCounters(x *track.Export, r *flow.Record) {
	if !x.Conn.HasCounters {
		return
	}
	t, d := &x.Conn.Counters, &x.Delta
	r.SetPackets(t.OrigPackets)
	r.SetBytes(t.OrigBytes)
	r.SetRevPackets(t.ReplyPackets)
	r.SetRevBytes(t.ReplyBytes)
	r.SetPacketsDelta(d.OrigPackets)
	r.SetBytesDelta(d.OrigBytes)
	r.SetRevPacketsDelta(d.ReplyPackets)
	r.SetRevBytesDelta(d.ReplyBytes)
}

// tcpStates are the names of enum tcp_conntrack
// (include/uapi/linux/netfilter/nf_conntrack_tcp.h), as conntrack prints them.
func tcpState(s uint8) string {
	switch s {
	case 0:
		return "NONE"
	case 1:
		return "SYN_SENT"
	case 2:
		return "SYN_RECV"
	case 3:
		return "ESTABLISHED"
	case 4:
		return "FIN_WAIT"
	case 5:
		return "CLOSE_WAIT"
	case 6:
		return "LAST_ACK"
	case 7:
		return "TIME_WAIT"
	case 8:
		return "CLOSE"
	case 9:
		return "SYN_SENT2"
	}
	return ""
}

func (e *Enricher) fillConntrack(x *track.Export, r *flow.Record) {
	c := x.Conn
	r.SetObserver(e.cfg.Node)
	r.SetConnID(x.ConnID)
	r.SetSeq(x.Seq)
	r.SetFirst(x.First)
	r.SetFinal(x.Final)
	if !c.NoEntry {
		r.SetCTZone(c.Zone)
		r.SetCTMark(c.Mark)
		r.SetCTStatus(c.Status)
	}
	if e.cfg.ClusterID != "" {
		r.SetClusterID(e.cfg.ClusterID)
	}
	if s := tcpState(c.TCPState); c.HasTCP && s != "" {
		r.SetTCPState(s)
	}
	if x.Outcome != flow.OutcomeUnknown {
		r.SetOutcome(x.Outcome)
		r.SetEvidence(x.Evidence)
	}
	if !e.cfg.Datapath {
		return
	}
	if id := le32(c.Labels[0:4]); id != 0 {
		r.SetIngressRuleID(id)
	}
	if id := le32(c.Labels[4:8]); id != 0 {
		r.SetEgressRuleID(id)
	}
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// place finds who stood at an address when the connection was.
func (e *Enricher) place(addr [16]byte, proto uint8, port uint16, at times) end {
	var id *cluster.Identity
	for _, ms := range at {
		if ms == 0 {
			continue
		}
		if id = e.idx.Lookup(addr, proto, port, ms); id != nil && id.Kind != flow.EndUnknown {
			break
		}
	}
	if id != nil {
		return end{id, id.Kind, id.Node(), id.Zone()}
	}
	a := netip.AddrFrom16(addr).Unmap()
	switch {
	case a.IsLoopback():
		return end{kind: flow.EndNode, node: e.cfg.Node}
	case a.IsMulticast(), a.IsLinkLocalUnicast(), a.IsUnspecified(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return end{}
	}
	return end{kind: flow.EndExternal}
}

// fillService names the Service that the client dialled: by the address that it
// dialled, or, where that address is nobody's known one, by the endpoint to which
// the connection was translated.
func (e *Enricher) fillService(c *track.Conn, r *flow.Record, dst *end, at times) {
	if !hasPorts(c.Orig.Proto) {
		return
	}
	translated := c.Orig.Dst != c.Reply.Src || c.Orig.DstPort != c.Reply.SrcPort
	var s *cluster.ServicePort
	for _, ms := range at {
		if s == nil && ms != 0 {
			s = e.idx.Service(c.Orig.Dst, c.Orig.Proto, c.Orig.DstPort, ms)
		}
	}
	if s == nil && translated {
		s = e.idx.Backend(c.Reply.Src, c.Orig.Proto, c.Reply.SrcPort, c.Orig.DstPort)
	}
	dialled := c.Orig.DstAddr()
	if translated {
		r.SetSvcIP(dialled)
		r.SetSvcPort(c.Orig.DstPort)
	}
	if s == nil {
		return
	}
	r.SetSvcIP(dialled)
	r.SetSvcPort(c.Orig.DstPort)
	r.SetSvcPortName(s.Ref)
	if s.UID != (cluster.UID{}) {
		r.SetSvcUID(s.UID)
	}
	for _, a := range s.ClusterIPs {
		if a == dialled {
			r.SetClusterIP(dialled)
			if !translated {
				*dst = end{kind: flow.EndService}
			}
		}
	}
	if !translated && dst.kind == flow.EndExternal {
		*dst = end{kind: flow.EndService}
	}
}
