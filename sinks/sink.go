// Package sinks defines what a destination of flow records is, and the Runner
// that gives each one a durable spool, batching, retry and its own accounts.
//
// In: correlated records. Out: calls of Sink.Write. All policy is in the Runner,
// none in a sink. If the process dies, the spool keeps what the sink had not
// confirmed, and the next process goes on from the sink's cursor.
package sinks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// Sink is a destination. Write delivers a batch whole or returns an error; the
// Runner then tries again with the same records, so a sink that can deduplicate
// uses Record.ID. Write must not keep recs after it returns.
type Sink interface {
	Name() string
	Write(ctx context.Context, recs []flow.Record) error
}

// Resumer is a Sink that stores the position of what it has together with the data,
// in one step. Its answer counts more than the Runner's cursor, and so each record
// arrives exactly once whatever is killed when.
type Resumer interface {
	Sink
	// Resume gives the position behind the last record that the destination has from
	// the spool of that ID; false if it has none of that spool.
	Resume(ctx context.Context, spool string) (pos uint64, ok bool, err error)
	// WriteAt delivers a batch whose first record has position pos of the spool that
	// Resume named.
	WriteAt(ctx context.Context, pos uint64, recs []flow.Record) error
}

// Keeper is a Resumer that takes records into memory first and stores many at once. The
// Runner keeps in its spool what the Keeper has not stored, so that the spool is the
// log from which a killed process gets its memory back. A write that has returned nil is
// held in the books until Stored covers it.
type Keeper interface {
	Resumer
	// Stored is the position behind the last record that is on the disk.
	Stored() uint64
	// Store puts what is in memory on the disk.
	Store(ctx context.Context) error
}

// Ticker is a Sink with work of its own that is due when no records come: rotation by
// age, templates sent again. The Runner calls it about once a second, never at the
// same time as Write.
type Ticker interface {
	Tick(ctx context.Context, now time.Time) error
}

// rejection is an error that trying again does not mend.
type rejection struct{ err error }

func (r rejection) Error() string { return r.err.Error() }
func (r rejection) Unwrap() error { return r.err }

// Reject marks an error of Write that trying again cannot mend. The Runner books
// the batch as lost (rejected) and goes on.
func Reject(err error) error { return rejection{err} }

func isRejection(err error) bool {
	var r rejection
	return errors.As(err, &r)
}

// Undelivered is the error of a Write that did take the batch, except for records that
// the destination can never take, each for the reason given. The Runner books them as
// lost and goes on.
type Undelivered struct {
	Reason string
	Amount ledger.Amount
}

// Error implements error.
func (u *Undelivered) Error() string {
	return fmt.Sprintf("%d records cannot be delivered: %s", u.Amount.Records, u.Reason)
}
