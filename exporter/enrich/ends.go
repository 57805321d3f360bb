package enrich

import (
	"bytes"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/dns"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
)

func (e *Enricher) fillSource(c *track.Conn, r *flow.Record, s *end) {
	r.SetSrcKind(s.kind)
	if s.node != "" {
		r.SetSrcNode(s.node)
	}
	if s.zone != "" {
		r.SetSrcZone(s.zone)
	}
	if s.kind == flow.EndExternal {
		if n := e.cfg.Names.Of(c.Orig.Src); n != "" {
			r.SetSrcName(n)
			r.SetSrcNameVia(flow.NameCIDR)
		}
		return
	}
	id := s.id
	if id == nil {
		return
	}
	if n := id.NodeInfo(); n != nil && n.UID != (cluster.UID{}) {
		r.SetSrcNodeUID(n.UID)
	}
	if id.Name == "" {
		return
	}
	r.SetSrcPod(id.Name)
	r.SetSrcNS(id.Namespace)
	r.SetSrcWorkload(id.Workload)
	if id.UID != (cluster.UID{}) {
		r.SetSrcPodUID(id.UID)
	}
	if e.cfg.Labels {
		r.SetSrcLabels(id.Labels)
	}
}

func (e *Enricher) fillDestination(c *track.Conn, r *flow.Record, d *end, nowMs int64) {
	r.SetDstKind(d.kind)
	if d.node != "" {
		r.SetDstNode(d.node)
	}
	if d.zone != "" {
		r.SetDstZone(d.zone)
	}
	if d.kind == flow.EndExternal {
		e.nameDestination(c, r, nowMs)
		return
	}
	id := d.id
	if id == nil {
		return
	}
	if n := id.NodeInfo(); n != nil && n.UID != (cluster.UID{}) {
		r.SetDstNodeUID(n.UID)
	}
	if id.Name == "" {
		return
	}
	r.SetDstPod(id.Name)
	r.SetDstNS(id.Namespace)
	r.SetDstWorkload(id.Workload)
	if id.UID != (cluster.UID{}) {
		r.SetDstPodUID(id.UID)
	}
	if e.cfg.Labels {
		r.SetDstLabels(id.Labels)
	}
}

// nameDestination names an external server: by what this client asked for before it
// dialled, else by its network.
func (e *Enricher) nameDestination(c *track.Conn, r *flow.Record, nowMs int64) {
	if e.cfg.DNS != nil {
		start := r.Start
		if !r.Has.Has(flow.FStart) {
			start = r.End
		}
		if n := e.cfg.DNS.Name(c.Orig.Src, c.Orig.Dst, start, nowMs); n != "" {
			r.SetDstName(n)
			r.SetDstNameVia(flow.NameDNS)
			return
		}
	}
	if n := e.cfg.Names.Of(c.Reply.Src); n != "" {
		r.SetDstName(n)
		r.SetDstNameVia(flow.NameCIDR)
	}
}

// fillDNS says what a DNS connection asked and what came of it.
func (e *Enricher) fillDNS(c *track.Conn, r *flow.Record) {
	if e.cfg.DNS == nil || c.Orig.DstPort != dns.Port || !hasPorts(c.Orig.Proto) {
		return
	}
	f, ok := e.cfg.DNS.Flow(&c.Orig)
	if !ok {
		return
	}
	r.SetDNSQuery(f.Query)
	if f.Answered {
		r.SetDNSRcode(flow.Rcode(f.Rcode))
		r.SetDNSTime(f.TimeUs)
	}
}

// fillRelation says how the two ends lie to each other and to this node.
func (e *Enricher) fillRelation(r *flow.Record, s, d *end) {
	srcOut, dstOut := s.kind == flow.EndExternal, d.kind == flow.EndExternal
	placed := s.node != "" && d.node != ""
	same := placed && s.node == d.node
	switch {
	case srcOut && dstOut:
		r.SetScope(flow.ScopeExternal) // flow_type has no number for a passing flow
	case srcOut:
		if d.kind != flow.EndUnknown || d.node != "" {
			r.SetScope(flow.ScopeExternal)
			r.SetFlowType(flow.FlowTypeFromExternal)
		}
	case dstOut:
		if s.kind != flow.EndUnknown || s.node != "" {
			r.SetScope(flow.ScopeExternal)
			r.SetFlowType(flow.FlowTypeToExternal)
		}
	case same:
		r.SetScope(flow.ScopeSameNode)
		r.SetFlowType(flow.FlowTypeIntraNode)
	case placed:
		r.SetFlowType(flow.FlowTypeInterNode)
		r.SetScope(flow.ScopeCrossNode)
		if s.zone != "" && d.zone != "" && s.zone != d.zone {
			r.SetScope(flow.ScopeCrossZone)
		}
	}
	if by := e.seenBy(s, d); by != flow.SeenByUnknown {
		r.SetSeenBy(by)
	}
}

// seenBy says which end this node is. A node that is neither stands for the end
// that no agent watches: it let an external client in, or an external server's
// traffic out.
func (e *Enricher) seenBy(s, d *end) flow.SeenBy {
	here := e.cfg.Node
	atSrc, atDst := s.node == here && here != "", d.node == here && here != ""
	switch {
	case atSrc && atDst:
		return flow.SeenByBoth
	case atSrc:
		return flow.SeenBySource
	case atDst:
		return flow.SeenByDestination
	case s.kind == flow.EndExternal && d.node != "":
		return flow.SeenBySource
	case d.kind == flow.EndExternal && s.node != "":
		return flow.SeenByDestination
	}
	return flow.SeenByUnknown
}

// fillSNAT says how the client was translated: towards the outside it is the
// egress address, inside the cluster it is what the server's node sees.
func (e *Enricher) fillSNAT(c *track.Conn, r *flow.Record, d *end) {
	addr := c.Reply.Dst != c.Orig.Src
	if !addr && (!hasPorts(c.Orig.Proto) || c.Reply.DstPort == c.Orig.SrcPort) {
		return
	}
	if d.kind == flow.EndExternal {
		if addr {
			r.SetEgressIP(e.text(c.Reply.Dst))
		}
		return
	}
	r.SetProxySNATIP(c.Reply.DstAddr())
	switch {
	case hasPorts(c.Orig.Proto):
		r.SetProxySNATPort(c.Reply.DstPort)
	case isICMP(c.Orig.Proto):
		r.SetProxySNATPort(c.Reply.SrcPort) // the identifier that the server's node sees
	}
}

// text gives an address as text; a node has few egress addresses.
func (e *Enricher) text(a [16]byte) string {
	if s, ok := e.texts[a]; ok {
		return s
	}
	if len(e.texts) >= maxTexts {
		clear(e.texts)
	}
	t := flow.Tuple{Src: a}
	s := t.SrcAddr().String()
	e.texts[a] = s
	return s
}

// RouteTuple gives the tuple by which both nodes of a connection choose the same
// aggregator: after translation, and the same for both directions. The node that
// holds the translation of the client routes by the translated client, which is
// the one that the server's node sees.
func RouteTuple(x *track.Export) flow.Tuple {
	c := x.Conn
	return neutral(flow.Tuple{Src: c.Reply.Dst, Dst: c.Reply.Src, SrcPort: c.Reply.DstPort, DstPort: c.Reply.SrcPort, Proto: c.Orig.Proto})
}

// RouteRecord gives the same tuple for a record. Where a client was translated
// towards the outside (egress.ip) it keeps the client's own address: no agent sees
// the translated half, and the client's node, if it is another, sees this one.
func RouteRecord(r *flow.Record) flow.Tuple {
	t := flow.Tuple{Src: flow.Addr16(r.SrcIP), Dst: flow.Addr16(r.DstIP), SrcPort: r.SrcPort, DstPort: r.DstPort, Proto: r.Proto}
	if r.Has.Has(flow.FProxySNATIP) {
		t.Src, t.SrcPort = flow.Addr16(r.ProxySNATIP), r.ProxySNATPort
	}
	return neutral(t)
}

// neutral orders the ends. Protocols without ports go by their addresses alone.
func neutral(t flow.Tuple) flow.Tuple {
	if !hasPorts(t.Proto) {
		t.SrcPort, t.DstPort = 0, 0
	}
	if d := bytes.Compare(t.Src[:], t.Dst[:]); d > 0 || d == 0 && t.SrcPort > t.DstPort {
		return t.Reverse()
	}
	return t
}
