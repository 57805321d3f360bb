package daemon

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestLimitMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "") // so that it is put back
	if err := os.Unsetenv("GOMEMLIMIT"); err != nil {
		t.Fatal(err)
	}
	was := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(was) })
	fails := func(err error) memlimit.Provider { return func() (uint64, error) { return 0, err } }
	for _, x := range []struct {
		name, env string
		of        memlimit.Provider
		gives     int64
		holds     int64
		says      string
	}{
		{"of a cgroup", "", memlimit.Limit(4 << 30), 3865470566, 3865470566, "go_bytes=3865470566"},
		{"no limit", "", fails(memlimit.ErrNoLimit), 0, math.MaxInt64, ""},
		{"no cgroup", "", fails(memlimit.ErrNoCgroup), 0, math.MaxInt64, ""},
		{"unreadable", "", fails(errors.New("permission denied")), 0, math.MaxInt64, "set GOMEMLIMIT"},
		// The runtime read it at the start: here only that it is left alone.
		{"by the environment", "1GiB", memlimit.Limit(4 << 30), math.MaxInt64, math.MaxInt64, "gomemlimit=1GiB"},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		if x.env != "" {
			t.Setenv("GOMEMLIMIT", x.env)
		}
		var log strings.Builder
		got := limitMemory(x.of, slog.New(slog.NewTextHandler(&log, nil)))
		if holds := debug.SetMemoryLimit(-1); got != x.gives || holds != x.holds {
			t.Errorf("%s: gives %d and %d holds, want %d and %d", x.name, got, holds, x.gives, x.holds)
		}
		if !strings.Contains(log.String(), x.says) || x.says == "" && log.Len() > 0 {
			t.Errorf("%s: the log has %q, want %q", x.name, log.String(), x.says)
		}
	}
}
