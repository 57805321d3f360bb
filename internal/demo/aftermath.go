package demo

import (
	"fmt"
	"io"
	"sort"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
)

// linkSum is what the connections of one pair of nodes lost between them.
type linkSum struct{ packets, lost int64 }

// links adds up, by pair of nodes, what was sent and lost by the connections that were
// seen at both ends and came to good, of one side of the incident; the shapes whose
// packets the fabric always loses are left out.
func (t *tally) links(after bool) map[string]linkSum {
	always := map[string]bool{"tcp-lossy": true, "tcp-half-open": true}
	sums := map[string]linkSum{}
	for _, c := range t.conns {
		if c.seenBy != flow.SeenByBoth || c.outcome != "ok" || c.link == "" || c.after != after || always[c.shape] {
			continue
		}
		s := sums[c.link]
		s.packets, s.lost = s.packets+c.packets, s.lost+c.lost
		sums[c.link] = s
	}
	return sums
}

// linkOf names two nodes in one order.
func linkOf(a, b string) string {
	if a == "" || b == "" || a == b {
		return ""
	}
	return min(a, b) + " - " + max(a, b)
}

// printIncident prints what the incident did beside the shapes: losses of links and
// changes that were booked. It gives the number of faults.
func (t *tally) printIncident(out io.Writer, changes *api.Changes) (faults int) {
	was, is := t.links(false), t.links(true)
	names := make([]string, 0, len(is))
	for k := range is {
		names = append(names, k)
	}
	sort.Strings(names)
	fmt.Fprintf(out, "\n%-22s %s\n", "link", "packets lost before the incident and after it, of connections that are ok; tcp-lossy and tcp-half-open lose theirs by design")
	staged := linkOf("node-a", lossyNode)
	for _, k := range names {
		fmt.Fprintf(out, "%-22s %d of %d, then %d of %d\n", k, was[k].lost, was[k].packets, is[k].lost, is[k].packets)
	}
	if is[staged].lost <= 0 {
		faults++
		fmt.Fprintf(out, "%-22s <-- nothing is lost, though %d %% of its packets are\n", staged, lossyPercent)
	}
	fmt.Fprintf(out, "\nchanges of the cluster, %s\n", changes.Source)
	for _, want := range []struct{ kind, object string }{{"rollout", "Deployment/payments"}, {"policy", "NetworkPolicy/cache-access"}} {
		n := 0
		for i := range changes.Changes {
			if c := &changes.Changes[i]; string(c.Kind) == want.kind && c.Object == want.object {
				n++
				fmt.Fprintf(out, "%s %s/%s %s\n", c.Kind, c.Namespace, c.Object, c.What)
			}
		}
		if n != 1 {
			faults++
			fmt.Fprintf(out, "%s %s  <-- booked %d times, want once\n", want.kind, want.object, n)
		}
	}
	return faults
}
