package main

import (
	"context"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/ledger"
)

// minutes closes the books of every process once a minute, by the aggregator's clock.
type minutes struct {
	*ledger.Minutes
	books func() api.Books
}

func (m *minutes) String() string { return "minutes" }
func (m *minutes) Ready() bool    { return true }

// Run closes a minute at each full one.
func (m *minutes) Run(ctx context.Context) error {
	for {
		now := time.Now()
		next := now.Truncate(time.Minute).Add(time.Minute)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(next.Sub(now)):
			m.Close(next, m.readings())
		}
	}
}

// last gives the books of the last n minutes and of the one that goes on.
func (m *minutes) last(n int) []ledger.MinuteBook { return m.Books(time.Now(), m.readings(), n) }

// readings reads all books, and again where a batch was under way.
func (m *minutes) readings() (out []ledger.Reading) {
	for range 5 {
		b := m.books()
		out = out[:0]
		for _, a := range b.Agents {
			out = append(out, ledger.Reading{Process: a.Agent, Instance: a.Instance, Lines: a.Stages})
		}
		out = append(out, ledger.Reading{Process: "aggregator", Lines: b.Stages})
		settled := true
		for _, l := range b.Stages {
			r, c, y := l.Diff()
			settled = settled && r == 0 && c == 0 && y == 0
		}
		if settled {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return out
}
