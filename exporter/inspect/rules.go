package inspect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/weirnet/weir/exporter/coverage"
)

// rulesFor bounds the listing: a node with 100,000 rules must not hold up the rest.
const rulesFor = 2 * time.Second

// rules lists which tables use conntrack and which chains exempt packets from it.
func rules(f *coverage.Facts) {
	c, err := nftables.New()
	if err != nil {
		return
	}
	chains, err := c.ListChains()
	if err != nil {
		return
	}
	until := time.Now().Add(rulesFor)
	f.RulesKnown = true
	for _, ch := range chains {
		if time.Now().After(until) {
			f.RulesKnown = false
			break
		}
		list, err := c.GetRules(ch.Table, ch)
		if err != nil {
			f.RulesKnown = false
			continue
		}
		for _, r := range list {
			uses, exempts := ruleDoes(r.Exprs)
			if uses {
				f.Tracking = add(f.Tracking, familyWord(ch.Table.Family)+" "+ch.Table.Name)
				f.BridgeCT = f.BridgeCT || ch.Table.Family == nftables.TableFamilyBridge
			}
			if exempts {
				for v, other := range []nftables.TableFamily{coverage.V4: nftables.TableFamilyIPv6, coverage.V6: nftables.TableFamilyIPv4} {
					if ch.Table.Family != other {
						x := &f.Families[v]
						x.NoTrack = add(x.NoTrack, "chain "+familyWord(ch.Table.Family)+" "+ch.Table.Name+" "+ch.Name)
					}
				}
			}
		}
	}
	legacy(f)
}

func add(list []string, s string) []string {
	if slices.Contains(list, s) || len(list) >= 32 {
		return list
	}
	return append(list, s)
}

// ruleDoes says whether a rule makes the kernel track, and whether it exempts.
// Rules of iptables-nft come as xt matches and targets.
func ruleDoes(list []expr.Any) (uses, exempts bool) {
	for _, e := range list {
		switch x := e.(type) {
		case *expr.Ct, *expr.NAT, *expr.Masq, *expr.Redir:
			uses = true
		case *expr.Notrack:
			exempts = true
		case *expr.Match:
			uses = uses || slices.Contains([]string{"conntrack", "state", "connbytes", "connlimit", "connmark"}, x.Name)
		case *expr.Target:
			uses = uses || slices.Contains([]string{"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "CONNMARK"}, x.Name)
			exempts = exempts || x.Name == "NOTRACK" // CT --notrack is told by the trial alone
		}
	}
	return uses, exempts
}

func familyWord(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyBridge:
		return "bridge"
	case nftables.TableFamilyARP:
		return "arp"
	case nftables.TableFamilyNetdev:
		return "netdev"
	default:
		return "family"
	}
}

// legacy: the rules of the old iptables cannot be listed by netlink, only its tables.
func legacy(f *coverage.Facts) {
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err != nil || len(b) == 0 {
			continue
		}
		f.RulesKnown = false
		if slices.Contains(strings.Fields(string(b)), "nat") {
			f.Tracking = add(f.Tracking, strings.TrimSuffix(file, "_names")+" nat")
		}
	}
}

// pastNode are the CNI plugins whose pods do not send through the node's namespace.
var pastNode = []string{"macvlan", "ipvlan", "sriov", "host-device", "ib-sriov", "accelerated-bridge"}

// bypass reads which such plugins the container runtime uses: the first
// configuration by name is the one in effect.
func bypass(dir string) (plugins []string, file string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, ""
	}
	for _, e := range entries { // sorted by name
		if ext := filepath.Ext(e.Name()); ext != ".conf" && ext != ".conflist" && ext != ".json" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, ""
		}
		type plugin struct {
			Type string `json:"type"`
		}
		var c struct {
			plugin
			Plugins []plugin `json:"plugins"`
		}
		if json.Unmarshal(b, &c) != nil {
			return nil, ""
		}
		for _, p := range append(c.Plugins, c.plugin) {
			if slices.Contains(pastNode, p.Type) {
				plugins = append(plugins, p.Type)
			}
		}
		return plugins, path
	}
	return nil, ""
}
