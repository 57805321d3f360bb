// Package jsonl is the sink of rotated files: JSON lines, CSV, or the two CSV
// layouts of Antrea.
//
// In: batches from sinks.Runner, each with its position in the spool. Out: lines in
// a file, synced, and then the new length and position in a state file beside it.
//
// If the process or the machine dies between the two, the file is longer than the
// state says: it is cut back to the state's length and the batch comes again. So
// each record stands in the files exactly once. It does not filter, retry or
// buffer: that is the Runner's.
package jsonl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
)

// state is what stands in the state file: where the data ends and which record comes next.
type state struct {
	Spool   string `json:"spool"`   // ID of the spool that Pos counts in
	Pos     uint64 `json:"pos"`     // position behind the last record written
	Gen     uint64 `json:"gen"`     // number of the file that is being written
	Opened  int64  `json:"opened"`  // when it was begun, ms
	Offset  int64  `json:"offset"`  // its valid length
	Records uint64 `json:"records"` // records in it
}

// Sink writes one file at a time. It is not safe for concurrent use: the Runner
// calls it from one goroutine.
type Sink struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	fields []flow.FieldID
	f      *os.File
	st     state
	buf    []byte
	broken bool // the last write failed: look at the disk again before the next
}

// New opens the file and mends what a crash left. log and now may be nil.
func New(cfg Config, log *slog.Logger, now func() time.Time) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("jsonl: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	s := &Sink{cfg: cfg, log: log, now: now, fields: flow.AllFields()}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o750); err != nil {
		return nil, fmt.Errorf("jsonl: %w", err)
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("jsonl: %w", err)
	}
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

func (s *Sink) statePath() string { return s.cfg.Path + ".state" }

// open reads the state, ends a rotation that was cut short, and cuts the file back to
// what the state vouches for.
func (s *Sink) open() error {
	b, err := os.ReadFile(s.statePath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.openFresh()
	case err != nil:
		return err
	}
	if err := json.Unmarshal(b, &s.st); err != nil {
		return fmt.Errorf("%s is damaged (%w): move it and %s away to begin anew", s.statePath(), err, s.cfg.Path)
	}
	if s.st.Gen == 0 {
		return fmt.Errorf("%s is damaged (no file number): move it and %s away to begin anew", s.statePath(), s.cfg.Path)
	}
	if _, err := os.Stat(s.rotatedName()); err == nil {
		// The file was renamed and the state not yet written.
		if err := s.nextFile(); err != nil {
			return err
		}
	}
	if err := s.openAt(s.st.Offset); err != nil {
		return err
	}
	s.tidy()
	return nil
}

// openFresh begins without a state. A file that is there is not ours to cut: it is kept
// as the first closed file.
func (s *Sink) openFresh() error {
	s.st = state{Gen: 1, Opened: s.now().UnixMilli()}
	if st, err := os.Stat(s.cfg.Path); err == nil && st.Size() > 0 {
		if err := os.Rename(s.cfg.Path, s.rotatedName()); err != nil {
			return err
		}
		s.st.Gen++
	}
	if err := s.openAt(0); err != nil {
		return err
	}
	return s.saveState()
}

func (s *Sink) openAt(offset int64) error {
	f, err := os.OpenFile(s.cfg.Path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size() < offset {
		err = fmt.Errorf("%s has %d bytes, its state file says %d: it was cut by someone else; move both away to begin anew", s.cfg.Path, st.Size(), offset)
	}
	if err == nil && st.Size() > offset {
		s.log.Info("file cut back to the last whole batch", "file", s.cfg.Path, "bytes", st.Size()-offset)
		err = f.Truncate(offset)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f = f
	return nil
}

// Resume implements sinks.Resumer.
func (s *Sink) Resume(_ context.Context, spool string) (pos uint64, ok bool, err error) {
	if s.st.Spool == spool {
		return s.st.Pos, true, nil
	}
	s.st.Spool, s.st.Pos = spool, 0
	return 0, false, nil
}

// Write implements sinks.Sink without a position: at least once.
func (s *Sink) Write(ctx context.Context, recs []flow.Record) error {
	return s.WriteAt(ctx, s.st.Pos, recs)
}

// WriteAt implements sinks.Resumer: the lines and their sync first, the state after.
func (s *Sink) WriteAt(_ context.Context, pos uint64, recs []flow.Record) error {
	if err := s.mend(); err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	if err := s.rotateIfDue(); err != nil {
		s.broken = true
		return fmt.Errorf("jsonl: rotate: %w", err)
	}
	if pos < s.st.Pos {
		// A write that reported a failure had arrived after all.
		recs = recs[min(uint64(len(recs)), s.st.Pos-pos):]
		pos = s.st.Pos
	}
	if len(recs) == 0 {
		return nil
	}
	s.render(recs)
	old := s.st
	if err := s.put(pos, uint64(len(recs))); err != nil {
		s.st, s.broken = old, true
		return fmt.Errorf("jsonl: %w", err)
	}
	return nil
}

func (s *Sink) put(pos, n uint64) error {
	if _, err := s.f.WriteAt(s.buf, s.st.Offset); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(s.f.Fd())); err != nil {
		return fmt.Errorf("fsync %s: %w", s.cfg.Path, err)
	}
	s.st.Offset += int64(len(s.buf))
	s.st.Records += n
	s.st.Pos = pos + n
	return s.saveState()
}

// mend looks at the disk again after a failure: the state file holds the old or the new
// state, and it is the one that counts.
func (s *Sink) mend() error {
	if !s.broken {
		return nil
	}
	spool := s.st.Spool
	if s.f != nil {
		_ = s.f.Close() // what it held is judged by the state file
		s.f = nil
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.st.Spool != spool {
		s.st.Spool, s.st.Pos = spool, 0
	}
	s.broken = false
	return nil
}

func (s *Sink) render(recs []flow.Record) {
	b := s.buf[:0]
	if s.cfg.Format == FormatCSV && s.st.Offset == 0 {
		b = append(flow.AppendCSVHeader(b, s.fields), '\n')
	}
	now := s.now().UnixMilli()
	for i := range recs {
		r := &recs[i]
		switch s.cfg.Format {
		case FormatCSV:
			b = flow.AppendCSV(b, r, s.fields)
		case FormatAntreaCSV:
			if !r.Has.Has(flow.FClusterID) && s.cfg.Cluster != "" {
				withCluster := *r
				withCluster.SetClusterID(s.cfg.Cluster)
				r = &withCluster
			}
			b = flow.AppendAntreaCSV(b, r, now)
		case FormatAntreaFlowLog:
			b = flow.AppendAntreaFlowLog(b, r, s.cfg.Words)
		default:
			b = flow.AppendJSON(b, r)
		}
		b = append(b, '\n')
	}
	s.buf = b
}

// saveState replaces the state file as a whole and syncs it and its directory.
func (s *Sink) saveState() error {
	b, err := json.Marshal(&s.st)
	if err != nil {
		return err
	}
	tmp := s.statePath() + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.statePath()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.cfg.Path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close implements io.Closer.
func (s *Sink) Close() error {
	if s.f == nil {
		return nil
	}
	f := s.f
	s.f = nil
	return f.Close()
}
