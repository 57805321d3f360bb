package demo

import (
	"fmt"
	"strings"
)

// fabricRules lose packets between the nodes, where no conntrack counts them:
// one in ten of the lossy shape, and every SYN-ACK of the half-open one; staged, 3 %
// of what passes lossyNode's link to the other nodes too. What the agents send
// passes this table's input, not its forward: it is not lost.
func fabricRules(staged bool) string {
	link := ""
	if staged {
		link = fmt.Sprintf("\t\tiifname %[1]q numgen random mod 100 < %[2]d drop\n\t\toifname %[1]q numgen random mod 100 < %[2]d drop\n", "x-"+lossyNode, lossyPercent)
	}
	return fmt.Sprintf(`table bridge weir-demo {
	chain forward {
		type filter hook forward priority filter
		tcp dport %[1]d numgen random mod 10 == 0 drop
		tcp sport %[1]d numgen random mod 10 == 0 drop
		tcp sport %[2]d drop
%[3]s	}
}
`, portLossy, portLostReply, link)
}

// again makes rules that replace those of the same table, in one transaction.
func again(table, rules string) string {
	return fmt.Sprintf("table %[1]s weir-demo\nflush table %[1]s weir-demo\n%[2]s", table, rules)
}

// Where the nodes' rules log what they deny, as a cluster's would.
const (
	logGroup  = 5
	logPrefix = "DENY:"
)

// nodeRules are a node's: Services and node ports by destination NAT, source NAT
// towards the outside, and the policies that deny.
func nodeRules(w *world, n *node) string {
	var b strings.Builder
	b.WriteString("table inet weir-demo {\n\tchain services {\n\t\ttype nat hook prerouting priority dstnat\n")
	for i := range w.services {
		s := &w.services[i]
		for f, fam := range []string{"ip", "ip6"} {
			for _, vip := range s.vips {
				if vip.Is4() == (f == 0) {
					dnat(&b, s, fmt.Sprintf("%s daddr %s %s dport %d", fam, vip, s.proto, s.port), f == 0)
				}
			}
			if s.nodePort != 0 && f == 0 {
				dnat(&b, s, fmt.Sprintf("ip daddr %s %s dport %d", n.addrs[0], s.proto, s.nodePort), true)
			}
		}
	}
	fmt.Fprintf(&b, `	}
	chain translate {
		type nat hook postrouting priority srcnat
		oifname "eth0" ip saddr 10.77.0.0/16 ip daddr != { 10.77.0.0/16, 198.18.0.0/16 } masquerade
		oifname "eth0" ip6 saddr fd77::/16 ip6 daddr != fd77::/16 masquerade
		oifname "eth0" ct status dnat ip saddr != { 10.77.0.0/16 } masquerade
	}
	chain deny {
		type filter hook forward priority filter
		ct state established,related accept
		iifname "eth0" tcp dport %[1]d log group %[5]d prefix "%[6]sguard-db" drop
		iifname "eth0" tcp dport %[2]d reject with icmpx type admin-prohibited
		iifname "eth0" tcp dport %[3]d reject with tcp reset
		oifname "eth0" tcp dport %[4]d log group %[5]d prefix "%[6]sno-egress" drop
`, portDropped, portRejected, portRejectRST, portDenied, logGroup, logPrefix)
	for i := range w.policies {
		w.enforce(&b, &w.policies[i], n)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// enforce writes what a NetworkPolicy lets into its pods of one node, and logs and
// drops the rest. The demo's policies select by these labels only: app, and of
// namespaces their name; a pod has one policy.
func (w *world) enforce(b *strings.Builder, p *policy, n *node) {
	for i, fam := range []string{"ip", "ip6"} {
		into := w.addrsOf(i, func(o *pod) bool { return o.namespace == p.namespace && o.node == n.name && p.pods.app(o) })
		if into == "" {
			continue
		}
		for _, r := range p.rules {
			from := w.addrsOf(i, func(o *pod) bool { return r.allows(p.namespace, o) })
			for _, port := range r.Ports {
				if from != "" {
					fmt.Fprintf(b, "\t\t%[1]s daddr { %[2]s } %[1]s saddr { %[3]s } tcp dport %[4]d accept\n", fam, into, from, port.Port)
				}
			}
		}
		fmt.Fprintf(b, "\t\t%s daddr { %s } log group %d prefix \"%s%s\" drop\n", fam, into, logGroup, logPrefix, p.namespace+"/"+p.name)
	}
}

// addrsOf lists the addresses of one family of the pods that are wanted.
func (w *world) addrsOf(family int, want func(*pod) bool) string {
	var list []string
	for i := range w.pods {
		if want(&w.pods[i]) {
			list = append(list, w.pods[i].addrs[family].String())
		}
	}
	return strings.Join(list, ", ")
}

func (s *selector) app(p *pod) bool {
	app, ok := s.MatchLabels["app"]
	return !ok || app == p.app
}

func (r *policyRule) allows(namespace string, p *pod) bool {
	for _, f := range r.From {
		in := p.namespace == namespace
		if f.Namespaces != nil {
			name, ok := f.Namespaces.MatchLabels["kubernetes.io/metadata.name"]
			in = !ok || name == p.namespace
		}
		if in && (f.Pods == nil || f.Pods.app(p)) {
			return true
		}
	}
	return false
}

// dnat writes one rule a backend, each with its share of what the ones before leave.
func dnat(b *strings.Builder, s *service, match string, v4 bool) {
	fam, left := "ip6", 0
	if v4 {
		fam = "ip"
	}
	for _, ep := range s.backends {
		if ep.Addr().Is4() == v4 {
			left++
		}
	}
	for _, ep := range s.backends {
		if ep.Addr().Is4() != v4 {
			continue
		}
		share := ""
		if left > 1 {
			share = fmt.Sprintf(" numgen random mod %d == 0", left)
		}
		fmt.Fprintf(b, "\t\t%s%s dnat %s to %s\n", match, share, fam, ep)
		left--
	}
}
