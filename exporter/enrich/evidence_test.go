package enrich

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// TestRefusedOnOneNode: where both ends are on this node, conntrack's own word says that
// the server refused; over loopback, without an entry and across nodes it does not.
func TestRefusedOnOneNode(t *testing.T) {
	m := world()
	for _, c := range []struct {
		name, conn string
		change     func(*track.Export)
		want       flow.ResetBy
	}{
		{"pod to pod", "6 10.244.1.5:40000>10.244.1.6:5432", nil, flow.ResetByDst},
		{"node to pod", "6 192.0.2.1:40000>10.244.1.6:5432", nil, flow.ResetByDst},
		{"pod to node", "6 10.244.1.5:40000>192.0.2.1:22", nil, flow.ResetByDst},
		{"node to itself", "6 192.0.2.1:40000>192.0.2.1:22", nil, flow.ResetByUnknown},
		{"across", "6 10.244.1.5:40000>10.244.2.5:8080", nil, flow.ResetByUnknown},
		{"between two others", "6 10.244.3.5:40000>10.244.3.6:8080", nil, flow.ResetByUnknown},
		{"ended otherwise", "6 10.244.1.5:40000>10.244.1.6:5432", func(x *track.Export) { x.Outcome = flow.OutcomeReset }, flow.ResetByUnknown},
		{"a rule's RST", "6 10.244.1.5:40000>10.244.1.6:5432", func(x *track.Export) { x.ResetBy = flow.ResetByPath }, flow.ResetByPath},
		{"no entry", "6 10.244.1.5:40000>10.244.1.6:5432", func(x *track.Export) { x.Conn.NoEntry = true }, flow.ResetByUnknown},
		{"a datagram", "17 10.244.1.5:40000>10.244.1.6:5432", nil, flow.ResetByUnknown},
	} {
		x := track.Export{Conn: conn(t, c.conn), StartMs: 5000, EndMs: 9000, Final: true, Outcome: flow.OutcomeRefused, Evidence: flow.EvidenceConntrack}
		if c.change != nil {
			c.change(&x)
		}
		var r flow.Record
		New(Config{Node: "n1"}, m.Index()).Fill(9500, &x, &r)
		if r.ResetBy != c.want || r.Has.Has(flow.FResetBy) != (c.want != flow.ResetByUnknown) {
			t.Errorf("%s: by %s, want %s", c.name, flow.ResetByWords[r.ResetBy], flow.ResetByWords[c.want])
		}
	}
}
