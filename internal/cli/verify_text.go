package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/internal/canary"
)

// verdictText is a table of the hops for the canaries of the node to itself, one of the
// ways beyond it, and the judgement.
func verdictText(v *canary.Verdict, took time.Duration) string {
	var b strings.Builder
	head := []string{"HOP"}
	var own []int
	for i := range v.Canaries {
		s := &v.Canaries[i]
		if isOwn(s) {
			head, own = append(head, fmt.Sprintf("%s %s", strings.ToUpper(s.Kind.String()), s.Family)), append(own, i)
		}
	}
	rows := [][]string{head}
	for _, h := range v.Hops {
		if h.Name == canary.StagePeer {
			continue // what goes to the node itself does not pass there
		}
		row := []string{clean(h.Name)}
		for _, i := range own {
			row = append(row, string(h.States[i]))
		}
		rows = append(rows, row)
	}
	table(&b, rows, nil)
	waysText(&b, v)
	fmt.Fprintf(&b, "\n%s (%d canaries, %s)\n", clean(v.String()), len(v.Canaries), took.Round(100*time.Millisecond))
	if v.Remedy != "" {
		fmt.Fprintf(&b, "do: %s\n", clean(v.Remedy))
	}
	return b.String()
}

// isOwn says whether a canary went from the node to itself.
func isOwn(s *canary.Sent) bool { return s.Class == "" || s.Class == "host" && !s.Crosses() }

// waysText is a row for each way beyond the node itself, and why others were not open.
func waysText(b *strings.Builder, v *canary.Verdict) {
	rows := [][]string{{"WAY", "FAMILY", "FROM", "TO", "CANARIES", "STATE"}}
	for i := range v.Canaries {
		s := &v.Canaries[i]
		if isOwn(s) {
			continue
		}
		state := "ok"
		for _, h := range v.Hops {
			if h.States[i] == canary.Wrong || h.States[i] == canary.Missing {
				state = string(h.States[i]) + " at " + h.Name
				break
			}
		}
		row := []string{s.Class, s.Family, clean(s.Src), clean(toText(s)), s.Kind.String(), clean(state)}
		same := func(r []string) bool { return slices.Equal(r[:4], row[:4]) && r[5] == row[5] }
		if k := slices.IndexFunc(rows, same); k >= 0 {
			rows[k][4] += " " + row[4]
			continue
		}
		rows = append(rows, row)
	}
	if len(rows) > 1 {
		b.WriteByte('\n')
		table(b, rows, nil)
	}
	for i := range v.Skipped {
		s := &v.Skipped[i]
		fmt.Fprintf(b, "\nnot opened: %s %s: %s\n", clean(s.Class), s.Family, clean(s.Why))
		if s.Remedy != "" {
			fmt.Fprintf(b, "do: %s\n", clean(s.Remedy))
		}
	}
}

func toText(s *canary.Sent) string {
	switch {
	case s.Service != "" && s.Dst != "":
		return s.Service + " (" + s.Dst + ")"
	case s.Service != "":
		return s.Service
	case s.Dst != "":
		return s.Dst
	}
	_, to, _ := strings.Cut(s.Key, ">")
	return to
}
