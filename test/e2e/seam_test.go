package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// lines is output that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// records parses the whole lines that there are.
func (l *lines) records() (recs []flow.Record, err error) {
	l.mu.Lock()
	text := bytes.Clone(l.b.Bytes())
	l.mu.Unlock()
	for line := range bytes.Lines(text[:bytes.LastIndexByte(text, '\n')+1]) {
		var r flow.Record
		if err := flow.ParseJSON(bytes.TrimSpace(line), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		recs = append(recs, r)
	}
	return recs, nil
}

// TestNothingFallsIntoTheSeam: while connections come, again and again `observe --last
// --follow` shows each of them, those before it began, those while it did and those after,
// and none twice as it was.
func TestNothingFallsIntoTheSeam(t *testing.T) {
	l := newLab(t, options{})
	l.startAll()
	var stop atomic.Bool
	var opened atomic.Int64 // the port of the newest connection
	first := l.next + 1
	var traffic sync.WaitGroup
	traffic.Go(func() {
		l.trafficWhile(func(int) bool { opened.Store(int64(l.next)); return !stop.Load() }, 10*time.Millisecond, true)
	})
	defer func() { stop.Store(true); traffic.Wait() }()
	after := func(port int64) {
		eventually(t, "more connections", 30*time.Second, func() error {
			if n := opened.Load(); n < port {
				return fmt.Errorf("the newest is %d, want %d", n, port)
			}
			return nil
		})
	}
	after(int64(first) + 400)
	for range 6 {
		var out, errs lines
		cmd := exec.Command(filepath.Join(built, "weirctl"), "observe", "--last", "10000", "--follow", "-o", "jsonl", "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort))
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		began := opened.Load()
		after(began + 300)
		last := opened.Load()
		eventually(t, "every connection", 60*time.Second, func() error { return shown(&out, first, int(last)) })
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, errs.b.String())
		}
		n := onceEach(t, &out)
		t.Logf("ports %d to %d, %d when it began: %d lines, none twice", first, last, began, n)
	}
}

// shown reports what is missing of the connections of these client ports.
func shown(out *lines, from, to int) error {
	recs, err := out.records()
	if err != nil {
		return err
	}
	have := map[uint16]bool{}
	for i := range recs {
		have[recs[i].SrcPort] = true
	}
	var missing []int
	for p := from; p <= to; p++ {
		if !have[uint16(p)] {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d of %d are not shown: ports %v", len(missing), to-from+1, missing[:min(10, len(missing))])
	}
	return nil
}

// onceEach wants no connection to be told twice in one state, and gives the number of lines.
func onceEach(t *testing.T, out *lines) int {
	t.Helper()
	recs, err := out.records()
	if err != nil {
		t.Fatal(err)
	}
	type state struct {
		id      uint64
		end     int64
		reason  flow.EndReason
		outcome flow.Outcome
	}
	told := map[state]*flow.Record{}
	for i := range recs {
		r := &recs[i]
		s := state{r.ConnID, r.End, r.EndReason, r.Outcome}
		if told[s] != nil {
			t.Errorf("told twice:\n%s\n%s", flow.AppendJSON(nil, told[s]), flow.AppendJSON(nil, r))
		}
		told[s] = r
	}
	return len(recs)
}
