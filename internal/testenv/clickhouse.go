package testenv

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ClickHouse is a real ClickHouse engine in a process of its own, which serves the
// native protocol (test/clickhouse).
type ClickHouse struct {
	Addr string // host:port; the same after Start again
	Args []string
	Dir  string // of the data

	bin, lib string
	cmd      *exec.Cmd
	log      *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// StartClickHouse starts one over an empty directory and ends it with the test. Args are
// those of test/clickhouse: -password, -cert, -key.
func StartClickHouse(t testing.TB, args ...string) *ClickHouse {
	t.Helper()
	return startClickHouse(t, t.TempDir(), "127.0.0.1:0", args...)
}

func startClickHouse(t testing.TB, dir, addr string, args ...string) *ClickHouse {
	t.Helper()
	if testing.Short() {
		t.Skip("needs ClickHouse: not part of -short")
	}
	c := &ClickHouse{Args: args, Dir: dir, Addr: addr}
	c.lib = filepath.Join(top(), "test", ".cache", "clickhouse", "node_modules", "@chdb", "lib-linux-x64-gnu", "libchdb.so")
	if _, err := os.Stat(c.lib); err != nil {
		lack(t, "needs the ClickHouse engine: run `make deps` to put it into test/.cache")
	}
	c.bin = buildModule(t, "clickhouse", ".", "server")
	c.Start(t)
	t.Cleanup(c.Kill)
	return c
}

// Start starts the server over the data that it had, at the address that it had.
func (c *ClickHouse) Start(t testing.TB) {
	t.Helper()
	c.log = &syncBuffer{}
	c.cmd = exec.Command(c.bin, append([]string{"-lib", c.lib, "-path", c.Dir, "-listen", c.Addr}, c.Args...)...)
	c.cmd.Stderr = c.log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(out).ReadString('\n')
		line <- s
	}()
	select {
	case s := <-line:
		addr, ok := strings.CutPrefix(strings.TrimSpace(s), "listening ")
		if !ok {
			c.Kill()
			t.Fatalf("ClickHouse did not start: %q\n%s", s, c.log)
		}
		c.Addr = addr
	case <-time.After(2 * time.Minute):
		c.Kill()
		t.Fatalf("ClickHouse did not start in two minutes\n%s", c.log)
	}
}

// PID is that of the server, until it is killed.
func (c *ClickHouse) PID() int { return c.cmd.Process.Pid }

// Kill ends the server by SIGKILL.
func (c *ClickHouse) Kill() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.cmd = nil
}
