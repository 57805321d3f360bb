package main

import (
	"time"

	"github.com/weirnet/weir/api/flow"
)

// short tells a connection that began and ended.
func (w *world) short(at time.Time) {
	p := w.pick()
	src, dst := w.any(p.from), w.any(p.to)
	outcome := flow.OutcomeOK
	if w.broken(at) {
		outcome = p.after
	}
	end := at.UnixMilli()
	r := base(p, src, dst, w.ephemeral(), end-40)
	r.SetEnd(end)
	r.SetEndReason(flow.EndReasonEnd)
	r.SetFirst(true)
	r.SetFinal(true)
	r.SetSeq(0)
	r.SetOutcome(outcome)
	switch outcome {
	case flow.OutcomeRefused:
		count(&r, 1, 60, 1, 40)
	case flow.OutcomeDenied, flow.OutcomeUnanswered:
		count(&r, 3, 180, 0, 0)
	default:
		n := uint64(4 + w.rng.IntN(20))
		count(&r, n, n*700, n, n*2100)
		r.SetTCPState("TIME_WAIT")
	}
	w.both(&r, src, dst, outcome)
}

// tellStay tells a connection that stays open.
func (w *world) tellStay(i int, now time.Time) {
	s := &w.stay[i]
	r := base(s.p, s.src, s.dst, s.port, s.began)
	r.SetEnd(now.UnixMilli())
	r.SetEndReason(flow.EndReasonActive)
	r.SetFirst(s.told == 0)
	r.SetFinal(false)
	r.SetSeq(uint32(s.told))
	s.told++
	count(&r, s.told*20, s.told*14000, s.told*20, s.told*60000)
	r.SetTCPState("ESTABLISHED")
	r.SetOutcome(flow.OutcomeOK)
	w.both(&r, s.src, s.dst, flow.OutcomeOK)
}

func base(p *pair, src, dst pod, port uint16, start int64) (r flow.Record) {
	r.SetStart(start)
	r.SetSrcIP(src.ip)
	r.SetDstIP(dst.ip)
	r.SetSrcPort(port)
	r.SetDstPort(p.port)
	r.SetProto(p.proto)
	a, b := src.ip.As16(), dst.ip.As16()
	r.SetConnID(uint64(start)*0x9E3779B97F4A7C15 ^ uint64(port)<<32 ^ uint64(a[15])<<8 ^ uint64(b[15])<<16)
	r.SetEvidence(flow.EvidenceConntrack)
	r.SetScope(flow.ScopeCrossNode)
	switch {
	case src.node < 0 || dst.node < 0:
		r.SetScope(flow.ScopeExternal)
	case src.node == dst.node:
		r.SetScope(flow.ScopeSameNode)
	}
	switch {
	case src.node < 0:
		r.SetSrcKind(flow.EndExternal)
	case src.ns == "":
		r.SetSrcKind(flow.EndNode)
	default:
		r.SetSrcKind(flow.EndPod)
		r.SetSrcNS(src.ns)
		r.SetSrcPod(src.name)
		r.SetSrcWorkload(src.workload)
	}
	if dst.node < 0 {
		r.SetDstKind(flow.EndExternal)
		if dst.name != "" {
			r.SetDstName(dst.name)
			r.SetDstNameVia(flow.NameDNS)
		}
		return r
	}
	r.SetDstKind(flow.EndPod)
	r.SetDstNS(dst.ns)
	r.SetDstPod(dst.name)
	r.SetDstWorkload(dst.workload)
	if p.service != "" {
		r.SetSvcPortName(p.service)
		r.SetSvcPort(p.port)
	}
	return r
}

func count(r *flow.Record, packets, bytes, back, backBytes uint64) {
	r.SetPackets(packets)
	r.SetBytes(bytes)
	r.SetRevPackets(back)
	r.SetRevBytes(backBytes)
	r.SetPacketsDelta(packets)
	r.SetBytesDelta(bytes)
	r.SetRevPacketsDelta(back)
	r.SetRevBytesDelta(backBytes)
}

// both sends what each end's node saw. A denied connection never reaches a socket, a
// refused one finds nobody at the port.
func (w *world) both(r *flow.Record, src, dst pod, outcome flow.Outcome) {
	route := flow.Tuple{Src: flow.Addr16(r.SrcIP), Dst: flow.Addr16(r.DstIP), SrcPort: r.SrcPort, DstPort: r.DstPort, Proto: r.Proto}
	if src.node >= 0 {
		r.SetSrcNode(w.nodeName(src.node))
	}
	if dst.node >= 0 {
		r.SetDstNode(w.nodeName(dst.node))
	}
	a := *r
	if outcome == flow.OutcomeOK && r.Proto == 6 {
		a.SetRTT(uint32(180 + w.rng.IntN(900)))
		a.SetRetransSrc(0)
	}
	if outcome == flow.OutcomeDenied {
		a.SetPolicyEval(flow.PolicyEvalDenied)
		a.SetPolicyEvalWhy("NetworkPolicy data/cache-access denies ingress; nearest allow: app=frontend at TCP 6379")
		a.SetIngressPolicy("cache-access")
		a.SetIngressPolicyNS("data")
		a.SetIngressPolicyType(flow.PolicyTypeK8s)
		a.SetIngressAction(flow.RuleActionDrop)
	}
	if src.node >= 0 {
		a.SetObserver(w.nodeName(src.node))
		a.SetSeenBy(flow.SeenBySource)
		if dst.node == src.node {
			refuse(&a, outcome)
		}
		w.agents[src.node].send(&a, route)
	}
	if dst.node < 0 || dst.node == src.node {
		return
	}
	b := *r
	b.SetObserver(w.nodeName(dst.node))
	b.SetSeenBy(flow.SeenByDestination)
	refuse(&b, outcome)
	w.agents[dst.node].send(&b, route)
}

// send tells a record with the times of its node's clock.
func (a *agent) send(r *flow.Record, route flow.Tuple) {
	r.SetStart(r.Start + a.skew.Milliseconds())
	r.SetEnd(r.End + a.skew.Milliseconds())
	a.sender.Send(r, route)
}

// refuse adds what the server's node knows of a refusal.
func refuse(r *flow.Record, outcome flow.Outcome) {
	if outcome == flow.OutcomeRefused {
		r.SetDstListen(flow.ListenOther)
		r.SetDstListens("8080")
		r.SetResetBy(flow.ResetByDst)
	}
}
