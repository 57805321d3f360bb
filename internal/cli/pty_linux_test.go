package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
)

// pty gives both ends of a pseudoterminal of that size (pty(7)).
func pty(t *testing.T, cols, rows uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	resize(t, master, cols, rows)
	t.Cleanup(func() { _, _ = slave.Close(), master.Close() })
	return master, slave
}

func resize(t *testing.T, master *os.File, cols, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

// TestTopOnATerminal: on a pseudoterminal top shows the groups, filters, follows the
// size, and leaves the terminal's modes and screen as they were.
func TestTopOnATerminal(t *testing.T) {
	s := &api.Server{
		Auth: api.AuthNone, MaxClients: 4, Log: slog.New(slog.DiscardHandler), Hub: api.NewHub(1024),
		NotReady: func() []string { return nil }, Books: func() api.Books { return api.Books{} }, Limits: api.DefaultQueryLimits(),
	}
	s.Engine = &memory{s.Hub}
	h := httptest.NewServer(s.Handler())
	defer h.Close()
	var recs []flow.Record
	for id := range uint64(7) {
		r := refused(id+1, time.Now())
		r.SetFirst(true)
		r.SetSrcWorkload("Deployment/cart")
		r.SetDstWorkload("Deployment/payments")
		recs = append(recs, r)
	}
	s.Hub.Publish(recs)
	master, slave := pty(t, 100, 20)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	var out screen
	go func() { _, _ = io.Copy(&out, master) }()
	var errs bytes.Buffer
	env := Env{In: slave, Out: slave, Err: &errs, Getenv: func(string) string { return "" }, Now: time.Now}
	done := make(chan int)
	go func() { done <- Run(t.Context(), env, []string{"weirctl", "top", "--window", "1h", "--server", h.URL}) }()
	send := func(text string) {
		if _, err := master.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	groups := regexp.MustCompile(`Deployment/cart  +Deployment/payments  +7  `)
	eventually(t, "the groups", func() bool { return groups.MatchString(out.String()) })
	send("foutcome = ok\r")
	eventually(t, "the filter", func() bool { return strings.Contains(out.String(), "no connections in the window") })
	from := len(out.String())
	resize(t, master, 60, 5)
	eventually(t, "the smaller screen", func() bool {
		last := out.String()[from:]
		_, frame, ok := strings.Cut(last, "\x1b[2J")
		_, frame, more := strings.Cut(frame, "\x1b[H")
		frame, _, whole := strings.Cut(frame, "\x1b[J")
		return ok && more && whole && strings.Count(frame, "\n") == 4
	})
	send("q")
	if code := <-done; code != ExitOK {
		t.Fatalf("status %d: %s", code, errs.String())
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *before != *after {
		t.Errorf("modes are left changed: %+v, before %+v", after, before)
	}
	eventually(t, "the old screen and the cursor", func() bool { return strings.HasSuffix(out.String(), "\x1b[?25h\x1b[?1049l") })
}
