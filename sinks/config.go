package sinks

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/spool"
)

// RunnerConfig is the policy for one sink.
type RunnerConfig struct {
	Dir          string        // the spool's directory, one per sink
	SegmentBytes int64         // size of a file of the spool
	MaxBytes     int64         // most bytes of the spool
	Fsync        time.Duration // the spool is synced this often; this much can be lost with the power, nothing with the process
	OnFull       spool.Policy  // what a full spool drops

	BatchRecords int           // a batch is written when it has this many records (it may have up to twice as many)
	BatchAge     time.Duration // or when its first record has waited this long
	WriteTimeout time.Duration // for one call of Sink.Write
	RetryMin     time.Duration // first pause after a failure; doubled at each further one, with jitter
	RetryMax     time.Duration // longest pause

	Filter func(*flow.Record) bool // nil takes all; what it refuses is not in this sink's books
}

// DefaultRunnerConfig gives the values for everything but Dir.
func DefaultRunnerConfig() RunnerConfig {
	d := spool.DefaultConfig()
	return RunnerConfig{
		SegmentBytes: d.SegmentBytes, MaxBytes: d.MaxBytes, Fsync: d.FsyncEvery, OnFull: d.OnFull,
		BatchRecords: 5000, BatchAge: time.Second, WriteTimeout: 30 * time.Second,
		RetryMin: 250 * time.Millisecond, RetryMax: 30 * time.Second,
	}
}

func (c *RunnerConfig) spool() spool.Config {
	s := spool.DefaultConfig()
	s.Dir, s.SegmentBytes, s.MaxBytes, s.FsyncEvery, s.OnFull = c.Dir, c.SegmentBytes, c.MaxBytes, c.Fsync, c.OnFull
	s.BlockRecords = max(1, min(s.BlockRecords, c.BatchRecords))
	return s
}

// Validate says which value is wrong and what would be right.
func (c *RunnerConfig) Validate() error {
	switch {
	case c.BatchRecords < 1 || c.BatchRecords > 1_000_000:
		return fmt.Errorf("batchRecords: %d is not in 1..1000000", c.BatchRecords)
	case c.BatchAge <= 0:
		return fmt.Errorf("batchAge: %v must be above zero", c.BatchAge)
	case c.WriteTimeout <= 0:
		return fmt.Errorf("writeTimeout: %v must be above zero", c.WriteTimeout)
	case c.RetryMin <= 0:
		return errors.New("retryMin: must be above zero")
	case c.RetryMax < c.RetryMin:
		return fmt.Errorf("retryMax: %v is below retryMin (%v)", c.RetryMax, c.RetryMin)
	}
	s := c.spool()
	return s.Validate()
}
