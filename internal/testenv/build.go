package testenv

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// buildModule builds a program of the module test/DIR once for the module's files, into
// test/.cache/DIR.
func buildModule(t testing.TB, dir, pkg, name string) string {
	t.Helper()
	src := filepath.Join(top(), "test", dir)
	names, err := filepath.Glob(filepath.Join(src, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(b)
	}
	bin := filepath.Join(top(), "test", ".cache", dir, name+"-"+hex.EncodeToString(h.Sum(nil)[:6]))
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	// Whole or not at all: packages are tested at the same time.
	tmp, err := os.MkdirTemp(filepath.Dir(bin), "build-") //nolint:usetesting // on the file system of the place to which it is renamed
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(tmp, name), pkg)
	cmd.Dir, cmd.Env = src, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build test/%s: %v\n%s", dir, err, out)
	}
	if err := os.Rename(filepath.Join(tmp, name), bin); err != nil {
		t.Fatal(err)
	}
	return bin
}
