package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/ledger"
)

// readBooks asks the aggregator for all ledgers: its own and those of the agents.
func readBooks(agents int) (*api.Books, error) {
	var books api.Books
	if err := get("ledger", &books); err != nil {
		return nil, err
	}
	if len(books.Stages) == 0 || len(books.Agents) != agents {
		return nil, fmt.Errorf("the ledger holds %d stages and %d agents: want some and %d", len(books.Stages), len(books.Agents), agents)
	}
	return &books, nil
}

// get asks the aggregator's API.
func get(what string, into any) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + apiAddr + "/api/v1/" + what)
	if err != nil {
		return fmt.Errorf("ask for the %s: %w", what, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("ask for the %s: %w", what, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask for the %s: %s: %s", what, resp.Status, raw)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	return nil
}

// balanced reads the books, and again for a while where they differ: a record that goes
// from one stage's account to another's at that moment is no difference, one that stays is.
func balanced(ctx context.Context, agents int) (books *api.Books, err error) {
	for range 10 {
		if books, err = readBooks(agents); err != nil {
			return nil, err
		}
		if r, c, y := difference(books); r == 0 && c == 0 && y == 0 {
			break
		}
		pause(ctx, 200*time.Millisecond)
	}
	return books, nil
}

// difference adds up what the books cannot account for, stage by stage.
func difference(books *api.Books) (records, connections, bytes int64) {
	add := func(lines []ledger.Line) {
		for i := range lines {
			r, c, y := lines[i].Diff()
			records, connections, bytes = records+abs(r), connections+abs(c), bytes+abs(y)
		}
	}
	add(books.Stages)
	for _, a := range books.Agents {
		add(a.Stages)
	}
	return records, connections, bytes
}

func abs(v int64) int64 { return max(v, -v) }

// printBooks prints a line a stage.
func printBooks(out io.Writer, books *api.Books) {
	fmt.Fprintf(out, "\n%-11s %-20s %9s %9s %6s  %s\n", "ledger", "stage", "in", "out", "held", "lost")
	show := func(process string, lines []ledger.Line) {
		for i := range lines {
			l := &lines[i]
			lost := make([]string, 0, len(l.Lost))
			for _, r := range l.Reasons() {
				lost = append(lost, fmt.Sprintf("%s %d", r, l.Lost[r].Records))
			}
			fmt.Fprintf(out, "%-11s %-20s %9d %9d %6d  %s\n", process, l.Stage, l.In.Records, l.Out.Records, l.Held.Records, cmpOr(strings.Join(lost, ", "), "-"))
		}
	}
	for _, a := range books.Agents {
		show(a.Agent, a.Stages)
	}
	show("aggregator", books.Stages)
}
