// Package sinks defines what a destination of flow records is, and the Runner
// that gives each one a durable spool, batching, retry and its own accounts.
//
// In: correlated records. Out: calls of Sink.Write. All policy is in the Runner,
// none in a sink. If the process dies, the spool keeps what the sink had not
// confirmed, and the next process goes on from the sink's cursor.
package sinks

import (
	"context"

	"github.com/weirnet/weir/api/flow"
)

// Sink is a destination. Write delivers a batch whole or returns an error; the
// Runner then tries again with the same records, so a sink that can deduplicate
// uses Record.ID. Write must not keep recs after it returns.
type Sink interface {
	Name() string
	Write(ctx context.Context, recs []flow.Record) error
}
