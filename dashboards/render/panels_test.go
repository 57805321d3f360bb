package render

import (
	"strings"
	"testing"
	"time"
)

// TestTicks: the times below a chart differ from each other as they are written, and there
// are some, but no more than have room.
func TestTicks(t *testing.T) {
	from := time.Date(2026, 3, 14, 3, 0, 7, 0, time.UTC)
	for _, span := range []time.Duration{30 * time.Second, 2 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 48 * time.Hour, 30 * 24 * time.Hour} {
		for _, room := range []int{2, 4, 18} {
			every, layout := ticks(span, room)
			seen := map[string]bool{}
			n := 0
			for at := from.Truncate(every).Add(every); !at.After(from.Add(span)); at = at.Add(every) {
				text := at.Format(layout)
				if seen[text] {
					t.Errorf("%v, room for %d: %s twice", span, room, text)
				}
				seen[text] = true
				n++
			}
			if n < 1 || n > room+1 {
				t.Errorf("%v: %d times, room for %d", span, n, room)
			}
		}
	}
}

// TestFormatCounts: numbers in units that a dashboard names itself.
func TestFormatCounts(t *testing.T) {
	for _, x := range []struct {
		v          float64
		unit, want string
	}{
		{0, "count:records/s", "0 records/s"},
		{1500, "count:records/s", "1.5 K records/s"},
		{2.5e6, "count:records", "2.5 M records"},
		{0.015, "suffix:cores", "0.015 cores"},
	} {
		if got := Format(x.v, x.unit); got != x.want {
			t.Errorf("%g in %s: %q, want %q", x.v, x.unit, got, x.want)
		}
	}
}

// TestTableRows: no row is cut in two, and what has no room is told.
func TestTableRows(t *testing.T) {
	f := Frame{Columns: []string{"a"}}
	for range 12 {
		f.Rows = append(f.Rows, []any{"x"})
	}
	for _, x := range []struct {
		h, rows int
		more    string
	}{
		{tableHead + 12*tableRow, 12, ""},
		{tableHead + 12*tableRow - 1, 11, "1 more below"},
		{tableHead + 5*tableRow, 4, "8 more below"},
		{tableHead + moreLine + 5*tableRow, 5, "7 more below"},
	} {
		var b strings.Builder
		drawTable(&b, f, &options{h: x.h})
		text := b.String()
		if n := strings.Count(text, "<td"); n != x.rows || x.more == "" && strings.Contains(text, "more") || !strings.Contains(text, x.more) {
			t.Errorf("%d px: %d rows, want %d and %q", x.h, n, x.rows, x.more)
		}
	}
}
