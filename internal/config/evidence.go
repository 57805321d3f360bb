package config

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// DNS says whether DNS is watched. Packets are read in conntrack.netns.
type DNS struct {
	Enabled  bool          `json:"enabled" flag:"dns" doc:"read DNS messages on port 53 (UDP and TCP, no HTTPS or TLS), so that an outside address has the name that the client asked for; needs CAP_NET_RAW"`
	MaxNames int           `json:"maxNames" doc:"pairs of client and address that have a name at once; beyond that the longest unused goes, counted"`
	MaxFlows int           `json:"maxFlows" doc:"DNS connections remembered for their records; beyond that the longest unused goes, counted"`
	Grace    time.Duration `json:"grace" doc:"how long a name holds after its time to live: clients keep addresses longer"`
}

// Validate checks the bounds.
func (c *DNS) Validate() error {
	var errs []error
	if c.MaxNames < 1 {
		errs = append(errs, fmt.Errorf("maxNames: %d holds nothing: give at least 1", c.MaxNames))
	}
	if c.MaxFlows < 1 {
		errs = append(errs, fmt.Errorf("maxFlows: %d holds nothing: give at least 1", c.MaxFlows))
	}
	return errors.Join(append(errs, positive("grace", c.Grace))...)
}

// NFLOG says which logged packets are denials. Groups are read in conntrack.netns.
type NFLOG struct {
	Enabled  bool          `json:"enabled" doc:"read the groups below; needs CAP_NET_ADMIN, and that nobody else reads them"`
	Prefixes []NFLOGPrefix `json:"prefixes" doc:"what the prefixes mean that the rules log; the longest that fits counts, the rest is counted and left out"`
}

// NFLOGPrefix is what one prefix means.
type NFLOGPrefix struct {
	Group  uint16 `json:"group" doc:"NFLOG group of the rule ('log group 5', '--nflog-group 5')"`
	Prefix string `json:"prefix" doc:"beginning of the logged prefix; empty for every one of the group"`
	Action string `json:"action" doc:"what the rule does with the packet: drop or reject"`
	Names  string `json:"names" doc:"what the rest of the prefix names: rule, policy, policy-rule (with a blank or bar between) or nothing"`
}

// SetDefaults gives the values of keys that an entry leaves out.
func (p *NFLOGPrefix) SetDefaults() { p.Action, p.Names = "drop", "rule" }

// NFLOGNames are the words of names.
var NFLOGNames = []string{"rule", "policy", "policy-rule", "nothing"}

// Validate checks that something is named.
func (c *NFLOG) Validate() error {
	if c.Enabled && len(c.Prefixes) == 0 {
		return errors.New("prefixes: nflog is enabled and no prefix is given, so nothing would be read: give {group: 5, prefix: \"DENY:\"}")
	}
	var errs []error
	for i, p := range c.Prefixes {
		if p.Action != "drop" && p.Action != "reject" {
			errs = append(errs, fmt.Errorf("prefixes[%d].action: %q denies nothing: use drop or reject", i, p.Action))
		}
		if !slices.Contains(NFLOGNames, p.Names) {
			errs = append(errs, fmt.Errorf("prefixes[%d].names: %q is unknown: use rule, policy, policy-rule or nothing", i, p.Names))
		}
		for j, q := range c.Prefixes[:i] {
			if p.Group == q.Group && p.Prefix == q.Prefix {
				errs = append(errs, fmt.Errorf("prefixes[%d]: group %d with prefix %q is prefixes[%d] already: remove one", i, p.Group, p.Prefix, j))
			}
		}
	}
	return errors.Join(errs...)
}

// ICMP says whether ICMP errors are read. Packets are read in conntrack.netns.
type ICMP struct {
	Enabled bool `json:"enabled" flag:"icmp" doc:"read ICMP errors (unreachable, too big, time exceeded); needs CAP_NET_RAW"`
}

// Resets says whether TCP segments with RST are read. Packets are read in conntrack.netns.
type Resets struct {
	Enabled bool `json:"enabled" flag:"resets" doc:"read TCP segments with RST, so that a record says which end reset its connection; needs CAP_NET_RAW"`
}
