package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// TestDenialsComeSoon: where the table is read once a minute, and the live is told as
// seldom, what a rule of either node denied or rejected, and an attempt that left no entry,
// is told all the same: nobody waits for an entry that the kernel does not have.
func TestDenialsComeSoon(t *testing.T) {
	l := newTwoNodes(t, twoNodesMore{slow: true})
	l.servers()
	l.settle()
	var list []fate
	for _, f := range fates() {
		switch f.port {
		case portSrcDeny, portDstDeny, portSrcDrop, portSrcRST:
			list = append(list, f)
		}
	}
	began := time.Now()
	made := l.make(list, 20000)
	eventually(t, "what was denied", 45*time.Second, func() error {
		got, err := l.lastRecords()
		if err != nil {
			return err
		}
		var missing []string
		for port, c := range made {
			r, ok := got[port]
			if !ok || r.Outcome != c.fate.outcome || r.Evidence&^evSock != c.fate.evidence&^evSock {
				missing = append(missing, fmt.Sprintf("%s, %s, %s: %s, evidence %06b", c.fate.name, c.fate.proto, c.target, flow.OutcomeWords[r.Outcome], r.Evidence))
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("%s", strings.Join(missing, "\n"))
		}
		return nil
	})
	t.Logf("%d connections after %s, of which dialling took 3.5 s", len(made), time.Since(began).Round(100*time.Millisecond))
}
