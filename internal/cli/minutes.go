package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/weirnet/weir/internal/ledger"
)

// minutes shows the books minute by minute; it tells whether they balance.
func (l *ledgerFlags) minuteByMinute(ctx context.Context, env *Env, c *client) (ok bool, err error) {
	var books []ledger.MinuteBook
	if err := c.getJSON(ctx, "/api/v1/ledger/minutes", url.Values{"last": {strconv.Itoa(l.minutes)}}, &books); err != nil {
		return false, err
	}
	ok = true
	for i := range books {
		for k := range books[i].Stages {
			ok = ok && books[i].Stages[k].Diff() == ledger.Change{}
		}
	}
	if l.output == "json" {
		err = writeJSON(env.Out, books)
	} else {
		err = printMinutes(env.Out, books, l.unit, ok)
	}
	if err != nil {
		return ok, fmt.Errorf("write: %w", err)
	}
	return ok, nil
}

func changed(c ledger.Change, unit string) int64 {
	return [3]int64{c.Records, c.Connections, c.Bytes}[units[unit]]
}

func printMinutes(w io.Writer, books []ledger.MinuteBook, unit string, ok bool) error {
	rows := [][]string{{"UNTIL", "PROCESS", "STAGE", "BEFORE", "IN", "OUT", "LOST", "HELD", "DIFFERENCE", "WHY LOST"}}
	first := false
	for i := range books {
		b := &books[i]
		until := b.Time.UTC().Format("2006-01-02T15:04:05Z")
		if b.First {
			until += "*"
			first = true
		}
		for k := range b.Stages {
			l := &b.Stages[k]
			var why []string
			for _, r := range l.Reasons() {
				if n := changed(l.Lost[r], unit); n != 0 {
					why = append(why, fmt.Sprintf("%s %d", clean(r), n))
				}
			}
			n := func(c ledger.Change) string { return strconv.FormatInt(changed(c, unit), 10) }
			rows = append(rows, []string{
				until, clean(b.Process), clean(l.Stage), count(amount(l.Before, unit)), n(l.In), n(l.Out), n(l.LostTotal()),
				count(amount(l.Held, unit)), n(l.Diff()), strings.Join(why, ", "),
			})
		}
	}
	var text strings.Builder
	table(&text, rows, map[int]bool{3: true, 4: true, 5: true, 6: true, 7: true, 8: true})
	if first {
		text.WriteString("* all since this process began, not of the minute alone\n")
	}
	verdict := "difference 0: before + in = out + lost + held in every minute"
	if !ok {
		verdict = "the books do not balance: the minutes with a difference lost something without a reason"
	}
	_, err := fmt.Fprintf(w, "%s\n%s (%s)\n", text.String(), verdict, unit)
	return err
}
