package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirnet/weir/aggregator"
	"github.com/weirnet/weir/internal/ledger"
)

// before is what is known of the processes that used the data directory before:
// the sums of their books, and what each session had brought them.
type before struct {
	Stages []ledger.Line            `json:"stages"`
	Notes  map[string]ledger.Amount `json:"notes"`
}

const maxNotes = 100_000 // kept over restarts

// openBooks opens the books of this process, and the last numbers of the process
// that used the data directory before.
func openBooks(dir string) (*ledger.Book, *ledger.Former, error) {
	book, last, err := ledger.OpenBook(filepath.Join(dir, "books"))
	if err != nil {
		return nil, nil, fmt.Errorf("dataDir: %w", err)
	}
	for _, stage := range []string{"collect", "correlate"} { // the order in which flows pass them
		book.Stage(stage)
	}
	return book, last, nil
}

// closeFormer closes the books of the process before: what it held and did not
// leave in a spool died with it. The sums over all former processes are kept in
// the data directory. Call it when the runners are made: they have booked as In
// what they found in their spools.
func closeFormer(dir string, last *ledger.Former, book *ledger.Book) (*before, error) {
	path := filepath.Join(dir, "books-before.json")
	sums := &before{Notes: map[string]ledger.Amount{}}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, sums)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dataDir: read the books of former processes: %w: remove %s to begin new ones", err, path)
	}
	if len(last.Stages) == 0 {
		return sums, nil
	}
	found := map[string]ledger.Amount{}
	for _, l := range book.Snapshot() {
		if strings.HasPrefix(l.Stage, "sink/") {
			found[l.Stage] = l.In
		}
	}
	for i := range last.Stages {
		l := &last.Stages[i]
		l.Bury(found[l.Stage])
		sums.add(l)
	}
	for name, a := range last.Notes {
		if len(sums.Notes) < maxNotes {
			sums.Notes[name] = a
		}
	}
	if b, err = json.Marshal(sums); err == nil {
		err = os.WriteFile(path+".new", b, 0o640)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return nil, fmt.Errorf("dataDir: write the books of former processes: %w", err)
	}
	return sums, nil
}

func (s *before) add(l *ledger.Line) {
	for i := range s.Stages {
		if s.Stages[i].Stage == l.Stage {
			s.Stages[i].Add(l)
			return
		}
	}
	s.Stages = append(s.Stages, *l)
}

// states are the parts of /debug/state.
func states(book *ledger.Book, former *before, col collector, agg *aggregator.Aggregator) map[string]func() any {
	return map[string]func() any{
		"ledger": func() any { return book.Snapshot() },
		"former": func() any { return former.Stages },
		"agents": func() any { return agentBooks(col) },
		"totals": func() any { return agg.Total() },
	}
}
