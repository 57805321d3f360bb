package store

import (
	"errors"
	"fmt"
	"time"
)

// Config is the policy of the history.
type Config struct {
	Dir      string        // where the segments are, made if absent
	Memory   int64         // bytes: recent rows, and columns that queries read
	MaxBytes int64         // bytes of segments on disk; the oldest go first
	MaxAge   time.Duration // segments whose last record is older are removed
	HeadRows int           // recent rows become a segment at this number
	HeadAge  time.Duration // or at this age
	FileRows int           // small segments of an hour are joined up to about this many rows
}

// groupRows are the most rows of a row group, the unit in which a query works.
const groupRows = 1 << 18

// DefaultConfig gives the values for everything but Dir.
func DefaultConfig() Config {
	return Config{
		Memory: 512 << 20, MaxBytes: 20 << 30, MaxAge: 7 * 24 * time.Hour,
		HeadRows: groupRows, HeadAge: 10 * time.Minute, FileRows: 1 << 20,
	}
}

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("dir: is empty, name a directory for the history")
	case c.Memory < 16<<20:
		return fmt.Errorf("memory: %d is below 16777216 (16 MiB), which a few seconds of rows need", c.Memory)
	case c.MaxBytes < 64<<20:
		return fmt.Errorf("maxBytes: %d is below 67108864 (64 MiB)", c.MaxBytes)
	case c.MaxAge < time.Minute:
		return fmt.Errorf("maxAge: %v is below 1m", c.MaxAge)
	case c.HeadRows < 1 || c.HeadRows > groupRows:
		return fmt.Errorf("headRows: %d is not in 1..%d", c.HeadRows, groupRows)
	case c.HeadAge < time.Second:
		return fmt.Errorf("headAge: %v is below 1s", c.HeadAge)
	case c.FileRows < c.HeadRows:
		return fmt.Errorf("fileRows: %d is below headRows (%d)", c.FileRows, c.HeadRows)
	}
	return nil
}
