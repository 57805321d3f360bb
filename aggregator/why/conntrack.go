package why

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

const nearlyFullPct = 80

// conntrackFull: a node could not track, and so dropped, new connections, or gave up
// entries of others; and connections of the pair failed.
func conntrackFull(f *Facts, m *mix) *Finding {
	if m.failed == 0 {
		return nil
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		was, t := tableChanges(f, n.Name, true), n.Table
		now := t != nil && t.Drops+t.EarlyDrops > 0 && failedWithin(f, f.ToMs-t.Window.Milliseconds()-slackMs, f.ToMs)
		if len(was) == 0 && !now {
			continue
		}
		x := &Finding{
			Cause: CauseConntrackFull, Claim: fmt.Sprintf("the conntrack table of node %s is full: new connections are dropped there", n.Name),
			Next: tableNext(n.Name),
		}
		switch {
		case !now:
			x.Claim = fmt.Sprintf("the conntrack table of node %s was full", n.Name)
		case t.Drops == 0:
			x.Claim = fmt.Sprintf("the conntrack table of node %s is full: entries are thrown out to make room", n.Name)
		}
		x.Evidence = append(tableEvidence(t), m.text(m.failed)+" failed: "+m.words())
		x.Evidence = append(x.Evidence, was...)
		return x
	}
	return nil
}

// conntrackNear: a table is full or nearly so, and explains nothing yet.
func conntrackNear(f *Facts, m *mix) *Finding {
	if conntrackFull(f, m) != nil {
		return nil
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Table == nil || n.Table.FillPct < nearlyFullPct && n.Table.Drops+n.Table.EarlyDrops == 0 {
			continue
		}
		return &Finding{
			Cause: CauseConntrackNear, Claim: fmt.Sprintf("the conntrack table of node %s is filled to %d %%: when it is full, new connections are dropped", n.Name, n.Table.FillPct),
			Evidence: append(tableEvidence(n.Table), tableChanges(f, n.Name, false)...), Next: tableNext(n.Name),
		}
	}
	return nil
}

func tableNext(node string) string {
	return "weirctl check node " + node + " names the pods that hold most entries; raise net.netfilter.nf_conntrack_max"
}

func tableEvidence(t *Table) (out []string) {
	if t == nil {
		return nil
	}
	out = append(out, fmt.Sprintf("the table is filled to %d %% now", t.FillPct))
	window := t.Window.Round(time.Second)
	if t.Drops > 0 {
		out = append(out, fmt.Sprintf("%d packets of new connections were dropped within the last %s", t.Drops, window))
	}
	if t.EarlyDrops > 0 {
		out = append(out, fmt.Sprintf("%d entries of others were thrown out to make room within the last %s", t.EarlyDrops, window))
	}
	return out
}

// slackMs is how far apart a failure and the word of a full table may lie: a table is told
// of every minute while it is full.
const slackMs = 60_000

// failedWithin says whether a connection that failed was alive then.
func failedWithin(f *Facts, fromMs, toMs int64) bool {
	return judged(f.Conns, func(r *flow.Record) bool {
		begin := r.End
		if r.Has.Has(flow.FStart) {
			begin = r.Start
		}
		return Failed(r) && begin <= toMs && r.End >= fromMs
	}) != nil
}

// tableChanges are what was told of a node's table: of those that made connections suffer
// the ones beside a failure.
func tableChanges(f *Facts, node string, bad bool) (out []string) {
	for i := range f.Changes {
		c := &f.Changes[i]
		if c.Kind != cluster.ChangeConntrack || strings.TrimPrefix(c.Object, "Node/") != node || c.Bad != bad || bad && !failedWithin(f, c.TimeMs-slackMs, c.TimeMs+slackMs) {
			continue
		}
		out = append(out, changeText(c))
	}
	return out
}
