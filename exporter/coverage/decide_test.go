package coverage

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/exporter/pressure"
)

// good is a node on which everything is seen.
func good() Facts {
	both := FamilyFacts{Present: Yes, Tracked: Yes, Counters: Yes}
	return Facts{
		Node: "node-1", Source: "kernel", Accounting: true, Timestamps: true, Events: 2, Count: 10, Max: 1000,
		Families: [numFamilies]FamilyFacts{both, both}, RulesKnown: true, Tracking: []string{"ip kube-proxy"},
	}
}

// TestDecide changes one fact of a good node; every row that is not named stays as
// it was. Rows are class/family patterns, * is any.
func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Facts)
		rows   string // patterns
		seen   Seen
		why    string
		remedy string
	}{
		{"good", func(*Facts) {}, "", SeenYes, "", ""},
		{"no capability", func(f *Facts) { f.Denied, f.Missing = "EPERM", []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN"} }, "*/*", SeenNo, "EPERM", "CAP_NET_ADMIN and CAP_SYS_ADMIN"},
		{"denied otherwise", func(f *Facts) { f.Denied = "no such file" }, "*/*", SeenNo, "no such file", "CAP_NET_ADMIN"},
		{"no IPv6", func(f *Facts) { f.Families[V6] = FamilyFacts{Present: No} }, "*/v6", SeenAbsent, "no IPv6 address", ""},
		{"replay", func(f *Facts) { f.Source = "replay" }, "*/*", SeenUnknown, "recording", ""},
		{"ovs userspace", func(f *Facts) { f.Source = "ovs" }, "*/*", SeenPartly, "no counters", "kernel datapath"},
		{"no rule", func(f *Facts) { f.Families[V4].Tracked, f.Tracking = No, nil }, "*/v4", SeenNo, "no rule of this namespace uses conntrack", "nft 'add table ip "},
		{"rules not listed", func(f *Facts) { f.Families[V6].Tracked, f.Tracking, f.RulesKnown = No, nil, false }, "*/v6", SeenNo, "no rule asks for tracking of IPv6", "nft 'add table ip6 "},
		{"all exempt", func(f *Facts) { f.Families[V4].Tracked, f.Families[V4].NoTrack = No, []string{"chain ip raw out"} }, "*/v4", SeenNo, "chain ip raw out exempts", "notrack"},
		{"some exempt", func(f *Facts) { f.Families[V6].NoTrack = []string{"chain inet raw pre"} }, "*/v6", SeenPartly, "chain inet raw pre exempts", "narrow it"},
		{"not tried", func(f *Facts) { f.Families[V4].Tracked, f.Families[V4].Why = Unknown, "lo is down" }, "*/v4", SeenUnknown, "lo is down", "weirctl check node"},
		{"no accounting", func(f *Facts) { f.Accounting = false }, "*/*", SeenPartly, "counts no bytes", "nf_conntrack_acct=1"},
		{"counters only on paper", func(f *Facts) { f.Families[V4].Counters = No }, "*/v4", SeenPartly, "counts no bytes", ""},
		{"no events", func(f *Facts) { f.Events = 0 }, "*/*", SeenPartly, "between two reads", "nf_conntrack_events=2"},
		{"no timestamps", func(f *Facts) { f.Timestamps = false }, "*/*", SeenPartly, "start times", "nf_conntrack_timestamp=1"},
		{"zones", func(f *Facts) { f.Zones = []uint16{7, 9} }, "*/*", SeenPartly, "only conntrack zones 7, 9", "conntrack.zones"},
		{"bridge", func(f *Facts) { f.Bridges = []Bridge{{"cni0", 12}} }, "same-node/*", SeenNo, "cni0 (12 ports)", "br_netfilter"},
		{"bridge, v4 passed on", func(f *Facts) { f.Bridges, f.BridgeNF[V4] = []Bridge{{"cni0", 1}}, true }, "same-node/v6", SeenNo, "bridge", "bridge-nf-call-ip6tables=1"},
		{"bridge conntrack", func(f *Facts) { f.Bridges, f.BridgeCT = []Bridge{{"cni0", 1}}, true }, "", SeenYes, "", ""},
		{"ebpf", func(f *Facts) { f.EBPF = []string{"a", "b", "c", "d", "e"} }, "same-node/* cross-node/* service/* external/*", SeenUnknown, "a, b, c and 2 more", "weirctl verify"},
		{"ovs kernel", func(f *Facts) { f.OVS = true }, "same-node/* cross-node/* service/* external/*", SeenUnknown, "ct action", "ct(commit)"},
		{"ovs kernel with entries", func(f *Facts) { f.OVS, f.OVSZones = true, true }, "", SeenYes, "", ""},
		{"macvlan", func(f *Facts) { f.Bypass, f.BypassFrom = []string{"macvlan"}, "10-a.conf" }, "same-node/* cross-node/* service/* external/*", SeenNo, "macvlan (10-a.conf)", "--netns"},
		{"full", func(f *Facts) { f.Count = 900 }, "*/*", SeenPartly, "nearly full: 900 of 1000", "nf_conntrack_max"},
		{"not yet full", func(f *Facts) { f.Count = 899 }, "", SeenYes, "", ""},
		{"drops", func(f *Facts) { f.Dropped = 3 }, "*/*", SeenPartly, "dropped (3)", "nf_conntrack_max"},
		{"early drops", func(f *Facts) { f.EarlyDropped = 4 }, "*/*", SeenPartly, "threw out entries to make room (4)", "nf_conntrack_max"},
		{"insert failures", func(f *Facts) { f.InsertFailed = 5 }, "*/*", SeenPartly, "race for a tuple (5)", "SNAT"},
		{"worst wins", func(f *Facts) { f.Accounting, f.Bridges = false, []Bridge{{"b", 1}} }, "same-node/*", SeenNo, "bridge", ""},
	} {
		f := good()
		c.change(&f)
		got := Decide(&f)
		if len(got.Rows) != int(numClasses)*int(numFamilies) {
			t.Fatalf("%s: %d rows", c.name, len(got.Rows))
		}
		for _, r := range got.Rows {
			named := false
			for p := range strings.FieldsSeq(c.rows) {
				class, family, _ := strings.Cut(p, "/")
				named = named || (class == "*" || class == r.Class) && (family == "*" || family == r.Family)
			}
			switch {
			case named && (r.Seen != c.seen || !strings.Contains(r.Why, c.why) || !strings.Contains(r.Remedy, c.remedy)):
				t.Errorf("%s: %s/%s is %s: %q, %q; want %s: %q, %q", c.name, r.Class, r.Family, r.Seen, r.Why, r.Remedy, c.seen, c.why, c.remedy)
			case !named && r.Seen != SeenYes && c.name != "worst wins":
				t.Errorf("%s: %s/%s is %s (%s), want yes", c.name, r.Class, r.Family, r.Seen, r.Why)
			case r.Seen == SeenYes && (r.Why != "" || r.Remedy != ""):
				t.Errorf("%s: %s/%s is seen and yet %q, %q", c.name, r.Class, r.Family, r.Why, r.Remedy)
			case r.Seen != SeenYes && r.Why == "":
				t.Errorf("%s: %s/%s is %s without a reason", c.name, r.Class, r.Family, r.Seen)
			}
		}
	}
}

func TestSummary(t *testing.T) {
	a, b := good(), good()
	b.Node, b.Bridges = "node-2", []Bridge{{"cni0", 2}}
	b.BridgeNF[V4] = true
	tables := []Table{Decide(&a), Decide(&b)}
	want := "coverage: 1 of 3 nodes, same-node v6 on node-2 not seen: pods of cni0 (2 ports) reach each other through the bridge, which conntrack does not see; 1 node does not report"
	if got, full := Summary(tables, 3); got != want || full != 1 {
		t.Errorf("%d full: %s", full, cmp.Diff(want, got))
	}
	if got, full := Summary(tables[:1], 0); got != "coverage: 1 of 1 nodes" || full != 1 {
		t.Errorf("%d full: %s", full, got)
	}
}

func TestTableAsJSON(t *testing.T) {
	f := good()
	f.Bridges = []Bridge{{"cni0", 2}}
	f.Evidence = []Evidence{{Name: "sockets", On: true}}
	want := Decide(&f)
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Table
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var s Seen
	if s.UnmarshalText([]byte("maybe")) == nil {
		t.Error("maybe is no answer")
	}
}

// TestFacts: a table comes back from its facts as it was, whatever their order.
func TestFacts(t *testing.T) {
	f := good()
	f.Bridges = []Bridge{{"cni0", 2}}
	f.Evidence = []Evidence{{Name: "dns", Why: "off by default", Remedy: "set dns.enabled"}, {Name: "sockets", On: true}}
	want := Decide(&f)
	want.Pressure = &pressure.State{
		AtMs: 17, Count: 5, Max: 100, Known: true, GrowthPerSecond: -1.25, FullInMs: -1, Drops: 1, EarlyDrops: 2, InsertFailed: 3, WindowMs: 60_000,
		Clients: []pressure.Owner{{Name: "a/b", Entries: 3}, {Name: pressure.Others, Entries: 2}}, Servers: []pressure.Owner{{Name: "c/d", Entries: 5}},
	}
	rows := want.Facts(1000)
	for range 5 {
		rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		if diff := cmp.Diff(want, FromFacts("node-1", rows)); diff != "" {
			t.Fatal(diff)
		}
	}
	want.Pressure = nil
	if diff := cmp.Diff(want, FromFacts("node-1", append(want.Facts(1), ipfix.FactRow{Topic: "coverage", Key: "moon/v4", State: "yes"}))); diff != "" {
		t.Error(diff)
	}
	bad := FromFacts("n", []ipfix.FactRow{{Topic: "coverage", Key: "host/v4", State: "perhaps"}})
	if len(bad.Rows) != 0 {
		t.Errorf("a state that is no word: %+v", bad)
	}
}
