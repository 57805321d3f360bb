package flow_test

import (
	"net/netip"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

func TestSearchJSON(t *testing.T) {
	form := flow.NewSearchJSON(func(f flow.FieldID) string {
		if name, ok := map[flow.FieldID]string{flow.FEnd: "@timestamp", flow.FID: ""}[f]; ok {
			return name
		}
		return f.String()
	})
	var r flow.Record
	r.SetEnd(1_700_000_000_123)
	r.SetID(flow.UUID{1})
	r.SetSrcIP(netip.MustParseAddr("fe80::1%eth0"))
	r.SetDstIP(netip.Addr{}) // said to be there, and is none
	r.SetSrcNS("a\"b")
	r.SetEvidence(flow.EvidenceConntrack | flow.EvidenceBothEnds)
	r.SetFirst(true)
	r.SetOutcome(flow.OutcomeOK)
	want := `"@timestamp":1700000000123,"src.ip":"fe80::1","src.ns":"a\"b","outcome":"ok","evidence":["conntrack","both_ends"],"first":true`
	if got := string(form.AppendMembers(nil, &r)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(form.AppendMembers(nil, &flow.Record{})); got != "" {
		t.Errorf("nothing: %q", got)
	}
}
