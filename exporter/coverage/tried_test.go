package coverage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTry puts each word of the canaries beside each of the inspection's.
func TestTry(t *testing.T) {
	const why, remedy = "udp v4: the agent did not see it", "look at events"
	for _, c := range []struct {
		inspected Seen
		canary    Canary
		want      Seen
		why       string // a part of it; empty for what the inspection said
		remedy    string
	}{
		{SeenYes, CanaryNone, SeenYes, "", ""},
		{SeenYes, CanaryBooked, SeenYes, "", ""},
		{SeenYes, CanarySkipped, SeenYes, "", ""},
		{SeenYes, CanaryWrong, SeenPartly, "inspection says yes, and a canary was booked wrongly: " + why, remedy},
		{SeenYes, CanaryMissing, SeenNo, "inspection says yes, and a canary was not booked: " + why, remedy},
		{SeenPartly, CanaryBooked, SeenPartly, "", "inspect"},
		{SeenPartly, CanaryMissing, SeenNo, "inspection says partly (programs), and a canary was not booked: " + why, remedy},
		{SeenUnknown, CanaryBooked, SeenYes, "inspection says unknown (programs), and a canary was booked exactly", ""},
		{SeenUnknown, CanaryMissing, SeenNo, "inspection says unknown (programs), and a canary was not booked", remedy},
		{SeenUnknown, CanarySkipped, SeenUnknown, "", "inspect"},
		{SeenNo, CanaryBooked, SeenPartly, "inspection says no (programs), and yet a canary was booked exactly", "inspect"},
		{SeenNo, CanaryMissing, SeenNo, "", "inspect"},
	} {
		row := Row{Class: "service", Family: "v4", Seen: c.inspected}
		if c.inspected != SeenYes {
			row.Why, row.Remedy = "programs", "inspect"
		}
		before := row
		table := Table{Rows: []Row{row}}
		inspected := table
		table.Try([]Tried{{Class: "host", Family: "v4", Canary: CanaryMissing}, {Class: "service", Family: "v4", Canary: c.canary, Why: why, Remedy: remedy}})
		got := table.Rows[0]
		wantWhy := c.why
		if wantWhy == "" {
			wantWhy = row.Why
		}
		if got.Seen != c.want || !strings.HasPrefix(got.Why, wantWhy) || got.Remedy != c.remedy || got.Canary != c.canary || got.Inspected != c.inspected || got.CanaryWhy != why {
			t.Errorf("%s and %s: %+v", c.inspected, c.canary, got)
		}
		if diff := cmp.Diff(before, inspected.Rows[0]); diff != "" {
			t.Errorf("what was inspected changed: %s", diff)
		}
	}
}

// TestTriedTravels: what canaries showed comes with the table.
func TestTriedTravels(t *testing.T) {
	f := good()
	want := Decide(&f)
	want.Try([]Tried{{Class: "host", Family: "v4", Canary: CanaryMissing, Why: "not tracked", Remedy: "track it"}, {Class: "service", Family: "v6", Canary: CanaryBooked}})
	if diff := cmp.Diff(want, FromFacts("node-1", want.Facts(1000))); diff != "" {
		t.Error(diff)
	}
	if s, full := Summary([]Table{want}, 1); full != 0 || s != "coverage: 0 of 1 nodes, host v4 on node-1 not seen: inspection says yes, and a canary was not booked: not tracked" {
		t.Error(s)
	}
	var c Canary
	if c.UnmarshalText([]byte("perhaps")) == nil {
		t.Error("perhaps is no answer")
	}
}
