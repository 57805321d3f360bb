package canary

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/exporter/coverage"
)

// TestTried: what the node's own agent booked is what coverage is about; a canary that
// may still come makes no no.
func TestTried(t *testing.T) {
	skipped := Skipped{Path: Path{Class: "host"}, Family: "v4", Why: "refused", Remedy: "listen"}
	for _, c := range []struct {
		name    string
		change  func(*Run, *run)
		afterMs int64
		want    coverage.Tried
		pending bool
	}{
		{"all is well", func(*Run, *run) {}, 3000, coverage.Tried{Canary: coverage.CanaryBooked}, false},
		{"not tracked", func(r *Run, _ *run) { r.Sent[0].Kernel, r.Sent[0].KernelWhy = nil, "nobody asks" }, 3000, coverage.Tried{
			Canary: coverage.CanaryMissing, Why: "tcp v4: no conntrack entry: nobody asks", Remedy: lookAtNode,
		}, false},
		{"not seen yet", func(_ *Run, g *run) { g.drop(&g.agent) }, 3000, coverage.Tried{
			Canary: coverage.CanaryMissing, Why: "tcp v4: the agent did not see it", Remedy: missingRemedy[StageConntrack],
		}, true},
		{"not seen", func(_ *Run, g *run) { g.drop(&g.agent) }, 40_000, coverage.Tried{
			Canary: coverage.CanaryMissing, Why: "tcp v4: the agent did not see it", Remedy: missingRemedy[StageConntrack],
		}, false},
		{"without counters", func(_ *Run, g *run) { g.mark(&g.agent, StageConntrack).Counted = false }, 40_000, coverage.Tried{
			Canary: coverage.CanaryWrong, Why: "tcp v4: it has no counters", Remedy: "sysctl net.netfilter.nf_conntrack_acct=1, or the agent's --enable-accounting",
		}, false},
		{"lost behind the agent", func(_ *Run, g *run) { g.drop(&g.agg); g.cut(&g.agent, StageSend) }, 40_000, coverage.Tried{Canary: coverage.CanaryBooked}, false},
		{"another way is not open", func(r *Run, _ *run) { r.Skipped = []Skipped{skipped} }, 3000, coverage.Tried{
			Canary: coverage.CanaryBooked, Why: "another was not opened: refused", Remedy: "listen",
		}, false},
		{"no way is open", func(r *Run, _ *run) { r.Sent, r.Skipped = nil, []Skipped{skipped} }, 3000, coverage.Tried{
			Canary: coverage.CanarySkipped, Why: "refused", Remedy: "listen",
		}, false},
	} {
		g := good()
		for i := range g.sent {
			g.sent[i].Class = "host"
		}
		r := Run{BeganMs: opened, WaitMs: 30_000, Sent: g.sent}
		c.change(&r, g)
		r.Agent = g.agent.View
		got, pending := r.Tried(opened + c.afterMs)
		c.want.Class, c.want.Family = "host", "v4"
		if diff := cmp.Diff([]coverage.Tried{c.want}, got); diff != "" || pending != c.pending {
			t.Errorf("%s: pending %v, want %v: %s", c.name, pending, c.pending, diff)
		}
	}
}
