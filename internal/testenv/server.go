package testenv

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Cache is a path below test/.cache, where test/deps.sh puts what the tests use. What
// has to be there is named; it is no part of -short.
func Cache(t testing.TB, what string, path ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("needs %s: not part of -short", what)
	}
	p := filepath.Join(append([]string{top(), "test", ".cache"}, path...)...)
	if _, err := os.Stat(p); err != nil {
		lack(t, "needs %s: run `make deps` to put it into test/.cache", what)
	}
	return p
}

// top is the directory of the module.
func top() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// FreePorts gives ports of 127.0.0.1 that nobody has now.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// process is a server that a test starts, kills and starts again.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *syncBuffer
	gone chan struct{}
}

// start runs cmd and waits until ready says so.
func (p *process) start(t testing.TB, cmd *exec.Cmd, ready func() bool) {
	t.Helper()
	p.log = &syncBuffer{}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		// The signal comes when the thread ends that started the process: this one lives as long.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(gone)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	p.cmd, p.gone = cmd, gone
	deadline := time.Now().Add(3 * time.Minute)
	for !ready() {
		select {
		case <-gone:
			t.Fatalf("%s ended while it started\n%s", p.name, tail(p.log.String()))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.Kill()
			t.Fatalf("%s is not ready after three minutes\n%s", p.name, tail(p.log.String()))
		}
	}
}

// Kill ends the server by SIGKILL.
func (p *process) Kill() { p.end(syscall.SIGKILL) }

// Stop ends the server as an administrator does.
func (p *process) Stop() { p.end(syscall.SIGTERM) }

// Signal sends one to the server: SIGSTOP makes it one that accepts and never answers.
func (p *process) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (p *process) end(s syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.gone:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
	p.cmd = nil
}

// PID is that of the server, until it is killed.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Log is what the server wrote since its last start.
func (p *process) Log() string { return p.log.String() }

func tail(s string) string { return s[max(0, len(s)-4000):] }

// answers tells whether something listens at the address.
func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Deaf is the address of a server that accepts connections, reads and never answers.
func Deaf(t testing.TB) string {
	t.Helper()
	return accept(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// accept listens on loopback until the test ends, and has serve take each connection.
func accept(t testing.TB, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}
