package collect

import (
	"testing"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
)

// TestHealth follows one node: what it loses, where its session breaks and what it
// missed begin the time anew in which its silence means something.
func TestHealth(t *testing.T) {
	c := &Collector{}
	c.exporters.byID, c.exporters.book = map[string]*exporter{}, ledger.NewBook()
	stream := &account{}
	row := func(stage, kind, reason string, records uint64) *ipfix.LedgerRow {
		return &ipfix.LedgerRow{Observer: "n1", Instance: "a", Stage: stage, Kind: kind, Reason: reason, Records: records, AtMs: time.Now().UnixMilli()}
	}
	health := func() Health {
		t.Helper()
		h := c.Health()
		if len(h) != 1 || h[0].Observer != "n1" || h[0].From.After(h[0].UpTo) {
			t.Fatalf("%+v", h)
		}
		return h[0]
	}
	take := func(r *ipfix.LedgerRow, a *account) { c.exporters.take(r, a); time.Sleep(time.Millisecond) }
	take(row("send", "in", "", 5), stream)
	first := health()
	take(row("send", "in", "", 9), stream)
	if h := health(); h.From != first.From || !h.UpTo.After(first.UpTo) {
		t.Errorf("nothing was lost: %+v after %+v", h, first)
	}
	take(row("outcome", "lost", "no_connection", 3), stream)
	if h := health(); h.From != first.From {
		t.Errorf("no record was lost: %+v after %+v", h, first)
	}
	old := health()
	again := func(what string) {
		t.Helper()
		if h := health(); !h.From.After(old.From) {
			t.Errorf("%s: %+v after %+v", what, h, old)
		}
		old = health()
	}
	take(row("send", "lost", "queue_full", 1), stream)
	again("lost")
	take(row("session", "addr", "s1", 0), stream)
	again("a session")
	take(row("send", "in", "", 9), &account{lossy: true})
	again("over UDP")
	c.facts.take(&ipfix.FactRow{Observer: "n1", Instance: "a", Topic: gapTopic, Key: "conntrack", Value: 0, AtMs: 1})
	if h := health(); h != old {
		t.Errorf("no gap: %+v, want %+v", h, old)
	}
	c.facts.take(&ipfix.FactRow{Observer: "n1", Instance: "a", Topic: gapTopic, Key: "conntrack", Value: 1, AtMs: 2})
	take(row("send", "in", "", 9), stream)
	again("a gap")
}

// An agent that another process succeeds without having said goodbye was killed: the
// books have a line, of a size that nobody knows.
func TestSuccessorWithoutFarewell(t *testing.T) {
	for _, c := range []struct {
		name string
		rows []ipfix.LedgerRow
		want int
	}{
		{"one process", []ipfix.LedgerRow{{Observer: "n1", Instance: "a"}, {Observer: "n1", Instance: "a"}}, 0},
		{"two nodes", []ipfix.LedgerRow{{Observer: "n1", Instance: "a"}, {Observer: "n2", Instance: "b"}}, 0},
		{"killed", []ipfix.LedgerRow{{Observer: "n1", Instance: "a"}, {Observer: "n1", Instance: "b"}}, 1},
		{"stopped", []ipfix.LedgerRow{
			{Observer: "n1", Instance: "a"},
			{Observer: "n1", Instance: "a", Stage: ipfix.StageProcess, Kind: ipfix.KindStopped},
			{Observer: "n1", Instance: "b"},
		}, 0},
	} {
		book := ledger.NewBook()
		e := exporters{byID: map[string]*exporter{}, book: book}
		for i := range c.rows {
			e.take(&c.rows[i], &account{})
		}
		lines := 0
		for _, l := range book.Snapshot() {
			lines += len(l.Lost)
		}
		if lines != c.want {
			t.Errorf("%s: %+v, want %d losses", c.name, book.Snapshot(), c.want)
		}
	}
}
