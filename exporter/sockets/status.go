package sockets

import (
	"fmt"

	"github.com/weirnet/weir/exporter/coverage"
)

// Status is what the walks do, for people and for the node's coverage.
type Status struct {
	Enabled    bool
	Namespaces int    // that are read
	Unreadable int    // that were found and could not be entered or read at the last walk
	Capped     int    // that were found beyond the cap
	Err        string // why one of them could not be read; empty where all could
	Walks      uint64 // complete rounds over all namespaces
	LastWalkMs int64  // when the last one ended, Unix ms; 0 before the first
}

// Evidence gives the line of the coverage table.
func (s Status) Evidence() coverage.Evidence {
	const name = "sockets"
	switch {
	case !s.Enabled:
		return coverage.Evidence{Name: name, Why: "switched off: no round trip times, no retransmits, no attempts, no listeners", Remedy: "set sockets.enabled: true"}
	case s.Namespaces > 0 && s.Err == "":
		return coverage.Evidence{Name: name, On: true, Why: fmt.Sprintf("%d network namespaces are read", s.Namespaces)}
	case s.Namespaces > 0:
		return coverage.Evidence{
			Name: name, On: true, Why: fmt.Sprintf("%d network namespaces are read, %d are not: %s", s.Namespaces, s.Unreadable, s.Err),
			Remedy: remedy,
		}
	case s.Err != "":
		return coverage.Evidence{Name: name, Why: s.Err, Remedy: remedy}
	case s.Walks == 0:
		return coverage.Evidence{Name: name, Why: "the first walk is not over"}
	}
	return coverage.Evidence{Name: name, Why: "no network namespace was found", Remedy: "name the files of the pods' namespaces in sockets.netns"}
}

const remedy = "give the agent CAP_SYS_ADMIN and CAP_SYS_PTRACE, the host's process ids (hostPID) or /run/netns mounted, and look at sockets.netns"
