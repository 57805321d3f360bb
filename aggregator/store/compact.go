package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
)

// maxJoin bounds how many segments of an hour wait for others.
const maxJoin = 32

// compactOne joins one run of small neighbours of an hour; false when there is none, or
// it failed.
func (s *Store) compactOne(ctx context.Context, now time.Time) bool {
	run := s.smallRun(now)
	if run == nil {
		return false
	}
	if err := s.join(ctx, run); err != nil {
		if ctx.Err() == nil {
			s.Stats.CompactFailures.Add(1)
			s.log.Warn("history segments not joined", "first", run[0].path, "segments", len(run), "error", err)
		}
		return false
	}
	return true
}

// smallRun gives neighbours that are worth joining: enough rows for a file, many files, or
// all that a past hour has.
func (s *Store) smallRun(now time.Time) []*part {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.parts); {
		j, rows := i, 0
		for j < len(s.parts) && s.parts[j].hour.Equal(s.parts[i].hour) && s.parts[j].meta.Spool == s.parts[i].meta.Spool &&
			s.parts[j].rows() < s.cfg.FileRows && rows < s.cfg.FileRows {
			rows += s.parts[j].rows()
			j++
		}
		over := s.parts[i].hour.Add(time.Hour + time.Minute).Before(now)
		if n := j - i; n > 1 && (rows >= s.cfg.FileRows || n >= maxJoin || over) {
			return slices.Clone(s.parts[i:j])
		}
		i = max(i+1, j)
	}
	return nil
}

// join writes the rows of neighbours into one segment, a column at a time, so that its
// memory is that of a few columns.
func (s *Store) join(ctx context.Context, run []*part) error {
	var files []*segment.File
	for _, p := range run {
		f, err := s.acquire(p)
		if err != nil {
			if errors.Is(err, segment.ErrCorrupt) {
				s.drop(p, err)
			}
			return err
		}
		defer s.release(p)
		files = append(files, f)
	}
	last := run[len(run)-1]
	p := &part{lo: run[0].lo, hi: last.hi, hour: run[0].hour}
	p.path = s.partPath(p.hour, p.lo, p.hi)
	meta := segment.Meta{Spool: last.meta.Spool, From: run[0].meta.From, To: last.meta.To}
	var pieces []piece
	for i, f := range files {
		for g := range f.Groups {
			pieces = append(pieces, piece{run[i], f, g})
		}
	}
	for _, r := range run {
		meta.Again += r.meta.Again
	}
	p.meta = meta
	err := s.create(p, func(out *os.File) error { return s.joinInto(ctx, out, p, pieces) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.parts, run[0])
	if i < 0 || i+len(run) > len(s.parts) || s.parts[i+len(run)-1] != last {
		// Retention or a damage took one meanwhile: what was read of it stays in the old files.
		return errors.Join(errors.New("a segment went away meanwhile"), os.Remove(p.path))
	}
	s.parts = slices.Replace(s.parts, i, i+len(run), p)
	s.bytes += p.size
	for _, old := range run {
		s.unlink(old)
	}
	s.Stats.Compactions.Add(1)
	s.Stats.CompactedRows.Add(uint64(p.rows()))
	return nil
}

// piece is one row group of an old segment.
type piece struct {
	part  *part
	file  *segment.File
	group int
}

// joinInto writes pieces as row groups, kind by kind, and says in p what came of it.
func (s *Store) joinInto(ctx context.Context, out *os.File, p *part, pieces []piece) error {
	var fields []flow.FieldID
	for _, x := range pieces {
		fields = append(fields, x.file.Fields()...)
	}
	w, err := segment.NewWriter(out, fields)
	if err != nil {
		return err
	}
	for _, kind := range []segment.Kind{segment.Sole, segment.Rows} {
		for _, run := range runs(pieces, kind, s.cfg.rowsOfGroup()) {
			if err := s.joinGroup(ctx, w, run, kind); err != nil {
				return err
			}
		}
	}
	p.size, err = w.Close(p.meta)
	p.meta.Groups = w.Groups()
	return err
}

// runs puts neighbours of a kind together up to the size of a row group. One that has a
// quarter of it is taken over as it is.
func runs(pieces []piece, kind segment.Kind, groupRows int) (list [][]piece) {
	room, copyRows := 0, groupRows/4
	for _, x := range pieces {
		g := x.file.Groups[x.group]
		if g.Kind != kind {
			continue
		}
		if g.Rows > room || g.Rows >= copyRows {
			list, room = append(list, nil), groupRows
		}
		room -= g.Rows
		if g.Rows >= copyRows {
			room = 0
		}
		list[len(list)-1] = append(list[len(list)-1], x)
	}
	return list
}

func (s *Store) joinGroup(ctx context.Context, w *segment.Writer, pieces []piece, kind segment.Kind) error {
	g := pieces[0].file.Groups[pieces[0].group]
	g = segment.Group{Min: g.Min, Max: g.Max, Kind: kind}
	for _, x := range pieces {
		o := x.file.Groups[x.group]
		g.Rows += o.Rows
		g.Min, g.Max = min(g.Min, o.Min), max(g.Max, o.Max)
	}
	for _, f := range w.Fields() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.joinColumn(w, f, pieces, g.Rows); err != nil {
			return fmt.Errorf("join: %w", err)
		}
	}
	return w.EndGroup(g)
}

func (s *Store) joinColumn(w *segment.Writer, f flow.FieldID, pieces []piece, total int) error {
	var bad *part
	err := func() error {
		if len(pieces) == 1 {
			bad = pieces[0].part
			return w.CopyColumn(pieces[0].file, pieces[0].group)
		}
		cols := make([]*column.Column, len(pieces))
		rows := make([]int, len(pieces))
		for i, x := range pieces {
			bad = x.part
			c, err := x.file.Column(x.group, f)
			if err != nil {
				return err
			}
			cols[i], rows[i] = c, x.file.Groups[x.group].Rows
		}
		return w.WriteColumn(column.Concat(f, cols, rows), total)
	}()
	if errors.Is(err, segment.ErrCorrupt) {
		s.drop(bad, err)
	}
	return err
}
