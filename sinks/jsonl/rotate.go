package jsonl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// stem gives the path without its extension, and the extension.
func (s *Sink) stem() (string, string) {
	ext := filepath.Ext(s.cfg.Path)
	return strings.TrimSuffix(s.cfg.Path, ext), ext
}

// rotatedName is what the file that is being written will be called when it is closed.
// It follows from the state alone, so that a rotation cut short is seen as one.
func (s *Sink) rotatedName() string {
	stem, ext := s.stem()
	return fmt.Sprintf("%s-%08d-%s%s", stem, s.st.Gen, time.UnixMilli(s.st.Opened).UTC().Format("20060102T150405Z"), ext)
}

func (s *Sink) due() bool {
	if s.st.Records == 0 {
		return false
	}
	c := &s.cfg
	return c.RotateBytes > 0 && s.st.Offset >= c.RotateBytes ||
		c.RotateRecords > 0 && s.st.Records >= c.RotateRecords ||
		c.RotateAge > 0 && s.now().UnixMilli()-s.st.Opened >= c.RotateAge.Milliseconds()
}

// Tick implements sinks.Ticker: files are closed by age when nothing comes, too.
func (s *Sink) Tick(_ context.Context, _ time.Time) error {
	if err := s.mend(); err != nil {
		return fmt.Errorf("jsonl: %w", err)
	}
	if err := s.rotateIfDue(); err != nil {
		s.broken = true
		return fmt.Errorf("jsonl: rotate: %w", err)
	}
	return nil
}

// rotateIfDue closes the file and begins the next: rename, new state, compress. A crash
// after any of these is mended by open.
func (s *Sink) rotateIfDue() error {
	if !s.due() {
		return nil
	}
	if err := os.Rename(s.cfg.Path, s.rotatedName()); err != nil {
		return err
	}
	if err := s.nextFile(); err != nil {
		return err
	}
	if err := s.f.Close(); err != nil {
		return err
	}
	if err := s.openAt(0); err != nil {
		return err
	}
	s.tidy()
	return nil
}

func (s *Sink) nextFile() error {
	s.st.Gen++
	s.st.Opened, s.st.Offset, s.st.Records = s.now().UnixMilli(), 0, 0
	return s.saveState()
}

// tidy compresses closed files and removes those beyond Keep. A failure delays
// nothing: the next rotation tries again.
func (s *Sink) tidy() {
	if err := s.tryTidy(); err != nil {
		s.log.Error("closed files not tidied", "file", s.cfg.Path, "error", err)
	}
}

func (s *Sink) tryTidy() error {
	stem, ext := s.stem()
	names, err := filepath.Glob(stem + "-*" + ext)
	if err != nil {
		return err
	}
	if s.cfg.Gzip {
		for _, n := range names {
			if err := compress(n); err != nil {
				return err
			}
		}
	}
	if s.cfg.Keep == 0 {
		return nil
	}
	zipped, err := filepath.Glob(stem + "-*" + ext + ".gz")
	if err != nil {
		return err
	}
	plain, err := filepath.Glob(stem + "-*" + ext)
	if err != nil {
		return err
	}
	all := append(zipped, plain...)
	slices.Sort(all) // names begin with their number
	for _, n := range all[:max(0, len(all)-s.cfg.Keep)] {
		if err := os.Remove(n); err != nil {
			return err
		}
	}
	return nil
}

// compress makes name.gz of name. The name appears only when it is whole.
func compress(name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := name + ".gz.tmp"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err == nil {
		_, err = io.Copy(z, in)
		err = errors.Join(err, z.Close(), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, name+".gz"); err != nil {
		return err
	}
	return os.Remove(name)
}
