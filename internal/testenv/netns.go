package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Space is a network namespace without a name: two runs never meet, and it goes with
// the test.
type Space struct {
	Path string // for programs and sockets of this process
	t    testing.TB
}

// NewSpace makes a network namespace in which lo is up. It needs root and ip.
func NewSpace(t testing.TB) *Space {
	t.Helper()
	NeedRoot(t)
	NeedTool(t, "ip")
	NeedTool(t, "nsenter")
	made := make(chan error, 1)
	var f *os.File
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	s := &Space{Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), t: t}
	s.Run("ip", "link", "set", "lo", "up")
	return s
}

// Command makes a command that runs in the namespace.
func (s *Space) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + s.Path, name}, args...)...)
}

// Run runs a command in the namespace and gives what it prints; it must succeed.
func (s *Space) Run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.Command(name, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Sh runs lines of a shell in the namespace; each must succeed.
func (s *Space) Sh(lines string) string {
	s.t.Helper()
	return s.Run("sh", "-ec", lines)
}

// Do calls f with its thread in the namespace: the sockets that f opens are there.
func (s *Space) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		ns, err := os.Open(s.Path)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Link joins two namespaces by a veth pair, each end with its name and up.
func Link(t testing.TB, a *Space, aName string, b *Space, bName string) {
	t.Helper()
	a.Sh(fmt.Sprintf("ip link add %s type veth peer name %s netns %s; ip link set %s up", aName, bName, b.Path, aName))
	b.Sh("ip link set " + bName + " up")
}
