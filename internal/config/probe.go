package config

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Probe says how often the agent opens canary connections by itself. They are opened
// in conntrack.netns.
type Probe struct {
	Interval  time.Duration `json:"interval" flag:"probe-interval" doc:"time between two runs, of four connections a family from this node to itself, and three on each way beyond it that is known; 0 for none, 5m is often enough"`
	Wait      time.Duration `json:"wait" doc:"how long canaries may take to every hop, the slowest sink with its batchAge included, before the first that lacks one is named"`
	Listen    bool          `json:"listen" doc:"answer the canaries of other nodes, at ports 61996 (TCP) and 61997 (UDP) of this node's addresses and of its canary pods'; only those of nodes and canary pods that the source of names knows, or of peers, and only with interval set"`
	Peers     []string      `json:"peers" doc:"addresses of other nodes whose agents answer canaries; empty for the nodes that the source of names knows"`
	Namespace string        `json:"namespace" doc:"namespace whose pods are ends of canaries, two a node for traffic within it; the agent opens and answers them in the pods' network namespaces (found by sockets.netns; needs CAP_SYS_ADMIN); empty for none"`
	External  []string      `json:"external" doc:"IP:port of servers outside the cluster to which canary pods connect, and say nothing"`
	Addresses []string      `json:"addresses" doc:"addresses of this node, one a family; empty for the first of each that is neither loopback nor link-local"`
}

// Validate checks times and addresses.
func (c *Probe) Validate() error {
	var errs []error
	if c.Wait < time.Second {
		errs = append(errs, fmt.Errorf("wait: within %s no canary comes to every hop: write a duration like 30s", c.Wait))
	}
	switch {
	case c.Interval < 0:
		errs = append(errs, fmt.Errorf("interval: %s is no time to wait: write a duration like 5m, or 0 for none", c.Interval))
	case c.Interval > 0 && c.Interval < c.Wait:
		errs = append(errs, fmt.Errorf("interval: the next run after %s would begin before the one before is judged: give at least wait (%s)", c.Interval, c.Wait))
	}
	if c.Interval == 0 && (len(c.Peers) > 0 || c.Namespace != "" || len(c.External) > 0) {
		errs = append(errs, errors.New("interval: peers, namespace and external are of no use without runs: set an interval like 5m"))
	}
	if len(c.External) > 0 && c.Namespace == "" {
		errs = append(errs, errors.New("external: canaries go there from pods: set namespace"))
	}
	_, _, err := c.Far()
	errs = append(errs, err)
	_, err = c.Parsed()
	return errors.Join(append(errs, err)...)
}

// Far gives the addresses of peers, and of servers outside.
func (c *Probe) Far() (peers []netip.Addr, external []netip.AddrPort, err error) {
	for i, s := range c.Peers {
		a, err := address(s)
		if err != nil {
			return nil, nil, fmt.Errorf("peers[%d]: %w", i, err)
		}
		peers = append(peers, a)
	}
	for i, s := range c.External {
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Port() == 0 || a.Addr().Is4In6() || a.Addr().Zone() != "" {
			return nil, nil, fmt.Errorf("external[%d]: %q is no IP:port: write it like 192.0.2.1:443 or [2001:db8::1]:443", i, s)
		}
		external = append(external, a)
	}
	return peers, external, nil
}

func address(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is4In6() || a.Zone() != "" {
		return a, fmt.Errorf("%q is no IP address: write it like 10.0.0.1 or fd00::1", s)
	}
	return a, nil
}

// Parsed gives the addresses.
func (c *Probe) Parsed() ([]netip.Addr, error) {
	var out []netip.Addr
	var have [2]bool
	for i, s := range c.Addresses {
		a, err := address(s)
		if err != nil {
			return nil, fmt.Errorf("addresses[%d]: %w", i, err)
		}
		family := a.BitLen() / 128
		if have[family] {
			return nil, fmt.Errorf("addresses[%d]: %s is the second of its family: remove one", i, a)
		}
		have[family] = true
		out = append(out, a)
	}
	return out, nil
}
