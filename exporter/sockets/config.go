package sockets

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Config says what is read and how much of the processor it may take.
type Config struct {
	Enabled      bool          `json:"enabled" flag:"sockets" doc:"read sockets in the pods' network namespaces: round trip times, retransmits, attempts, listeners; needs CAP_SYS_ADMIN, and CAP_SYS_PTRACE for /proc"`
	Interval     time.Duration `json:"interval" doc:"time between two walks over all namespaces; longer where maxPerSecond asks for it, or where walks would take more than 2 % of one processor"`
	MaxPerSecond int           `json:"maxPerSecond" doc:"sockets read a second at most; a walk waits when it is ahead"`
	MaxSockets   int           `json:"maxSockets" doc:"sockets remembered at once; those beyond are counted and their fields stay absent"`
	Netns        []string      `json:"netns" flag:"sockets-netns" doc:"patterns of files that are network namespaces; one that several files name is read once"`
}

// DefaultConfig gives the values of keys that the file leaves out.
func DefaultConfig() Config {
	return Config{
		Interval: 5 * time.Second, MaxPerSecond: 20_000, MaxSockets: 1 << 16,
		Netns: []string{"/run/netns/*", "/var/run/netns/*", "/proc/[0-9]*/ns/net"},
	}
}

// Validate checks the numbers and the patterns.
func (c *Config) Validate() error {
	var errs []error
	if c.Interval < 100*time.Millisecond {
		errs = append(errs, fmt.Errorf("interval: %v is too short: give at least 100ms", c.Interval))
	}
	if c.MaxPerSecond < 1 {
		errs = append(errs, fmt.Errorf("maxPerSecond: %d reads nothing: give at least 1, or set enabled: false", c.MaxPerSecond))
	}
	if c.MaxSockets < 1 {
		errs = append(errs, fmt.Errorf("maxSockets: %d remembers nothing: give at least 1", c.MaxSockets))
	}
	for i, p := range c.Netns {
		if _, err := filepath.Match(p, ""); err != nil || !filepath.IsAbs(p) {
			errs = append(errs, fmt.Errorf("netns[%d]: %q is no pattern of absolute paths: write it like /run/netns/*", i, p))
		}
	}
	return errors.Join(errs...)
}
