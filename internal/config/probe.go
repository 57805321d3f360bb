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
	Interval  time.Duration `json:"interval" flag:"probe-interval" doc:"time between two runs, of four connections a family from this node to itself; 0 for none, 5m is often enough"`
	Wait      time.Duration `json:"wait" doc:"how long canaries may take to every hop, the slowest sink with its batchAge included, before the first that lacks one is named"`
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
	_, err := c.Parsed()
	return errors.Join(append(errs, err)...)
}

// Parsed gives the addresses.
func (c *Probe) Parsed() ([]netip.Addr, error) {
	var out []netip.Addr
	var have [2]bool
	for i, s := range c.Addresses {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Is4In6() || a.Zone() != "" {
			return nil, fmt.Errorf("addresses[%d]: %q is no IP address: write it like 10.0.0.1 or fd00::1", i, s)
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
