// Package journal keeps what changed in the cluster, so that a question about
// flows can be answered beside what else happened then.
//
// In: cluster.Change values, from the source of names and from Agents. Out: those of
// a time range. They are few, so all of them stand in memory, and in one file of JSON
// lines that is written again when it has grown to twice what is kept. The same
// change told twice (after a restart) is kept once. It decides nothing and names nothing.
//
// If we die here, a line that was half written is dropped at the next start and
// counted; what the cluster still shows of the last hour is told again by its source.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/weirnet/weir/internal/cluster"
)

// Config bounds a Journal.
type Config struct {
	Max int           // changes; the oldest go first
	Age time.Duration // how long one is kept
}

// DefaultConfig keeps a month, and at most 50,000 changes (some 20 MB).
func DefaultConfig() Config { return Config{Max: 50_000, Age: 31 * 24 * time.Hour} }

const fileName = "changes.jsonl"

// maxLine bounds a line of the file, in bytes.
const maxLine = 1 << 20

// Stats are a Journal's numbers.
type Stats struct {
	Held        int
	Added       uint64
	Repeated    uint64 // told before
	Forgotten   uint64 // by age or number
	Broken      uint64 // lines of the file that could not be read
	WriteErrors uint64 // what was not written is kept in memory only
}

// Journal is safe for use from many goroutines.
type Journal struct {
	cfg  Config
	path string // "" for memory only
	log  *slog.Logger

	mu    sync.Mutex
	list  []cluster.Change // by time
	known map[cluster.ChangeID]bool
	file  *os.File
	lines int
	st    Stats
}

// Open reads the journal of a directory, or begins one. dir "" keeps it in memory.
func Open(dir string, cfg Config, log *slog.Logger, now time.Time) (*Journal, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	j := &Journal{cfg: cfg, log: log, known: map[cluster.ChangeID]bool{}}
	if dir == "" {
		return j, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("changes: %w: make it writable for this user", err)
	}
	j.path = filepath.Join(dir, fileName)
	b, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("changes: %w", err)
	}
	j.read(b)
	j.trim(now)
	if err := j.rewrite(); err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	return j, nil
}

func (j *Journal) read(b []byte) {
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		var c cluster.Change
		if json.Unmarshal(sc.Bytes(), &c) != nil || c.ID == 0 || c.TimeMs <= 0 || c.Object == "" {
			j.st.Broken++
			continue
		}
		if !j.known[c.ID] {
			j.known[c.ID] = true
			j.list = append(j.list, c)
		}
	}
	if sc.Err() != nil {
		j.st.Broken++
	}
	if j.st.Broken > 0 {
		j.log.Warn("lines of the changes' file could not be read and are dropped", "file", j.path, "lines", j.st.Broken)
	}
	slices.SortStableFunc(j.list, func(a, b cluster.Change) int { return int(a.TimeMs - b.TimeMs) })
}

// Add takes changes, in any order of time.
func (j *Journal) Add(list []cluster.Change) {
	j.mu.Lock()
	defer j.mu.Unlock()
	newest := int64(0)
	for _, c := range list {
		if c.ID == 0 {
			c.Identify()
		}
		if j.known[c.ID] {
			j.st.Repeated++
			continue
		}
		j.known[c.ID] = true
		j.st.Added++
		at := len(j.list)
		for at > 0 && j.list[at-1].TimeMs > c.TimeMs {
			at--
		}
		j.list = slices.Insert(j.list, at, c)
		newest = max(newest, c.TimeMs)
		j.write(&c)
	}
	j.trim(time.UnixMilli(newest))
	if j.path != "" && j.lines > 2*len(j.list)+1000 {
		if err := j.rewrite(); err != nil {
			j.failed(err)
		}
	}
}

// trim forgets by age and number.
func (j *Journal) trim(now time.Time) {
	oldest := now.Add(-j.cfg.Age).UnixMilli()
	n := max(0, len(j.list)-j.cfg.Max)
	for n < len(j.list) && j.list[n].TimeMs < oldest {
		n++
	}
	for i := range n {
		delete(j.known, j.list[i].ID)
	}
	j.st.Forgotten += uint64(n)
	j.list = slices.Delete(j.list, 0, n)
}

func (j *Journal) write(c *cluster.Change) {
	if j.path == "" {
		return
	}
	b, err := json.Marshal(c)
	if err != nil {
		j.failed(err)
		return
	}
	if j.file == nil {
		if err := j.rewrite(); err != nil { // the list has c already
			j.failed(err)
		}
		return
	}
	if _, err := j.file.Write(append(b, '\n')); err != nil {
		j.failed(err)
		// A torn line would spoil the next one: begin the file anew with the next change.
		_ = j.file.Close()
		j.file = nil
		return
	}
	j.lines++
}

func (j *Journal) failed(err error) {
	if j.st.WriteErrors++; j.st.WriteErrors == 1 {
		j.log.Error("changes cannot be written; they are kept in memory only", "error", err)
	}
}

// rewrite replaces the file by what is kept.
func (j *Journal) rewrite() error {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range j.list {
		if err := enc.Encode(&j.list[i]); err != nil {
			return err
		}
	}
	if err := os.WriteFile(j.path+".new", b.Bytes(), 0o640); err != nil {
		return err
	}
	if err := os.Rename(j.path+".new", j.path); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	j.file, j.lines = f, len(j.list)
	return nil
}

// Range gives the changes of [fromMs, toMs) that keep wants (nil for all), in the
// order of time: the newest limit of them, and how many there are.
func (j *Journal) Range(fromMs, toMs int64, limit int, keep func(*cluster.Change) bool) (list []cluster.Change, total int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range slices.Backward(j.list) {
		c := &j.list[i]
		if c.TimeMs < fromMs {
			break
		}
		if c.TimeMs >= toMs || keep != nil && !keep(c) {
			continue
		}
		if total++; total <= limit {
			list = append(list, *c)
		}
	}
	slices.Reverse(list)
	return list, total
}

// Stats gives the numbers.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.st
	s.Held = len(j.list)
	return s
}

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
