package why

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05Z") }

func changeText(c *cluster.Change) string {
	return fmt.Sprintf("%s %s %s", clock(c.TimeMs), c.Object, c.What)
}

// nodeSilent: an end's agent does not speak, so half of the truth is missing.
func nodeSilent(f *Facts, _ *mix) *Finding {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if !n.Silent {
			continue
		}
		x := &Finding{
			Cause: CauseNodeSilent, Claim: fmt.Sprintf("node %s does not report, so what happens there is not seen", n.Name),
			Evidence: []string{"its agent was never heard"}, Next: "weirctl check node " + n.Name,
		}
		if n.HeardMs > 0 {
			x.Evidence = []string{"its agent was last heard at " + clock(n.HeardMs)}
		}
		for _, c := range f.Changes {
			if c.Bad && (c.Object == "Node/"+n.Name || c.Object == "Agent/"+n.Name) {
				x.Evidence = append(x.Evidence, changeText(&c))
			}
		}
		return x
	}
	return nil
}

// denied: a log rule of the nodes' own firewall, or a datapath, says so.
func denied(f *Facts, m *mix) *Finding {
	r := m.example[flow.OutcomeDenied]
	if r == nil {
		return nil
	}
	who := "a rule"
	switch {
	case r.EgressRule != "" || r.EgressPolicy != "":
		who = "egress " + ruleName(r.EgressPolicyNS, r.EgressPolicy, r.EgressRule)
	case r.IngressRule != "" || r.IngressPolicy != "":
		who = "ingress " + ruleName(r.IngressPolicyNS, r.IngressPolicy, r.IngressRule)
	}
	x := &Finding{
		Cause: CauseDenied, Claim: fmt.Sprintf("%s denies %s -> %s", who, f.Src, f.Dst),
		Evidence: []string{fmt.Sprintf("%s denied, evidence: %s", m.text(m.of(flow.OutcomeDenied)), evidence(r))},
		Next:     command("%s %s outcome = denied | stats conns by egress.rule, ingress.rule", f.SrcQuery, f.DstQuery),
	}
	return addPolicyChanges(f, x)
}

func ruleName(ns, policy, rule string) string {
	switch {
	case policy == "":
		return "rule " + rule
	case ns != "":
		policy = ns + "/" + policy
	}
	if rule != "" {
		return "policy " + policy + " rule " + rule
	}
	return "policy " + policy
}

func addPolicyChanges(f *Facts, x *Finding) *Finding {
	for _, c := range f.Changes {
		if c.Kind == cluster.ChangePolicy {
			x.Evidence = append(x.Evidence, changeText(&c))
		}
	}
	return x
}

func evidence(r *flow.Record) string {
	var words []string
	for i, w := range flow.EvidenceWords {
		if r.Evidence&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// policyDenies: connections fail, and the NetworkPolicies say that they must.
func policyDenies(f *Facts, m *mix) *Finding {
	r := judged(f.Conns, func(r *flow.Record) bool { return Failed(r) && r.PolicyEval == flow.PolicyEvalDenied })
	why := ""
	switch {
	case r != nil:
		why = policyWhy(r)
	case m.n == m.failed && f.Policy != nil && f.Policy.Decision.Verdict == flow.PolicyEvalDenied:
		why = f.Policy.Decision.String()
	default:
		return nil
	}
	x := &Finding{
		Cause: CausePolicyDenies, Claim: fmt.Sprintf("NetworkPolicy denies %s -> %s: %s", f.Src, f.Dst, why),
		Evidence: []string{"evaluated from the policies' texts, not observed"},
		Next:     "change the policy; what else it denies: weirctl query 'policy.eval = denied | stats conns by src.workload, dst.workload, dst.port'",
	}
	if m.failed > 0 {
		x.Evidence = append(x.Evidence, m.text(m.failed)+" failed: "+m.words())
	}
	return addPolicyChanges(f, x)
}

func judged(conns []flow.Record, want func(*flow.Record) bool) *flow.Record {
	for i := range conns {
		if want(&conns[i]) {
			return &conns[i]
		}
	}
	return nil
}

// policyWhy is which policies say so; a record of an older agent, or of one end that the
// caller may not see, does not tell.
func policyWhy(r *flow.Record) string {
	if r.PolicyEvalWhy == "" {
		return "which policy is not told"
	}
	return r.PolicyEvalWhy
}

// notEnforced: the policies say no, and the connections work.
func notEnforced(f *Facts, m *mix) *Finding {
	r := judged(f.Conns, func(r *flow.Record) bool {
		return r.Outcome == flow.OutcomeOK && r.PolicyEval == flow.PolicyEvalDenied
	})
	if r == nil {
		return nil
	}
	return &Finding{
		Cause: CauseNotEnforced, Claim: fmt.Sprintf("NetworkPolicy denies %s -> %s, and connections work all the same", f.Src, f.Dst),
		Evidence: []string{policyWhy(r), m.text(m.of(flow.OutcomeOK)) + " ok"},
		Next:     "check that this cluster's CNI enforces NetworkPolicy",
	}
}

// rejectedOnPath: the client got a refusal that was not the server's. A Service without
// an endpoint is rejected too, and there is nothing more to say of it.
func rejectedOnPath(f *Facts, m *mix) *Finding {
	r := judged(f.Conns, func(r *flow.Record) bool {
		return (r.Outcome == flow.OutcomeRefused || r.Outcome == flow.OutcomeReset) && r.ResetBy == flow.ResetByPath
	})
	if r == nil || noEndpoint(f, m) != nil {
		return nil
	}
	x := &Finding{
		Cause: CauseRejectedOnPath, Claim: fmt.Sprintf("something between %s and %s rejects connections", f.Src, f.Dst),
		Evidence: []string{fmt.Sprintf("%s refused or reset, evidence: %s", m.text(m.of(flow.OutcomeRefused, flow.OutcomeReset)), evidence(r))},
		Next:     "look for firewalls, proxies and security groups between the nodes",
	}
	node := r.SrcNode
	if r.SeenBy == flow.SeenByDestination {
		node = r.DstNode
	}
	switch {
	case r.Evidence&(flow.EvidencePacket|flow.EvidenceConntrack) == flow.EvidencePacket && node != "":
		x.Claim = fmt.Sprintf("a rule of node %s rejects connections from %s to %s", node, f.Src, f.Dst)
		x.Evidence = append(x.Evidence, "the node itself answered the opening, before its conntrack had an entry")
		x.Next = "look for reject in the rules of " + node + ": nft list ruleset"
	case r.Evidence&flow.EvidenceBothEnds != 0 && r.DstNode != "":
		x.Evidence = append(x.Evidence, fmt.Sprintf("the agent of %s was healthy and saw the server send none of it", r.DstNode))
	case r.Evidence&flow.EvidencePacket != 0:
		x.Evidence = append(x.Evidence, "a RST or an ICMP error that was not the server's ended it")
	}
	return x
}

func orUnknown(s string) string {
	if s == "" {
		return "a node that is not known"
	}
	return s
}

// Bounds of what is told as loss: fewer packets, or a smaller share, is noise.
const (
	leastLost  = 3
	leastShare = 0.002
	bigPacket  = 1000 // bytes: lost packets this large on average, and small ones that arrive, are a matter of size
)

// lost adds up what one end sent and the other did not get.
type lost struct {
	sent, missing  uint64 // packets
	sentBytes      uint64
	missingBytes   uint64
	pathLoss, with int // connections with outcome path_loss, and with both ends' counters
}

func losses(conns []flow.Record) (l lost) {
	add := func(sent, got, sentBytes, gotBytes uint64) {
		l.sent += sent
		l.sentBytes += sentBytes
		if sent > got {
			l.missing += sent - got
		}
		if sentBytes > gotBytes {
			l.missingBytes += sentBytes - gotBytes
		}
	}
	for i := range conns {
		r := &conns[i]
		if lostOpening(r) {
			l.pathLoss++
		}
		// loss.packets is there only where both ends' totals are settled.
		if r.Has.Has(flow.FLossPackets) && r.Has.Has(flow.FPacketsSrc) && r.Has.Has(flow.FPacketsDst) {
			l.with++
			add(r.PacketsSrc, r.PacketsDst, r.BytesSrc, r.BytesDst)
			if r.Has.Has(flow.FLossRevPackets) {
				add(r.RevPacketsDst, r.RevPacketsSrc, r.RevBytesDst, r.RevBytesSrc)
			}
		}
	}
	return l
}

// lostOpening says whether an opening got lost for no reason that is known: what a policy
// has dropped at the server's node, before its conntrack, looks the same.
func lostOpening(r *flow.Record) bool {
	return r.Outcome == flow.OutcomePathLoss && r.PolicyEval != flow.PolicyEvalDenied
}

func (l *lost) told() bool {
	return l.missing >= leastLost && float64(l.missing) >= leastShare*float64(l.sent)
}

// mtu: what is lost is large, and what arrives is small.
func mtu(f *Facts, m *mix) *Finding {
	l := losses(f.Conns)
	if !l.told() || l.missingBytes/l.missing < bigPacket || l.sent == l.missing {
		return nil
	}
	arrived := (l.sentBytes - l.missingBytes) / (l.sent - l.missing)
	if arrived >= bigPacket/2 {
		return nil
	}
	x := &Finding{
		Cause: CauseMTU, Claim: fmt.Sprintf("large packets between %s and %s do not arrive: an MTU on the way is smaller than both ends think", f.Src, f.Dst),
		Evidence: []string{
			fmt.Sprintf("%d packets were lost, %d bytes each on average; those that arrived have %d", l.missing, l.missingBytes/l.missing, arrived),
		},
		Next: "lower the MTU of the pods' interfaces, or let ICMP \"fragmentation needed\" through",
	}
	if r := judged(f.Conns, func(r *flow.Record) bool { return r.Has.Has(flow.FPathMTU) }); r != nil {
		x.Evidence = append(x.Evidence, fmt.Sprintf("the socket takes the path for %d bytes", r.PathMTU))
	}
	if m.failed > 0 {
		x.Evidence = append(x.Evidence, m.text(m.failed)+" failed: "+m.words())
	}
	return x
}

// pathLoss: what left one node did not reach the other.
func pathLoss(f *Facts, m *mix) *Finding {
	l := losses(f.Conns)
	if l.pathLoss == 0 && !l.told() || mtu(f, m) != nil {
		return nil
	}
	r := judged(f.Conns, func(r *flow.Record) bool {
		return lostOpening(r) || r.LossPackets > 0 || r.LossRevPackets > 0
	})
	from, to, pick := "the client's node", "the server's node", f.SrcQuery+" "+f.DstQuery
	if r != nil && r.SrcNode != "" && r.DstNode != "" {
		from, to = r.SrcNode, r.DstNode
		pick = fmt.Sprintf("src.node = %q dst.node = %q", from, to)
	}
	x := &Finding{
		Cause: CausePathLoss, Claim: fmt.Sprintf("packets are lost between %s and %s", from, to),
		Next: command("%s | stats sum(loss.packets), sum(src.packets) by src.node, dst.node every 1m", pick),
	}
	if l.missing > 0 {
		x.Evidence = append(x.Evidence, fmt.Sprintf("%d of %d packets (%.1f %%) of %d connections left one node and did not reach the other", l.missing, l.sent, 100*float64(l.missing)/float64(l.sent), l.with))
	}
	if l.pathLoss > 0 {
		x.Evidence = append(x.Evidence, fmt.Sprintf("%s: the opening left the client's node and never reached the server's, whose agent was healthy", m.text(l.pathLoss)))
	}
	if n := retransmits(f.Conns); n > 0 {
		x.Evidence = append(x.Evidence, fmt.Sprintf("the sockets sent %d segments again", n))
	}
	return x
}

func retransmits(conns []flow.Record) (n uint64) {
	for i := range conns {
		n += uint64(conns[i].RetransSrc) + uint64(conns[i].RetransDst)
	}
	return n
}
