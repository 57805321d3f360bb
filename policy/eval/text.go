package eval

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

// maxRefs bounds the rules that a sentence names.
const maxRefs = 4

// String says it in one line. It names no client's port and no address of an end,
// so that connections of one kind have one text.
func (d *Decision) String() string {
	if d.Verdict == flow.PolicyEvalUnprotected {
		return "no policy selects either end"
	}
	var parts []string
	for _, f := range []*Finding{&d.Egress, &d.Ingress} {
		if f.Verdict != flow.PolicyEvalUnprotected {
			parts = append(parts, f.String())
		}
	}
	return strings.Join(parts, "; ")
}

// String says it in one line.
func (f *Finding) String() string {
	dir := f.Direction.String()
	switch f.Verdict {
	case flow.PolicyEvalAllowed:
		if f.Exempt != "" {
			return dir + " allowed: " + f.Exempt
		}
		return dir + " allowed by " + refs(f.By)
	case flow.PolicyEvalDenied:
		s := dir + " denied by " + refs(f.By)
		if f.Near == nil {
			return s + ", no rule allows anything"
		}
		return s + ", nearest allow " + f.Near.Rule.String() + ": " + strings.Join(f.Near.Missing, ", ")
	case flow.PolicyEvalUndefined:
		return dir + " undefined: NetworkPolicy says nothing of this protocol, and " + refs(f.By) + " isolate the pod"
	default:
		return dir + " unprotected"
	}
}

func refs(list []Ref) string {
	var b strings.Builder
	for i, r := range list {
		if i == maxRefs {
			fmt.Fprintf(&b, " and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(r.String())
	}
	return b.String()
}

func peersText(np *cluster.NetworkPolicy, peers []cluster.PolicyPeer) string {
	var parts []string
	for i := range peers {
		if i == maxRefs {
			parts = append(parts, fmt.Sprintf("%d more", len(peers)-i))
			break
		}
		parts = append(parts, peerText(np, &peers[i]))
	}
	return strings.Join(parts, " or ")
}

func peerText(np *cluster.NetworkPolicy, p *cluster.PolicyPeer) string {
	if p.Block.IsValid() || p.Namespaces != nil {
		return p.String()
	}
	return p.String() + " in " + np.Namespace
}

func portsText(ports []cluster.PolicyPort) string {
	var parts []string
	for i := range ports {
		if i == maxRefs {
			parts = append(parts, fmt.Sprintf("%d more", len(ports)-i))
			break
		}
		parts = append(parts, ports[i].String())
	}
	return strings.Join(parts, " or ")
}
