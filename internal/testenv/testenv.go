// Package testenv says what a test needs from the machine. On a laptop that lacks
// it the test is skipped with the reason; where WEIR_REQUIRE=1 (CI, make test)
// a missing thing fails the test, so that nothing passes unseen.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

func lack(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("WEIR_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// NeedRoot needs uid 0, and is no part of -short.
func NeedRoot(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs root: not part of -short")
	}
	if os.Geteuid() != 0 {
		lack(t, "needs root: run as root (network namespaces, conntrack)")
	}
}

// NeedTool needs a program on PATH and gives its path; it is no part of -short.
func NeedTool(t testing.TB, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("needs %s: not part of -short", name)
	}
	p, err := exec.LookPath(name)
	if err != nil {
		lack(t, "needs %s on PATH: run `make deps` as root to install it", name)
	}
	return p
}
