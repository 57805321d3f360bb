package correlate

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// TestWhatCameOfItIsToldAtOnce: a denial waits for no other end, and a live connection that
// has a new outcome for no timeout; the other end's same word does.
func TestWhatCameOfItIsToldAtOnce(t *testing.T) {
	c := New(DefaultConfig())
	var got []flow.Outcome
	see := func(atMs int64, h half, o flow.Outcome) {
		r := h.rec()
		if o != flow.OutcomeUnknown {
			r.SetOutcome(o)
			r.SetEvidence(flow.EvidenceConntrack)
		}
		got = got[:0]
		c.Observe(t0+atMs, r, func(r *flow.Record) { got = append(got, r.Outcome) })
	}
	want := func(what string, o ...flow.Outcome) {
		t.Helper()
		if len(got) != len(o) || len(o) == 1 && got[0] != o[0] {
			t.Errorf("%s: told %v, want %v", what, got, o)
		}
	}
	see(0, half{end: sideDst, port: 1}, flow.OutcomeDenied)
	want("a denial where it arrives", flow.OutcomeDenied)
	see(1000, half{end: sideSrc, port: 1, total: 100, delta: 100}, flow.OutcomeUnanswered)
	want("and the client's word", flow.OutcomeDenied)

	see(0, half{end: sideSrc, port: 2, total: 100, delta: 100}, flow.OutcomeUnknown)
	want("one end")
	see(100, half{end: sideDst, port: 2, total: 100, delta: 100}, flow.OutcomeUnknown)
	want("both ends", flow.OutcomeUnknown)
	see(5000, half{end: sideSrc, port: 2, last: 4000, total: 200, delta: 100, seq: 1}, flow.OutcomeOK)
	want("a new outcome", flow.OutcomeOK)
	see(5100, half{end: sideDst, port: 2, last: 4000, total: 200, delta: 100, seq: 1}, flow.OutcomeOK)
	want("the other end's same word")
	see(10_000, half{end: sideSrc, port: 2, last: 9000, total: 300, delta: 100, seq: 2}, flow.OutcomeOK)
	want("more bytes")
}
