package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Long is a history that goes further back than the Engine's: a database that all
// aggregators of the same agents fill, so that one of them asks it for all.
type Long interface {
	// Answer fills an answer that has nothing yet, from what it has and from live records, of
	// which it may have some already; where it fails the answer is of no use.
	Answer(ctx context.Context, a *query.Answer, live []*flow.Record) error
	// Name says to people what it is.
	Name() string
	// Begins tells from when on it has records, ms since the epoch; 0 where it has none.
	Begins(ctx context.Context) (int64, error)
	// Waiting is how many records this aggregator has for it that it did not take yet.
	Waiting() uint64
}

const (
	// longSlack is how much longer than an export takes the two histories may begin apart
	// and still count as beginning together.
	longSlack = 2 * time.Minute
	// beginsKeep is how long it is believed when the long history begins, and
	// failedKeep that it cannot be asked: so much faster are questions to one that is down.
	beginsKeep = time.Minute
	failedKeep = 10 * time.Second
	// beginsTimeout is how long it has to say when it begins.
	beginsTimeout = 3 * time.Second
)

// begins remembers when the long history begins.
type begins struct {
	mu    sync.Mutex
	at    int64
	err   error
	asked time.Time
}

func (b *begins) ask(ctx context.Context, l Long) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := beginsKeep
	if b.err != nil {
		keep = failedKeep
	}
	if !b.asked.IsZero() && time.Since(b.asked) < keep {
		return b.at, b.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginsTimeout) // others wait for it
	defer cancel()
	b.at, b.err = l.Begins(ctx)
	b.asked = time.Now()
	return b.at, b.err
}

// failed notes that it did not answer.
func (b *begins) failed(err error, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.asked = err, at
}

// ForgetLong has the long history asked at once, although it failed a moment ago.
func (s *Server) ForgetLong() { s.longBegins.failed(nil, time.Time{}) }

// SetLong puts a history in the place of the one before; nil for none.
func (s *Server) SetLong(l Long) {
	if l == nil {
		s.long.Store(nil)
	} else {
		s.long.Store(&l)
	}
	if s.Live != nil {
		s.Live.KeepLong(l != nil)
	}
	s.ForgetLong()
}

// longNow is the long history at this moment; nil for none.
func (s *Server) longNow() Long {
	if l := s.long.Load(); l != nil {
		return *l
	}
	return nil
}

// answer asks where the range is: this aggregator and its peers, or, where the range
// begins before their history, the long one with what is live here and there. If that one
// fails, what they have is the answer, and the long one is missing from it.
func (s *Server) answer(ctx context.Context, a *query.Answer) ([]query.Missing, error) {
	missing, done, err := s.fromLong(ctx, a)
	if done || err != nil {
		return missing, err
	}
	rest, err := s.ask(ctx, a)
	return append(missing, rest...), err
}

// fromLong asks the long history, where the range begins before the own.
func (s *Server) fromLong(ctx context.Context, a *query.Answer) (missing []query.Missing, done bool, err error) {
	long := s.longNow()
	if long == nil {
		return nil, false, nil
	}
	var own int64
	if s.OwnBegins != nil {
		own = s.OwnBegins()
	}
	slack := longSlack.Milliseconds()
	if own != 0 && a.Since >= own+slack/2 {
		return nil, false, nil
	}
	at, err := s.longBegins.ask(ctx, long)
	if err == nil {
		if s.Engine != nil && (at == 0 || own != 0 && at > own-slack) {
			return nil, false, nil // nothing older is there either
		}
		b := a.Fresh()
		missing, err = s.askLong(ctx, long, b)
		if _, ok := query.Ended(err); ok {
			s.Stats.LongQueries.Add(1)
			if a.Visible == nil && at > a.Since+slack { // the rest tells of what others do
				b.Note("the history begins at " + query.FormatTime(at))
			}
			*a = *b
			return missing, true, err
		}
		if errors.Is(err, query.ErrGroups) || ctx.Err() != nil || a.Streams() && a.Emitted() > 0 {
			return nil, false, err // the query's own fault, or nobody waits any more, or rows were told already
		}
		s.longBegins.failed(err, time.Now())
	}
	s.Stats.LongFailures.Add(1)
	if s.Engine == nil {
		return nil, false, fmt.Errorf("%s: %w", long.Name(), err)
	}
	s.Log.Warn("the long history did not answer", "history", long.Name(), "error", err.Error())
	return []query.Missing{{Name: long.Name(), Error: err.Error()}}, false, nil
}

// askLong leaves a part of the time for what the aggregators have themselves. What is live
// is taken first: what the history gets meanwhile it finds in both, and counts once.
func (s *Server) askLong(ctx context.Context, long Long, a *query.Answer) ([]query.Missing, error) {
	if until, ok := ctx.Deadline(); ok && s.Engine != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until.Add(-time.Until(until)/4))
		defer cancel()
	}
	a.Note("answered by " + long.Name())
	waiting := long.Waiting()
	live, told, missing, err := s.liveEverywhere(ctx, a)
	if err != nil {
		return nil, err
	}
	if a.Visible == nil && waiting > uint64(told) {
		a.Note(fmt.Sprintf("%d records wait to be written there and are missing", waiting-uint64(told)))
	}
	return missing, long.Answer(ctx, a, live)
}
