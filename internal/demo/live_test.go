package demo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
)

// TestMain lets the test binary stand in for weirctl: the world's pods run it.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "demo" {
		cmd := Command()
		cmd.SetArgs(os.Args[2:])
		if cmd.Execute() != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestWorld builds the world, lets its traffic run and asks the kernel's own tool
// for every shape that conntrack can see; then nothing may be left.
func TestWorld(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "nft")
	conntrack := testenv.NeedTool(t, "conntrack")
	only, err := lock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = only.Close() })
	if left, err := residue(); err != nil || len(left) != 0 {
		t.Fatalf("a demo is on this machine (%v, %v): end it or run `make demo-down` first", left, err)
	}
	t.Cleanup(func() {
		if err := down(); err != nil {
			t.Error(err)
		}
		if left, err := residue(); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	w, err := up()
	if err != nil {
		t.Fatal(err)
	}
	// A refused connection lives only in its events.
	events := make([]bytes.Buffer, len(w.nodes))
	watchers := make([]*exec.Cmd, len(w.nodes))
	for i := range w.nodes {
		watchers[i] = exec.Command(conntrack, "-E", "-e", "NEW,DESTROY")
		watchers[i].Stdout = &events[i]
		if err := inSpace(prefix+w.nodes[i].name, watchers[i].Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = watchers[i].Process.Kill() })
	}
	if err := startTraffic(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Second)
	pids, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	end(pids, 5*time.Second)
	time.Sleep(500 * time.Millisecond)
	for _, c := range watchers {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait() // its output is whole now; conntrack ends by the signal
	}
	made, err := readMade()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range shapesOf(false) {
		if made[s.name] == 0 {
			t.Errorf("%s: no connection was made", s.name)
		}
		seen := 0
		for i := range events {
			seen += countEntries(events[i].String(), &s)
		}
		if (seen != 0) != !s.noEntry {
			t.Errorf("%s: conntrack saw %d entries of %d connections", s.name, seen, made[s.name])
		}
	}
}

// countEntries counts the lines of conntrack(8) that show a new entry of a shape
// whose reply comes from, or whose packets go to, the shape's server port.
func countEntries(out string, s *shape) int {
	n := 0
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.Contains(line, "[NEW]") {
			continue
		}
		is6 := strings.Contains(line, "src=fd77") || strings.Contains(line, "src=2001")
		if is6 != (s.family == 6) {
			continue
		}
		proto := s.kind.proto()
		if proto == "icmp" && strings.Contains(line, " type=") {
			n++
			continue
		}
		if f[1] == proto && strings.Contains(line, fmt.Sprintf(" dport=%d ", s.port)) {
			n++
		}
	}
	return n
}
