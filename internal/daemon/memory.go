package daemon

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare of a container's memory is where the garbage collector begins to work
// harder; the rest is for what is not Go's: stacks of the kernel, mapped files, slack.
const memoryShare = 0.9

// LimitMemory tells Go's runtime of the memory that the process may take by its cgroup
// (memory.max, v2; memory.limit_in_bytes, v1), so that garbage is collected before the
// kernel ends the process. GOMEMLIMIT, where it is set, goes before; without a limit
// nothing changes. It gives the limit that holds, in bytes, 0 for none.
func LimitMemory(log *slog.Logger) int64 { return limitMemory(memlimit.FromCgroup, log) }

func limitMemory(of memlimit.Provider, log *slog.Logger) int64 {
	if s, ok := os.LookupEnv("GOMEMLIMIT"); ok {
		log.Info("memory is limited by the environment", "gomemlimit", s)
		return debug.SetMemoryLimit(-1)
	}
	max, err := of()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
		return 0
	case err != nil:
		log.Warn("the cgroup's memory limit cannot be read: set GOMEMLIMIT where the process has one", "error", err)
		return 0
	}
	limit := int64(memoryShare * float64(max))
	debug.SetMemoryLimit(limit)
	log.Info("memory is limited by the cgroup", "cgroup_bytes", max, "go_bytes", limit)
	return limit
}
