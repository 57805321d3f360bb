package canary

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirnet/weir/api/ipfix"
)

// told is good's run as an agent has it.
func told() Run {
	g := good()
	r := Run{BeganMs: opened - 10, IntervalMs: 300_000, WaitMs: 30_000, Sent: g.sent, Agent: g.agent.View}
	for i := range r.Agent.Traces {
		r.Agent.Traces[i].Mark(StageSend).To = "agg:4740"
	}
	r.Sent[1].Key = Key(17, src, dst)
	return r
}

func facts(t *testing.T, r Run, aggregator string) []ipfix.FactRow {
	t.Helper()
	rows, err := r.Facts(opened+3000, aggregator, true)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestRunTravels: a run comes back from its rows as it was, whatever their order, and
// each of them fits a message over UDP.
func TestRunTravels(t *testing.T) {
	want := told()
	want.Sent[0].Path = Path{Class: "cross-node", Src: "weir-canary/weir-canary-x7b2k", SrcNode: "node-1", Dst: "weir-canary/weir-canary-9q4zd", DstNode: "node-2", Service: "weir-canary/weir-canary"}
	want.Skipped = []Skipped{{Path: Path{Class: "service"}, Family: "v6", Why: "no route", Remedy: "mend it"}}
	rows := facts(t, want, "agg:4740")
	for _, r := range rows {
		if n := len(r.Key) + len(r.Reason); n > 700 {
			t.Errorf("%s has %d bytes", r.Key, n)
		}
	}
	slices.Reverse(rows)
	got, ok, err := FromFacts(append(rows, ipfix.FactRow{Topic: "canary", Key: "moon/v4"}, ipfix.FactRow{Topic: "coverage", Key: "run", Value: 1}))
	want.ToldMs = opened + 3000
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Trace{})); diff != "" || !ok || err != nil {
		t.Errorf("%v, %v: %s", ok, err, diff)
	}
}

func TestRunTravelsInParts(t *testing.T) {
	r := told()
	got, _, err := FromFacts(facts(t, r, "other:4740"))
	if len(got.Sent) != 0 || got.Elsewhere != 2 || err != nil {
		t.Errorf("another aggregator is told of %d canaries, %d are elsewhere: %v", len(got.Sent), got.Elsewhere, err)
	}
	rows := facts(t, r, "agg:4740")
	r.BeganMs += 500_000
	rows = append(rows, ipfix.FactRow{Topic: "canary", Key: "run", State: "open", Value: r.BeganMs})
	if got, _, err = FromFacts(rows); len(got.Sent)+got.Elsewhere != 0 || err != nil {
		t.Errorf("rows of the run before are taken for this one's: %+v, %v", got, err)
	}
	r.Failed = "no route"
	if got, _, err = FromFacts(facts(t, r, "agg:4740")); got.Failed != "no route" || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if _, ok, err := FromFacts([]ipfix.FactRow{{Topic: "coverage", Key: "interval", Value: 3}}); ok || err != nil {
		t.Errorf("a node without a probe: %v, %v", ok, err)
	}
	for i, row := range facts(t, told(), "agg:4740") {
		if row.Reason == "" {
			continue
		}
		rows := facts(t, told(), "agg:4740")
		rows[i].Reason = row.Reason[1:]
		if _, _, err := FromFacts(rows); err == nil || !strings.Contains(err.Error(), "fact canary "+row.Key+": ") {
			t.Errorf("%s cut short: %v", row.Key, err)
		}
	}
}

// FuzzFromFacts: rows come from the network. What is read is bounded and can be judged.
func FuzzFromFacts(f *testing.F) {
	r := told()
	rows, err := r.Facts(opened, "agg:4740", true)
	if err != nil {
		f.Fatal(err)
	}
	seed, err := json.Marshal(rows)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`[{"Topic":"canary","Key":"interval","Value":1},{"Topic":"canary","Key":"run","Value":1},{"Topic":"canary","Key":"sent/0","Value":1,"Reason":"{\"kind\":200}"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var rows []ipfix.FactRow
		if json.Unmarshal(b, &rows) != nil {
			return
		}
		r, _, err := FromFacts(rows)
		if len(r.Sent) > maxSent || len(r.Skipped) > maxSent || len(r.Agent.Traces) > len(r.Sent) {
			t.Fatalf("%d canaries, %d traces", len(r.Sent), len(r.Agent.Traces))
		}
		w := NewWatch(0)
		for i := range 3 {
			w.Step(int64(i)*100_000, []Told{{Node: "n", Run: r, Err: err}}, func([]string) View { return r.Agent })
		}
		if _, err := json.Marshal(w.List()); err != nil {
			t.Fatal(err)
		}
	})
}
