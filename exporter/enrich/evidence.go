package enrich

import (
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
)

// fillEvidence writes what other sources than conntrack prove. A denial stands under
// the end whose node this is; where both ends are here, the rule does not say for which
// of them it stands, and the server's is written.
func fillEvidence(x *track.Export, r *flow.Record) {
	switch {
	case x.ResetBy != flow.ResetByUnknown:
		r.SetResetBy(x.ResetBy)
	case refusedHere(x, r):
		r.SetResetBy(flow.ResetByDst)
	}
	if x.HasRetransmits {
		r.SetRetransSrc(x.Retransmits)
	}
	if x.Denied == 0 {
		return
	}
	r.SetDenied(x.Denied)
	if r.SeenBy == flow.SeenBySource {
		r.SetEgressAction(x.Action)
		if x.Policy != "" {
			r.SetEgressPolicy(x.Policy)
		}
		if x.Rule != "" {
			r.SetEgressRule(x.Rule)
		}
		return
	}
	r.SetIngressAction(x.Action)
	if x.Policy != "" {
		r.SetIngressPolicy(x.Policy)
	}
	if x.Rule != "" {
		r.SetIngressRule(x.Rule)
	}
}

// refusedHere tells whether a TCP connection within this node was refused by its server.
// An entry is confirmed behind the last rule that its SYN passes (nf_confirm, at
// POSTROUTING or INPUT), so a refusal that is in the entry came from beyond it: from the
// server's own namespace or, at the node, because nobody listens. Only over loopback are
// there rules behind: between the node's own addresses nothing is said.
func refusedHere(x *track.Export, r *flow.Record) bool {
	c := x.Conn
	return x.Outcome == flow.OutcomeRefused && x.Evidence&flow.EvidenceConntrack != 0 && !c.NoEntry && c.Orig.Proto == cluster.ProtoTCP &&
		r.Has.Has(flow.FScope) && r.Scope == flow.ScopeSameNode && r.SeenBy == flow.SeenByBoth && (r.SrcKind == flow.EndPod || r.DstKind == flow.EndPod)
}
