package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
)

// terminal is a pseudoterminal (pty(7)) with a command on it.
type terminal struct {
	t             *testing.T
	master, slave *os.File
	before        unix.Termios
	out           screen
}

func newTerminal(t *testing.T, cols, rows uint16) *terminal {
	t.Helper()
	m := &terminal{t: t}
	var err error
	if m.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	fd := int(m.master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if m.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	m.resize(cols, rows)
	m.before = m.modes()
	go func() { _, _ = io.Copy(&m.out, m.master) }()
	t.Cleanup(func() { _, _ = m.slave.Close(), m.master.Close() })
	return m
}

func (m *terminal) resize(cols, rows uint16) {
	m.t.Helper()
	if err := unix.IoctlSetWinsize(int(m.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *terminal) modes() unix.Termios {
	m.t.Helper()
	p, err := unix.IoctlGetTermios(int(m.slave.Fd()), unix.TCGETS)
	if err != nil {
		m.t.Fatal(err)
	}
	return *p
}

func (m *terminal) send(text string) {
	m.t.Helper()
	if _, err := m.master.WriteString(text); err != nil {
		m.t.Fatal(err)
	}
}

// start runs weirctl as a process of its own, whose terminal this is.
func (m *terminal) start(env []string, args ...string) *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command("weirctl", args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.slave, m.slave, m.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// left is true where the terminal is as it was before: its modes, its screen, its cursor.
func (m *terminal) left(also string) {
	m.t.Helper()
	eventually(m.t, "the old screen", func() bool {
		_, after, ok := strings.Cut(m.out.String(), leaveScreen)
		return ok && strings.Contains(after, also)
	})
	if got := m.modes(); got != m.before {
		m.t.Errorf("modes are left changed: %+v, before %+v", got, m.before)
	}
}

var paint = regexp.MustCompile("\x1b\\[[0-9;]*m")

// frames are the screens that were drawn whole since a place of the output, with their paint.
func (m *terminal) frames(from int) (all [][]string) {
	parts := strings.Split(m.out.String()[from:], "\x1b[H")
	for _, f := range parts[1:] {
		f, _, whole := strings.Cut(f, "\x1b[J")
		if !whole {
			break
		}
		var lines []string
		for l := range strings.SplitSeq(f, "\r\n") {
			lines = append(lines, strings.TrimSuffix(l, "\x1b[K"))
		}
		all = append(all, lines)
	}
	return all
}

// shows waits for a screen that has it, and holds it to the size of the terminal: no line
// wider, no line too few, nothing that moves the cursor.
func (m *terminal) shows(from, cols, rows int, want string) []string {
	m.t.Helper()
	has := regexp.MustCompile(want)
	var got []string
	eventually(m.t, "a screen of "+want, func() bool {
		for _, f := range m.frames(from) {
			if len(f) == rows && has.MatchString(paint.ReplaceAllString(strings.Join(f, "\n"), "")) {
				got = f
			}
		}
		return got != nil
	})
	for _, l := range got {
		bare := paint.ReplaceAllString(l, "")
		if utf8.RuneCountInString(bare) > cols {
			m.t.Errorf("on %d columns: %d of %q", cols, utf8.RuneCountInString(bare), bare)
		}
		for _, r := range bare {
			if unsafeRune(r) {
				m.t.Errorf("%U reaches the terminal: %q", r, l)
			}
		}
	}
	return got
}

// topServer serves what top asks of the flows.
func topServer(t *testing.T, recs []flow.Record) string {
	t.Helper()
	s := &api.Server{
		Auth: api.AuthNone, MaxClients: 4, Log: slog.New(slog.DiscardHandler), Hub: api.NewHub(1024),
		NotReady: func() []string { return nil }, Books: func() api.Books { return api.Books{} }, Limits: api.DefaultQueryLimits(),
	}
	s.Engine = &memory{s.Hub}
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	s.Hub.Publish(recs)
	return h.URL
}

func topFlows(from, to string, n uint64) (recs []flow.Record) {
	for id := range n {
		r := refused(id+1, time.Now())
		r.SetFirst(true)
		r.SetSrcWorkload(from)
		r.SetDstWorkload(to)
		recs = append(recs, r)
	}
	return recs
}

// TestTopOnATerminal: on a pseudoterminal top shows the groups, sorts, groups, filters,
// pauses, follows the size, and leaves the terminal's modes and screen as they were.
func TestTopOnATerminal(t *testing.T) {
	server := topServer(t, topFlows("Deployment/cart", "Deployment/payments", 7))
	m := newTerminal(t, 100, 20)
	cmd := m.start([]string{"NO_COLOR="}, "top", "--window", "1h", "--every", "500ms", "--server", server)
	groups := m.shows(0, 100, 20, `Deployment/cart  +Deployment/payments  +7  `)
	if !strings.Contains(strings.Join(groups, ""), "\x1b[1m") {
		t.Errorf("the heads are not bold: %q", groups)
	}
	for _, x := range []struct{ keys, want string }{
		{"s", `BYTES/S▾`},
		{"o", `BYTES/S▴`},
		{"o3", `FAILED▾`},
		{"g\x15src.ns\r", `(?m)^shop +7 `},
		{"foutcome = ok\r", `no connections in the window`},
		{"f\x15outcome = refused\r", `(?m)^shop +7 `},
		{"p", `PAUSED`},
		{"p?", `(?s)records in \d+ ms\n.*q quit +s sort`},
		{"f\x15src.nss = a\r", `src\.nss = a_  condition: `},
		{"\x1b", `\? help$`},
	} {
		from := len(m.out.String())
		m.send(x.keys)
		m.shows(from, 100, 20, x.want)
	}
	for _, size := range [][2]uint16{{60, 5}, {80, 24}, {200, 50}, {12, 8}, {1, 1}, {100, 20}} {
		from := len(m.out.String())
		m.resize(size[0], size[1])
		eventually(t, "a cleared screen", func() bool { return strings.Contains(m.out.String()[from:], "\x1b[2J") })
		m.shows(from+strings.Index(m.out.String()[from:], "\x1b[2J"), int(size[0]), int(size[1]), "")
	}
	m.send("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	m.left("")
}

// TestTopLeavesTheTerminal: whatever ends it, the terminal is as it was.
func TestTopLeavesTheTerminal(t *testing.T) {
	server := topServer(t, topFlows("Deployment/cart", "Deployment/payments", 7))
	for name, end := range map[string]struct {
		by     func(*terminal, *exec.Cmd)
		status int
		says   string
		env    []string
	}{
		"Ctrl-C":                {by: func(m *terminal, _ *exec.Cmd) { m.send("\x03") }},
		"Ctrl-C at a prompt":    {by: func(m *terminal, _ *exec.Cmd) { m.send("fabc\x03") }},
		"Ctrl-D":                {by: func(m *terminal, _ *exec.Cmd) { m.send("\x04") }},
		"kill":                  {by: func(_ *terminal, c *exec.Cmd) { _ = c.Process.Signal(syscall.SIGTERM) }},
		"an interrupt":          {by: func(_ *terminal, c *exec.Cmd) { _ = c.Process.Signal(os.Interrupt) }},
		"a fault in the asking": {env: []string{"WEIRCTL_TEST_FAULT=ask"}, status: 2, says: "panic: a fault for the test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTerminal(t, 80, 24)
			cmd := m.start(append(end.env, "WEIR_SERVER="+server), "top", "--window", "1h")
			if end.by != nil {
				m.shows(0, 80, 24, `Deployment/cart  +Deployment/payments  +7  `)
				end.by(m, cmd)
			}
			_ = cmd.Wait() // its status is looked at next
			if got := cmd.ProcessState.ExitCode(); got != end.status {
				t.Errorf("status %d, want %d: %q", got, end.status, m.out.String())
			}
			m.left(end.says)
		})
	}
	t.Run("a fault in the drawing", func(t *testing.T) {
		m := newTerminal(t, 80, 24)
		env := Env{In: m.slave, Out: m.slave, Err: io.Discard, Getenv: func(string) string { return "" }, Now: time.Now}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("there was no fault")
				}
			}()
			o := &top{env: &env, api: &client{env: &env}, every: time.Hour}
			_ = o.live(t.Context(), &topModel{metric: "none", now: look(0, map[string][5]int64{"a": {}})}, m.slave, m.slave)
		}()
		m.left("")
	})
}

// TestTopSizesAndPaint: on the terminals that people have, with NO_COLOR and without, with
// names that would drive a terminal.
func TestTopSizesAndPaint(t *testing.T) {
	hostile := "x\x1b[2J\x1b]0;owned\x07\u009b5n\u202e\r\n名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名名"
	recs := append(topFlows("Deployment/cart", "Deployment/payments", 7), topFlows(hostile, strings.Repeat("long", 60), 3)...)
	server := topServer(t, recs)
	for _, size := range [][2]uint16{{80, 24}, {200, 50}, {40, 10}} {
		for _, env := range []string{"NO_COLOR=1", "NO_COLOR="} {
			t.Run(fmt.Sprintf("%dx%d %s", size[0], size[1], env), func(t *testing.T) {
				t.Parallel()
				m := newTerminal(t, size[0], size[1])
				cmd := m.start([]string{env}, "top", "--window", "1h", "--server", server)
				got := strings.Join(m.shows(0, int(size[0]), int(size[1]), `x\\u001b.*  3\b`), "\n")
				if size[0] >= 80 && !strings.Contains(paint.ReplaceAllString(got, ""), "FAILED") {
					t.Errorf("no column of failures:\n%s", got)
				}
				if painted := paint.MatchString(got); painted != (env == "NO_COLOR=") {
					t.Errorf("painted: %v\n%q", painted, got)
				}
				m.send("q")
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
				m.left("")
				if i := strings.IndexAny(m.out.String(), "\x07\u009b\u202e"); i >= 0 {
					t.Errorf("a control reached the terminal: %q", m.out.String()[i:])
				}
			})
		}
	}
}

// TestObserveOnATerminal: tables are as wide as the terminal, and failures are painted there,
// unless NO_COLOR is set; neither is so in a pipe.
func TestObserveOnATerminal(t *testing.T) {
	server := topServer(t, topFlows("Deployment/cart", "Deployment/payments", 3))
	lines := func(text string) []string { return strings.Split(strings.ReplaceAll(text, "\r", ""), "\n") }
	widest := func(text string) (n int) {
		for _, l := range lines(text) {
			n = max(n, utf8.RuneCountInString(paint.ReplaceAllString(l, "")))
		}
		return n
	}
	for _, c := range []struct {
		cols    uint16
		env     string
		args    []string
		painted bool
		cut     bool
	}{
		{100, "NO_COLOR=", nil, true, true},
		{100, "NO_COLOR=1", nil, false, true},
		{100, "NO_COLOR=1", []string{"--color", "always"}, true, true},
		{100, "NO_COLOR=", []string{"--color", "never"}, false, true},
		{100, "NO_COLOR=", []string{"--width", "0"}, true, false},
		{400, "NO_COLOR=", nil, true, false},
	} {
		t.Run(fmt.Sprint(c.cols, c.env, c.args), func(t *testing.T) {
			t.Parallel()
			m := newTerminal(t, c.cols, 24)
			cmd := m.start([]string{c.env}, append([]string{"observe", "--since", "2026-03-01", "--until", "2100-01-01", "-o", "wide", "--quiet", "--server", server}, c.args...)...)
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, m.out.String())
			}
			eventually(t, "three rows", func() bool { return strings.Count(m.out.String(), "\n") >= 4 })
			if painted := paint.MatchString(m.out.String()); painted != c.painted {
				t.Errorf("painted: %v\n%q", painted, m.out.String())
			}
			if n := widest(m.out.String()); (n <= int(c.cols)) != c.cut && c.cols < 400 {
				t.Errorf("%d columns on %d:\n%s", n, c.cols, m.out.String())
			}
		})
	}
	_, out, _ := runHere(t, []string{"observe", "--since", "2026-03-01", "--until", "2100-01-01", "-o", "wide", "--server", server})
	if paint.MatchString(out) || widest(out) <= 100 || strings.Contains(out, "\u2026") {
		t.Errorf("in a pipe it is painted or cut:\n%s", out)
	}
}
