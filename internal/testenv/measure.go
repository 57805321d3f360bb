package testenv

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// OwnCPU is the time that this process has computed so far, in user and kernel mode, in all
// its threads (getrusage(2)).
func OwnCPU(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Heap is what is in use of this process's heap after a collection of garbage, in bytes.
func Heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one left to finalizers and pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
