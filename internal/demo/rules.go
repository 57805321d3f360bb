package demo

import (
	"fmt"
	"strings"
)

// fabricRules lose packets between the nodes, where no conntrack counts them:
// one in ten of the lossy shape, and every SYN-ACK of the half-open one.
func fabricRules() string {
	return fmt.Sprintf(`table bridge weir-demo {
	chain forward {
		type filter hook forward priority filter
		tcp dport %[1]d numgen random mod 10 == 0 drop
		tcp sport %[1]d numgen random mod 10 == 0 drop
		tcp sport %[2]d drop
	}
}
`, portLossy, portLostReply)
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
	}
}
`, portDropped, portRejected, portRejectRST, portDenied, logGroup, logPrefix)
	return b.String()
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
