package demo

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Addresses of the world that no manifest has.
const (
	fabricV4, fabricV6   = "198.18.0.1", "fd77::1"          // RFC 2544: nobody routes it
	outsideV4, outsideV6 = "203.0.113.1", "2001:db8:f00::1" // the fabric towards outside
	hostV4, hostPeerV4   = "198.18.255.1", "198.18.255.2"   // the machine and the fabric
	gatewayV4            = "169.254.1.1"                    // what a pod sees of its node
	gatewayV6            = "fe80::1"
	nodesV4              = "198.18.0.0/24"
)

// forwarding is what makes a namespace a router.
func forwarding() map[string]string {
	return map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}
}

// nodeSysctls make a namespace a node: a router whose conntrack keeps counters
// and timestamps, with the timeouts of dead connections short enough for their
// outcome to show within a minute.
func nodeSysctls() map[string]string {
	m := forwarding()
	for k, v := range map[string]string{
		"acct": "1", "timestamp": "1",
		"udp_timeout": "10", "udp_timeout_stream": "15", "icmp_timeout": "5", "icmpv6_timeout": "5",
		"tcp_timeout_syn_sent": "8", "tcp_timeout_syn_recv": "8", "tcp_timeout_established": "15",
		"tcp_timeout_time_wait": "5", "tcp_timeout_fin_wait": "8", "tcp_timeout_close_wait": "8", "tcp_timeout_last_ack": "8", "tcp_timeout_close": "5",
	} {
		m["netfilter/nf_conntrack_"+k] = v
	}
	return m
}

// build brings the world up. It expects nothing of the demo's to exist.
func build(w *world) error {
	fabric, err := newSpace("fabric", forwarding())
	if err != nil {
		return err
	}
	defer fabric.close()
	if err := buildFabric(fabric); err != nil {
		return err
	}
	nodes := map[string]*space{}
	for i := range w.nodes {
		s, err := buildNode(fabric, w, &w.nodes[i])
		if err != nil {
			return err
		}
		defer s.close()
		nodes[w.nodes[i].name] = s
	}
	for i := range w.pods {
		if w.pods[i].host {
			continue
		}
		if err := buildPod(nodes[w.pods[i].node], &w.pods[i], i); err != nil {
			return err
		}
	}
	return nil
}

func buildFabric(fabric *space) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	if err := fabric.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("make the fabric's bridge: %w", err)
	}
	if err := fabric.up("br0"); err != nil {
		return err
	}
	if err := fabric.addr("br0", fabricV4+"/24", fabricV6+"/64"); err != nil {
		return err
	}
	out, err := newSpace("outside", nil)
	if err != nil {
		return err
	}
	defer out.close()
	if err := out.veth("eth0", fabric, "outside"); err != nil {
		return err
	}
	if err := fabric.addr("outside", outsideV4+"/24", outsideV6+"/64"); err != nil {
		return err
	}
	for i, a := range outsideAddrs() {
		if err := out.addr("eth0", netip.PrefixFrom(a, []int{24, 64}[i]).String()); err != nil {
			return err
		}
	}
	if err := out.defaults("eth0", outsideV4, outsideV6); err != nil {
		return err
	}
	if err := joinHost(fabric); err != nil {
		return err
	}
	return nft(fabric.name, fabricRules(false))
}

// joinHost gives the machine's own namespace one link into the fabric, so that
// the aggregator runs where the person is.
func joinHost(fabric *space) error {
	own, err := netns.Get()
	if err != nil {
		return err
	}
	nl, err := netlink.NewHandleAt(own)
	if err != nil {
		return errors.Join(err, own.Close())
	}
	host := &space{name: "this machine", fd: own, nl: nl}
	defer host.close()
	if err := host.veth(hostLink, fabric, "host"); err != nil {
		return err
	}
	if err := host.addr(hostLink, hostV4+"/30"); err != nil {
		return err
	}
	if err := fabric.addr("host", hostPeerV4+"/30"); err != nil {
		return err
	}
	return host.route(hostLink, nodesV4, hostPeerV4)
}

// defaults adds the default routes of both families.
func (s *space) defaults(link, v4, v6 string) error {
	if err := s.route(link, "0.0.0.0/0", v4); err != nil {
		return err
	}
	return s.route(link, "::/0", v6)
}

func buildNode(fabric *space, w *world, n *node) (*space, error) {
	s, err := newSpace(n.name, nodeSysctls())
	if err != nil {
		return nil, err
	}
	port := "x-" + n.name
	if err := s.veth("eth0", fabric, port); err != nil {
		return nil, err
	}
	br, err := fabric.nl.LinkByName("br0")
	if err != nil {
		return nil, err
	}
	l, err := fabric.nl.LinkByName(port)
	if err != nil {
		return nil, err
	}
	if err := fabric.nl.LinkSetMaster(l, br); err != nil {
		return nil, fmt.Errorf("put %s on the fabric: %w", n.name, err)
	}
	if err := s.addr("eth0", n.addrs[0].String()+"/24", n.addrs[1].String()+"/64"); err != nil {
		return nil, err
	}
	if err := s.defaults("eth0", fabricV4, fabricV6); err != nil {
		return nil, err
	}
	for i := range w.nodes {
		o := &w.nodes[i]
		for f := range o.podCIDRs {
			if o.name == n.name {
				continue
			}
			if err := s.route("eth0", o.podCIDRs[f].String(), o.addrs[f].String()); err != nil {
				return nil, err
			}
		}
	}
	return s, nft(s.name, nodeRules(w, n))
}

// buildPod puts a pod behind its node: a routed pair of links, no bridge, so that
// traffic between two pods of one node passes the node's conntrack too.
func buildPod(n *space, p *pod, index int) error {
	s, err := newSpace(p.name, nil)
	if err != nil {
		return err
	}
	defer s.close()
	link := fmt.Sprintf("pod%d", index)
	if err := s.veth("eth0", n, link); err != nil {
		return err
	}
	if err := n.addr(link, gatewayV4+"/32", gatewayV6+"/64"); err != nil {
		return err
	}
	for _, a := range p.addrs {
		host := netip.PrefixFrom(a, a.BitLen()).String()
		if err := s.addr("eth0", host); err != nil {
			return err
		}
		if err := n.route(link, host, ""); err != nil {
			return err
		}
	}
	return s.defaults("eth0", gatewayV4, gatewayV6)
}

// nft loads rules in a namespace.
func nft(space, rules string) error {
	path, err := exec.LookPath("nft")
	if err != nil {
		path = "/usr/sbin/nft"
	}
	return inSpace(space, func() error {
		cmd := exec.Command(path, "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft in %s: %w: %s", space, err, strings.TrimSpace(string(out)))
		}
		return nil
	})
}
