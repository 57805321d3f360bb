package coverage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/exporter/pressure"
)

// Seen says whether traffic of a class is observed.
type Seen uint8

// The words, worst last.
const (
	SeenYes     Seen = iota // every connection, with its bytes
	SeenAbsent              // the node has no such traffic
	SeenPartly              // some of it, or without numbers
	SeenUnknown             // nobody can tell from here
	SeenNo                  // none of it
)

// SeenWords names them.
var SeenWords = [...]string{"yes", "absent", "partly", "unknown", "no"}

func (s Seen) String() string { return SeenWords[s] }

// MarshalText gives the word.
func (s Seen) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word.
func (s *Seen) UnmarshalText(b []byte) error {
	i := slices.Index(SeenWords[:], string(b))
	if i < 0 {
		return fmt.Errorf("seen: %q is unknown: use %s", b, strings.Join(SeenWords[:], ", "))
	}
	*s = Seen(i)
	return nil
}

// Row is the answer for one class of traffic.
type Row struct {
	Class  string `json:"class"`
	Family string `json:"family"`
	Seen   Seen   `json:"seen"`
	Why    string `json:"why,omitempty"`    // empty for yes, unless only a canary says so
	Remedy string `json:"remedy,omitempty"` // what to do
	// Inspected is what inspection alone says, and Canary what trying showed.
	Inspected Seen   `json:"inspected"`
	Canary    Canary `json:"canary"`
	CanaryWhy string `json:"canary_why,omitempty"` // unless it was booked
}

// Table is the coverage of one node.
type Table struct {
	Node     string     `json:"node"`
	Rows     []Row      `json:"rows"`
	Evidence []Evidence `json:"evidence,omitempty"`
	// Pressure is that of the conntrack table; nil where there is none to read.
	Pressure *pressure.State `json:"pressure,omitempty"`
}

// reason is one thing that stands in the way.
type reason struct {
	seen        Seen
	why, remedy string
}

// Decide gives the table of a node.
func Decide(f *Facts) Table {
	t := Table{Node: f.Node, Evidence: f.Evidence}
	for c := range numClasses {
		for v := range numFamilies {
			t.Rows = append(t.Rows, row(f, c, v))
		}
	}
	return t
}

// row takes the worst of all reasons. Reasons of the same weight stand together.
func row(f *Facts, c Class, v Family) Row {
	r := Row{Class: c.String(), Family: v.String()}
	var why, remedy []string
	for _, x := range reasons(f, c, v) {
		switch {
		case x.seen < r.Seen:
			continue
		case x.seen > r.Seen:
			r.Seen, why, remedy = x.seen, nil, nil
		}
		why = append(why, x.why)
		if x.remedy != "" && !slices.Contains(remedy, x.remedy) {
			remedy = append(remedy, x.remedy)
		}
	}
	r.Why, r.Remedy, r.Inspected = strings.Join(why, "; "), strings.Join(remedy, "; "), r.Seen
	return r
}

func reasons(f *Facts, c Class, v Family) []reason {
	if f.Denied != "" {
		return []reason{{SeenNo, f.Denied, "run the agent as root, or with " + strings.Join(need(f), " and ")}}
	}
	if f.Families[v].Present == No {
		return []reason{{SeenAbsent, "this namespace has no " + ipWord[v] + " address", ""}}
	}
	if f.Source == "replay" {
		return []reason{{SeenUnknown, "a recording is replayed: it says nothing about this node", ""}}
	}
	var out []reason
	if f.Source == "ovs" {
		out = append(out, reason{SeenPartly, "vswitchd's own conntrack keeps no counters: connections have no bytes", "use the kernel datapath of Open vSwitch where bytes matter"})
	} else {
		out = append(out, tracked(f, v)...)
		out = append(out, numbers(f, v)...)
		out = append(out, path(f, c, v)...)
	}
	return append(out, room(f)...)
}

var ipWord = [...]string{"IPv4", "IPv6"}

func need(f *Facts) []string {
	if len(f.Missing) == 0 {
		return []string{"CAP_NET_ADMIN"}
	}
	return f.Missing
}

// tracked: a namespace in which no rule asks for conntrack tracks nothing.
func tracked(f *Facts, v Family) []reason {
	x := &f.Families[v]
	fix := trackRemedy[v]
	switch {
	case x.Tracked == No && len(f.Tracking) == 0 && f.RulesKnown:
		return []reason{{SeenNo, "no rule of this namespace uses conntrack, so its kernel tracks no " + ipWord[v] + " connection", fix}}
	case x.Tracked == No && len(x.NoTrack) > 0:
		return []reason{{SeenNo, "a connection opened on purpose had no entry: " + strings.Join(x.NoTrack, ", ") + " exempts packets from tracking", "remove the notrack rule, or narrow it"}}
	case x.Tracked == No:
		return []reason{{SeenNo, "a connection opened on purpose had no entry: no rule asks for tracking of " + ipWord[v], fix}}
	case x.Tracked == Unknown:
		return []reason{{SeenUnknown, "whether this namespace tracks " + ipWord[v] + " could not be tried: " + orElse(x.Why, "nobody looked"), "run weirctl check node as root in the node's network namespace"}}
	case len(x.NoTrack) > 0:
		return []reason{{SeenPartly, strings.Join(x.NoTrack, ", ") + " exempts packets from tracking: what it matches is not seen", "remove the notrack rule, or narrow it"}}
	}
	return nil
}

var trackRemedy = [...]string{
	"nft 'add table ip weir_track; add chain ip weir_track pre { type filter hook prerouting priority 0; }; add rule ip weir_track pre ct state new counter' (kube-proxy and most firewalls have such a rule)",
	"nft 'add table ip6 weir_track; add chain ip6 weir_track pre { type filter hook prerouting priority 0; }; add rule ip6 weir_track pre ct state new counter' (kube-proxy and most firewalls have such a rule)",
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// numbers: what is seen without bytes, or not if it is short.
func numbers(f *Facts, v Family) []reason {
	var out []reason
	if !f.Accounting || f.Families[v].Counters == No {
		out = append(out, reason{SeenPartly, "the kernel counts no bytes", "sysctl net.netfilter.nf_conntrack_acct=1, or --enable-accounting"})
	}
	if f.Events == 0 {
		out = append(out, reason{SeenPartly, "the kernel tells no ends: connections that live between two reads are missed", "sysctl net.netfilter.nf_conntrack_events=2"})
	}
	if !f.Timestamps {
		out = append(out, reason{SeenPartly, "the kernel keeps no start times: they are as of the first sight", "sysctl net.netfilter.nf_conntrack_timestamp=1, or --enable-accounting"})
	}
	if len(f.Zones) > 0 {
		out = append(out, reason{SeenPartly, fmt.Sprintf("only conntrack zones %s are read", zones(f.Zones)), "leave conntrack.zones empty to read all"})
	}
	return out
}

func zones(list []uint16) string {
	var s []string
	for _, z := range list {
		s = append(s, fmt.Sprint(z))
	}
	return strings.Join(s, ", ")
}

// path: pods' packets that do not pass the place where conntrack looks.
func path(f *Facts, c Class, v Family) []reason {
	var out []reason
	pods := c != Host
	if pods && len(f.Bypass) > 0 {
		out = append(out, reason{SeenNo, fmt.Sprintf("pods are attached by %s (%s): their packets do not pass this namespace", strings.Join(f.Bypass, ", "), f.BypassFrom), "observe in the pods' namespaces (--netns), or attach them by bridge or ptp"})
	}
	if pods && len(f.EBPF) > 0 {
		out = append(out, reason{SeenUnknown, "eBPF programs may forward pods' packets past netfilter: " + short(f.EBPF), "run weirctl verify from a pod; with Cilium, bpf.hostLegacyRouting=true sends packets through netfilter"})
	}
	if pods && f.OVS && !f.OVSZones {
		out = append(out, reason{SeenUnknown, "Open vSwitch forwards pods' packets: they are tracked only where its flows have a ct action, and no zone has an entry", "check the bridge's flows for ct(commit), or run weirctl verify from a pod"})
	}
	if c == SameNode && len(f.Bridges) > 0 && !f.BridgeNF[v] && !f.BridgeCT {
		b := f.Bridges[0]
		out = append(out, reason{
			SeenNo, fmt.Sprintf("pods of %s (%d ports) reach each other through the bridge, which conntrack does not see", b.Name, b.Ports),
			fmt.Sprintf("modprobe br_netfilter; sysctl net.bridge.bridge-nf-call-%s=1", [...]string{"iptables", "ip6tables"}[v]),
		})
	}
	return out
}

func short(list []string) string {
	if len(list) <= 3 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
}

// room: a table that is full drops connections before anybody sees them.
func room(f *Facts) []reason {
	var out []reason
	const fix = "raise net.netfilter.nf_conntrack_max"
	if f.Dropped > 0 {
		out = append(out, reason{SeenPartly, fmt.Sprintf("the table was full: packets of new connections were dropped (%d)", f.Dropped), fix})
	}
	if f.EarlyDropped > 0 {
		out = append(out, reason{SeenPartly, fmt.Sprintf("the kernel threw out entries to make room (%d)", f.EarlyDropped), fix})
	}
	if f.Max > 0 && f.Count*10 >= f.Max*9 {
		out = append(out, reason{SeenPartly, fmt.Sprintf("the conntrack table is nearly full: %d of %d entries", f.Count, f.Max), fix})
	}
	if f.InsertFailed > 0 {
		out = append(out, reason{SeenPartly, fmt.Sprintf("entries lost the race for a tuple (%d): their packets were dropped", f.InsertFailed), "look for many clients that share one source port (SNAT)"})
	}
	return out
}

// Summary says in one line what is not seen, for the foot of every total. Nodes is
// how many nodes should report; full, of how many nothing is missing altogether.
func Summary(tables []Table, nodes int) (line string, full int) {
	var gaps []string
	for i := range tables {
		g := gapsOf(&tables[i])
		if len(g) == 0 {
			full++
		}
		gaps = append(gaps, g...)
	}
	s := fmt.Sprintf("coverage: %d of %d nodes", full, max(nodes, len(tables)))
	if len(gaps) > 0 {
		s += ", " + short(gaps)
	}
	switch silent := nodes - len(tables); {
	case silent == 1:
		s += "; 1 node does not report"
	case silent > 1:
		s += fmt.Sprintf("; %d nodes do not report", silent)
	}
	return s, full
}

// gapsOf names what a node does not see, one text for each reason.
func gapsOf(t *Table) []string {
	type gap struct {
		seen  Seen
		why   string
		names []string
	}
	var list []gap
	for _, r := range t.Rows {
		if r.Seen <= SeenPartly {
			continue
		}
		i := slices.IndexFunc(list, func(g gap) bool { return g.seen == r.Seen && g.why == r.Why })
		if i < 0 {
			i = len(list)
			list = append(list, gap{r.Seen, r.Why, nil})
		}
		list[i].names = append(list[i].names, r.Class+" "+r.Family)
	}
	var out []string
	for _, g := range list {
		what := strings.Join(g.names, ", ")
		if _, family, _ := strings.Cut(g.names[0], " "); len(g.names) == int(numClasses) {
			what = "all " + family
		}
		state := "not seen"
		if g.seen == SeenUnknown {
			state = "unknown"
		}
		out = append(out, fmt.Sprintf("%s on %s %s: %s", what, t.Node, state, g.why))
	}
	return out
}
