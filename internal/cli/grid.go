package cli

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// grid is rows of text under heads, for the forms that all such answers have: table, csv
// and markdown. Control characters are escaped in all of them.
type grid struct {
	heads []string
	rows  [][]string
}

// add adds a row; what is empty is a dash for people.
func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) write(w io.Writer, form string) error {
	switch form {
	case "csv":
		return g.csv(w)
	case "markdown":
		return g.markdown(w)
	default:
		return g.table(w)
	}
}

func dashed(s string) string {
	if s == "" {
		return "-"
	}
	return clean(s)
}

func (g *grid) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(g.heads, "\t"))
	for _, r := range g.rows {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = dashed(c)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

func (g *grid) markdown(out io.Writer) error {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(g.heads)
	b.WriteString(strings.Repeat("|---", len(g.heads)) + "|\n")
	for _, r := range g.rows {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = strings.ReplaceAll(dashed(c), "|", `\|`)
		}
		line(cells)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (g *grid) csv(out io.Writer) error {
	w := csv.NewWriter(out)
	head := make([]string, len(g.heads))
	for i, h := range g.heads {
		head[i] = strings.ReplaceAll(strings.ToLower(h), " ", "_")
	}
	_ = w.Write(head) // Error says it
	for _, r := range g.rows {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = clean(c)
		}
		_ = w.Write(cells)
	}
	w.Flush()
	return w.Error()
}
