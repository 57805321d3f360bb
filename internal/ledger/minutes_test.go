package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func amount(n uint64) Amount { return Amount{Records: n, Connections: n / 10, Bytes: n * 100} }

func moved(n int64) Change { return Change{Records: n, Connections: n / 10, Bytes: n * 100} }

func TestMinutes(t *testing.T) {
	at := func(min int) time.Time { return time.Unix(1_800_000_000+int64(min)*60, 0) }
	reading := func(in, out, held, lost uint64) []Reading {
		return []Reading{{"node-1", "a", []Line{
			{Stage: "track", In: amount(in), Out: amount(out), Held: amount(held), Lost: map[string]Amount{"evicted": amount(lost)}},
			{Stage: "idle"},
		}}}
	}
	m := NewMinutes()
	m.Close(at(0), nil)
	m.Close(at(1), reading(100, 60, 40, 0))
	m.Close(at(2), reading(300, 250, 20, 30))
	m.Close(at(3), reading(300, 250, 20, 30)) // nothing happened: no book
	got := m.Books(at(4), reading(310, 280, 0, 30), 60)
	want := []MinuteBook{
		{at(1), "node-1", "a", true, []MinuteLine{{"track", Amount{}, moved(100), moved(60), amount(40), nil}}},
		{at(2), "node-1", "a", false, []MinuteLine{{"track", amount(40), moved(200), moved(190), amount(20), map[string]Change{"evicted": moved(30)}}}},
		{at(4), "node-1", "a", false, []MinuteLine{{"track", amount(20), moved(10), moved(30), Amount{}, nil}}},
	}
	// The evicted reason is there from the beginning and without a number: no change.
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for i := range got {
		if d := got[i].Stages[0].Diff(); d != (Change{}) {
			t.Errorf("minute %d has the difference %+v", i, d)
		}
	}
	if n := len(m.Books(at(4), nil, 2)); n != 1 {
		t.Errorf("the last two minutes have %d books, want the one of minute 2", n)
	}

	// One record vanishes: the minute in which it did says so, the next no more.
	m.Close(at(5), reading(320, 280, 9, 30))
	m.Close(at(6), reading(330, 290, 9, 30))
	got = m.Books(at(6), nil, 60)
	if d := got[2].Stages[0].Diff(); d.Records != 1 {
		t.Errorf("the minute of the loss has the difference %+v", d)
	}
	if d := got[3].Stages[0].Diff(); d != (Change{}) {
		t.Errorf("the minute after the loss has the difference %+v", d)
	}
}

func TestMinutesAreBounded(t *testing.T) {
	m := NewMinutes()
	const nodes = 5000
	for min := range 50 {
		var r []Reading
		for n := range nodes {
			r = append(r, Reading{fmt.Sprint(n), "", []Line{{Stage: "send", In: amount(uint64(min + 1)), Out: amount(uint64(min + 1))}}})
		}
		m.Close(time.Unix(int64(min)*60, 0), r)
	}
	got := m.Books(time.Unix(50*60, 0), nil, 1000)
	if len(got) != maxMinuteLines || got[len(got)-1].Time.Unix() != 49*60 {
		t.Errorf("%d books are kept, the newest of %s", len(got), got[len(got)-1].Time)
	}
}
