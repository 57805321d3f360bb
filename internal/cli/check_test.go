package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/canary"
)

// golden compares with a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it): %s", path, diff)
	}
}

func facts(node string) coverage.Facts {
	f := coverage.Facts{Node: node, Source: "kernel", Accounting: true, Timestamps: true, Events: 2, Count: 120, Max: 262144, RulesKnown: true, Tracking: []string{"ip kube-proxy"}}
	for v := range f.Families {
		f.Families[v] = coverage.FamilyFacts{Present: coverage.Yes, Tracked: coverage.Yes, Counters: coverage.Yes}
	}
	f.Evidence = []coverage.Evidence{
		{Name: "conntrack", On: true, Why: "entries and their ends"},
		{Name: "nflog", Why: "no group is configured", Remedy: "set nflog.group"},
	}
	return f
}

func TestCoverageText(t *testing.T) {
	a, b, c := facts("node-1"), facts("node-2"), facts("node-3")
	b.Bridges = []coverage.Bridge{{Name: "cni0", Ports: 14}}
	b.Accounting = false
	c.Families[coverage.V6].Present = coverage.No
	c.Families[coverage.V4].Tracked, c.Tracking, c.Evidence = coverage.No, nil, nil
	tables := []coverage.Table{coverage.Decide(&a), coverage.Decide(&b), coverage.Decide(&c)}
	tables[1].Try([]coverage.Tried{
		{Class: "host", Family: "v4", Canary: coverage.CanaryBooked},
		{Class: "cross-node", Family: "v4", Canary: coverage.CanaryMissing, Why: "udp v4 cross-node to shop/b\x1b[2J: the agent did not see it", Remedy: "look at events"},
		{Class: "external", Family: "v6", Canary: coverage.CanarySkipped, Why: "connection refused"},
	})
	tables[0].Pressure = &pressure.State{
		Count: 1200, Max: 262144, Known: true, GrowthPerSecond: 12.34, FullInMs: 21_142_000, Drops: 1, EarlyDrops: 2, InsertFailed: 3, WindowMs: 60_000,
		Clients: []pressure.Owner{{Name: "shop/cart", Entries: 900}, {Name: pressure.Others, Entries: 300}}, Servers: []pressure.Owner{{Name: "shop/db\x1b[31m", Entries: 1200}},
	}
	tables[2].Pressure = &pressure.State{Count: 5, Max: 100, FullInMs: -1}
	golden(t, "check-node-one.golden", coverageText(tables[:1]))
	golden(t, "check-nodes.golden", coverageText(tables))
}

func TestVerdictText(t *testing.T) {
	n := canary.Numbers{Packets: 6, Bytes: 1100, RevPackets: 5, RevBytes: 1050}
	sent := []canary.Sent{
		{Kind: canary.TCP, Family: "v4", Key: "tcp 10.0.0.1:40000>10.0.0.1:61980", OpenedMs: 1000, Payload: 777, Kernel: &n, Ended: true},
		{Kind: canary.Refused, Family: "v6", Key: "tcp [fd00::1]:40000>[fd00::1]:61982", OpenedMs: 1000, Ended: true},
	}
	mark := func(stage, outcome string) canary.Mark {
		return canary.Mark{Stage: stage, Counted: true, Total: n, Deltas: n, Outcome: outcome}
	}
	var agent, agg canary.Asked
	agent.AtMs, agg.AtMs = 2000, 2000
	agent.View = canary.View{NowMs: 2000, Connected: true}
	agg.View = canary.View{NowMs: 2000, Sinks: []canary.SinkView{{Name: "file"}, {Name: "other"}}}
	for i, s := range sent {
		o := [...]string{"ok", "refused"}[i]
		agent.View.Traces = append(agent.View.Traces, canary.Trace{Key: s.Key, Marks: []canary.Mark{mark("conntrack", ""), mark("track", o), mark("send", o)}})
		agg.View.Traces = append(agg.View.Traces, canary.Trace{Key: s.Key, Marks: []canary.Mark{mark("collect", o), mark("correlate", o), mark("live", o), mark("sink/file", o), mark("sink/other", o)}})
	}
	text := func() string {
		v := canary.Judge(sent, &agent, &agg)
		return verdictText(&v, 2345*time.Millisecond)
	}
	golden(t, "verify-good.golden", text())
	sent[1].Path = canary.Path{Class: "cross-node", Src: "shop/a", SrcNode: "node-1", Dst: "shop/b\x1b[2J", DstNode: "node-2"}
	v := canary.Judge(sent, &agent, &agg)
	v.Skipped = []canary.Skipped{{Path: canary.Path{Class: "external"}, Family: "v6", Why: "tcp from fd00::1 to [2001:db8::1]:443: connection refused", Remedy: "does it accept?"}}
	golden(t, "verify-ways.golden", verdictText(&v, time.Second))
	sent[1].Path = canary.Path{}
	agg.View.Sinks[0].Error = "no space left on device\x1b[2J"
	agg.View.Traces[1].Marks = agg.View.Traces[1].Marks[:3]
	golden(t, "verify-broken.golden", text())
}

func TestVerifyLast(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	golden(t, "verify-last-none.golden", lastText(nil, now))
	golden(t, "verify-last.golden", lastText([]canary.NodeRuns{
		{Node: "node-1", Result: canary.ResultOK, LastOKMs: now.UnixMilli() - 72_400, IntervalMs: 300_000, Runs: canary.Counts{OK: 12}, Verdict: &canary.Verdict{}},
		{Node: "node-2\x1b[2J", Result: canary.ResultFailed, IntervalMs: 300_000, Runs: canary.Counts{Failed: 3}, Verdict: &canary.Verdict{Broken: canary.StageConntrack, Why: "tcp v4: the agent did not see it", Remedy: "look at events"}},
		{Node: "node-3", Result: canary.ResultOverdue, LastOKMs: now.UnixMilli() - 9_000_000, IntervalMs: 60_000, Runs: canary.Counts{OK: 5, Overdue: 1}, Verdict: &canary.Verdict{Broken: canary.HopAgent, Why: "it has told nothing for 8900 s", Remedy: "is it running?"}},
		{Node: "node-4", Result: canary.ResultNone, Pending: true, IntervalMs: 300_000},
	}, now))
}
