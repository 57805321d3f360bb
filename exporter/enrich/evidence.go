package enrich

import (
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// fillEvidence writes what other sources than conntrack prove. A denial stands under
// the end whose node this is; where both ends are here, the rule does not say for which
// of them it stands, and the server's is written.
func fillEvidence(x *track.Export, r *flow.Record) {
	if x.ResetBy != flow.ResetByUnknown {
		r.SetResetBy(x.ResetBy)
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
