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
		Next:     fmt.Sprintf("weirctl query '%s %s outcome = denied | stats conns by egress.rule, ingress.rule'", f.SrcQuery, f.DstQuery),
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
		why = r.PolicyEvalWhy
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
		Evidence: []string{r.PolicyEvalWhy, m.text(m.of(flow.OutcomeOK)) + " ok"},
		Next:     "check that this cluster's CNI enforces NetworkPolicy",
	}
}

// rejectedOnPath: the client got a refusal that the healthy server's node never sent.
func rejectedOnPath(f *Facts, m *mix) *Finding {
	r := judged(f.Conns, func(r *flow.Record) bool {
		return (r.Outcome == flow.OutcomeRefused || r.Outcome == flow.OutcomeReset) && r.ResetBy == flow.ResetByPath
	})
	if r == nil {
		return nil
	}
	return &Finding{
		Cause: CauseRejectedOnPath, Claim: fmt.Sprintf("something between %s and %s rejects connections", f.Src, f.Dst),
		Evidence: []string{
			fmt.Sprintf("%s refused or reset at %s", m.text(m.of(flow.OutcomeRefused, flow.OutcomeReset)), orUnknown(r.SrcNode)),
			fmt.Sprintf("the agent of %s was healthy and saw none of it", orUnknown(r.DstNode)),
		},
		Next: "look for firewalls, proxies and security groups between the nodes",
	}
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
		if r.Outcome == flow.OutcomePathLoss {
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
		return r.Outcome == flow.OutcomePathLoss || r.LossPackets > 0 || r.LossRevPackets > 0
	})
	from, to, pick := "the client's node", "the server's node", f.SrcQuery+" "+f.DstQuery
	if r != nil && r.SrcNode != "" && r.DstNode != "" {
		from, to = r.SrcNode, r.DstNode
		pick = fmt.Sprintf("src.node = %q dst.node = %q", from, to)
	}
	x := &Finding{
		Cause: CausePathLoss, Claim: fmt.Sprintf("packets are lost between %s and %s", from, to),
		Next: fmt.Sprintf("weirctl query '%s | stats sum(loss.packets), sum(src.packets) by src.node, dst.node every 1m'", pick),
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

// conntrackFull: a node could not track, and so drops, new connections.
func conntrackFull(f *Facts, m *mix) *Finding {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Dropped == 0 && n.FillPct < 95 {
			continue
		}
		x := &Finding{
			Cause: CauseConntrackFull, Claim: fmt.Sprintf("the conntrack table of node %s is full: new connections are dropped there", n.Name),
			Next: "weirctl check node " + n.Name + " names the pods that hold most entries; raise net.netfilter.nf_conntrack_max",
		}
		if n.Dropped == 0 {
			x.Claim = fmt.Sprintf("the conntrack table of node %s is nearly full", n.Name)
		}
		if n.FillPct >= 0 {
			x.Evidence = append(x.Evidence, fmt.Sprintf("the table is filled to %d %%", n.FillPct))
		}
		if n.Dropped > 0 {
			x.Evidence = append(x.Evidence, fmt.Sprintf("%d entries did not fit in this time", n.Dropped))
		}
		if m.failed > 0 {
			x.Evidence = append(x.Evidence, m.text(m.failed)+" failed: "+m.words())
		}
		return x
	}
	return nil
}
