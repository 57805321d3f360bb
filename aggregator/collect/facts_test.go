package collect

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/ipfix"
)

// TestFacts: the newest row of a topic and key counts; a new process of a node begins
// anew; what is not told again goes; memory is bounded.
func TestFacts(t *testing.T) {
	c := &Collector{}
	at := time.UnixMilli(1_800_000_000_000)
	tell := func(node, instance, key, state string, after time.Duration) bool {
		return c.facts.take(&ipfix.FactRow{Observer: node, Instance: instance, Topic: "coverage", Key: key, State: state, AtMs: at.Add(after).UnixMilli()})
	}
	show := func(now time.Duration) (out []string) {
		for _, n := range c.Facts(at.Add(now)) {
			for _, r := range n.Rows {
				out = append(out, fmt.Sprint(n.Observer, " ", n.Instance, " ", r.Key, " ", r.State))
			}
		}
		return out
	}
	want := func(now time.Duration, lines ...string) {
		t.Helper()
		if diff := cmp.Diff(lines, show(now)); diff != "" {
			t.Error(diff)
		}
	}
	tell("b", "1", "host/v4", "yes", 0)
	tell("a", "1", "host/v4", "no", 0)
	tell("a", "1", "host/v4", "yes", time.Second)
	tell("a", "1", "host/v6", "no", time.Second)
	want(time.Second, "a 1 host/v4 yes", "a 1 host/v6 no", "b 1 host/v4 yes")
	tell("a", "2", "host/v4", "partly", 3*time.Second)
	if tell("a", "1", "host/v6", "yes", 2*time.Second) {
		t.Error("a late row of the process before was taken")
	}
	want(3*time.Second, "a 2 host/v4 partly", "b 1 host/v4 yes")
	tell("a", "2", "host/v6", "no", 3*time.Second)
	tell("a", "2", "host/v4", "partly", 2*time.Minute)
	want(2*time.Minute, "a 2 host/v4 partly", "b 1 host/v4 yes")
	for i := range 2 * maxFactsOfOne {
		tell("a", "2", fmt.Sprint(i), "x", 2*time.Minute)
	}
	if n := len(show(2 * time.Minute)); n != maxFactsOfOne+1 {
		t.Errorf("%d rows are kept, want %d", n, maxFactsOfOne+1)
	}
	for i := range 2 * maxExporters {
		tell(fmt.Sprint("n", i), "1", "k", "x", 2*time.Minute)
	}
	if n := len(c.facts.byNode); n != maxExporters {
		t.Errorf("%d nodes are kept, want %d", n, maxExporters)
	}
	want(3 * forgetExportersIn)
}
