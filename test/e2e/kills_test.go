package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// TestKillsAndAStall: while connections are made, the agent is held until the kernel
// has no room for its events, agent and aggregator are killed, and a sink stalls. What
// is missing in the end, connection by connection, the books name with a reason; and
// the sink that stalled has in the end what the other has.
func TestKillsAndAStall(t *testing.T) {
	stall := newStall(t)
	l := newLab(t, options{eventBuffer: 64 << 10, sinks: fmt.Sprintf(`- name: stalls
  kind: ipfix
  spool: {batchAge: 100ms, retryMin: 100ms, retryMax: 500ms}
  ipfix: {address: %q, transport: tcp, template: weir}
`, stall.addr())})
	l.startAll()
	traffic := l.background()
	traffic.wait(500)

	l.hold(func() { // no event is read until one has found no room
		eventually(t, "an event that finds no room", 30*time.Second, func() error {
			if n := l.netlinkDrops(); n == 0 {
				return fmt.Errorf("no socket of the world has dropped anything")
			}
			return nil
		})
	})
	eventually(t, "ENOBUFS at the agent", 15*time.Second, func() error {
		if n := l.metric(l.agentMetrics, "weir_exporter_event_overruns_total"); n < 1 {
			return fmt.Errorf("%v overruns", n)
		}
		return nil
	})
	// What found no room waits in the kernel and comes again: nothing of it is lost,
	// which only shows if it has all come before the agent is killed.
	eventually(t, "no entry left that waits for its event", 30*time.Second, func() error {
		if n := l.metric(l.agentMetrics, "weir_exporter_dying_entries"); n > 0 {
			return fmt.Errorf("%v dying entries", n)
		}
		return nil
	})
	if gaps := l.metric(l.agentMetrics, "weir_exporter_event_gaps_total"); gaps > 0 {
		t.Errorf("%v gaps: reliable mode lost events", gaps)
	}

	l.polls(3)
	var unwatched window // what the agent may not have read, or not told, when it is killed
	unwatched.from = traffic.port.Load()
	l.polls(3)
	l.agent.kill()
	traffic.wait(50) // nobody looks meanwhile
	l.agent.start()
	l.waitReady(l.agentMetrics)
	unwatched.to = traffic.port.Load()
	// What its predecessor has told the new agent tells again, with totals: that
	// nothing doubles only an aggregator knows that heard both.
	l.polls(4)
	l.agg.kill()
	traffic.wait(50)
	l.agg.start()
	l.waitReady(l.metrics)
	traffic.wait(200)
	traffic.stop()
	if n := len(stall.got()); n > 0 {
		t.Errorf("the stalled sink took %d records before it was released", n)
	}
	stall.release()
	b := l.drain()

	truth := l.truth()
	got, _, ids := l.arrived()
	_, losses := differences(b)
	missing, short, over, example := compare(truth, got)
	t.Logf("%d connections made; %d missing, %d short, %d over (%s); told losses:\n%s", len(truth), missing, short, over, example, strings.Join(losses, "\n"))
	balance(t, truth, got, lost(b), unwatched)
	if !strings.Contains(strings.Join(losses, "\n"), "agent_killed_of_unknown_size") {
		t.Error("the books do not say that the agent was killed")
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("record %x stands in the file %d times", id, n)
		}
	}
	same(t, l.lines(), stall.got())
}

// window is a range of client ports, both included.
type window struct{ from, to int64 }

func (w window) has(c conn) bool { return int64(c.sport) >= w.from && int64(c.sport) <= w.to }

// balance wants of every connection no packet and no byte more than were made, and what
// is missing of all of them together in the books to the byte: a connection that lacks
// anything by a lost record at least, one that lacks all by a lost connection. Only of
// those in the window, which the books say to be of unknown size, more may be missing.
func balance(t testing.TB, truth, got map[conn]tally, lost ledger.Amount, unsized window) {
	t.Helper()
	var gone, perhaps ledger.Amount
	over := 0
	for c, want := range truth {
		have, ok := got[c]
		if have.packets > want.packets || have.bytes > want.bytes || have.revPackets > want.revPackets || have.revBytes > want.revBytes {
			if over++; over <= 3 {
				t.Errorf("%+v has too much: want %+v, got %+v", c, want, have)
			}
			continue
		}
		if have == want {
			continue
		}
		one := ledger.Amount{Records: 1, Bytes: want.bytes + want.revBytes - have.bytes - have.revBytes}
		if !ok {
			one.Connections = 1
		}
		if unsized.has(c) {
			perhaps = perhaps.Plus(one)
		} else {
			gone = gone.Plus(one)
		}
	}
	for c := range got {
		if _, ok := truth[c]; !ok {
			t.Errorf("%+v never was", c)
		}
	}
	if over > 0 {
		t.Errorf("%d connections have too much", over)
	}
	t.Logf("not arrived: %+v, and of the unwatched connections %+v; booked: %+v", gone, perhaps, lost)
	if gone.Bytes > lost.Bytes || gone.Records > lost.Records || gone.Connections > lost.Connections {
		t.Errorf("the books tell of %+v, but %+v is missing (records: connections that lack something; connections: that lack all)", lost, gone)
	}
	if all := gone.Bytes + perhaps.Bytes; all < lost.Bytes {
		t.Errorf("the books tell of %d lost bytes, but only %d are missing", lost.Bytes, all)
	}
}

// same wants two sinks to have the same records, field by field.
func same(t testing.TB, a, b map[flow.UUID]string) {
	t.Helper()
	wrong := 0
	for id, x := range a {
		if y := b[id]; x != y {
			if wrong++; wrong <= 3 {
				t.Errorf("record %x is in one sink\n%s\nand in the other\n%s", id, x, y)
			}
		}
	}
	for id, y := range b {
		if _, ok := a[id]; !ok {
			if wrong++; wrong <= 3 {
				t.Errorf("only the stalled sink has %s", y)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d records differ", wrong, len(a))
	}
	if len(a) == 0 {
		t.Error("there is no record at all")
	}
}

// lines gives the records of the file as they stand there.
func (l *lab) lines() map[flow.UUID]string {
	l.t.Helper()
	f, err := os.Open(filepath.Join(l.dir, "flows.jsonl"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	m := map[flow.UUID]string{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var r flow.Record
		if err := flow.ParseJSON(sc.Bytes(), &r); err != nil {
			l.t.Fatalf("%v in %s", err, sc.Text())
		}
		m[r.ID] = sc.Text()
	}
	return m
}

// hold stops the agent from running while f does something.
func (l *lab) hold(f func()) {
	l.t.Helper()
	p := l.agent.cmd.Process
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = p.Signal(syscall.SIGCONT) }()
	f()
}

// polls waits until the agent has read the table n more times, once a second of its own
// time: what it knew before is told.
func (l *lab) polls(n float64) {
	l.t.Helper()
	const name = "weir_exporter_dumps_total"
	want := l.metric(l.agentMetrics, name) + n
	eventually(l.t, "reads of the table", time.Minute, func() error {
		if got := l.metric(l.agentMetrics, name); got < want {
			return fmt.Errorf("%v of %v", got, want)
		}
		return nil
	})
}

// netlinkDrops is how many messages found no room in the netlink sockets of the world.
func (l *lab) netlinkDrops() (n int) {
	l.t.Helper()
	// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
	for _, line := range strings.Split(l.exec("", "cat", "/proc/net/netlink"), "\n")[1:] {
		if f := strings.Fields(line); len(f) == 10 {
			d, err := strconv.Atoi(f[8])
			if err != nil {
				l.t.Fatalf("%q: %v", line, err)
			}
			n += d
		}
	}
	return n
}

// metric reads one number without labels.
func (l *lab) metric(port int, name string) float64 {
	l.t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				l.t.Fatalf("%q: %v", line, err)
			}
			return n
		}
	}
	l.t.Fatalf("no metric %s", name)
	return 0
}

// background is traffic that goes on until it is stopped.
type background struct {
	t     testing.TB
	done  atomic.Int64
	port  atomic.Int64 // of the last connection made
	end   atomic.Bool
	ended chan struct{}
}

func (w *world) background() *background {
	b := &background{t: w.t, ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		w.trafficWhile(func(done int) bool {
			b.done.Store(int64(done))
			b.port.Store(int64(w.next))
			return !b.end.Load() && done < 20_000 // ports
		}, 4*time.Millisecond, false)
	}()
	w.t.Cleanup(b.stop)
	return b
}

// wait waits for n more rounds.
func (b *background) wait(n int64) {
	b.t.Helper()
	want := b.done.Load() + n
	eventually(b.t, "traffic", time.Minute, func() error {
		select {
		case <-b.ended:
			return errors.New("it ended")
		default:
		}
		if n := b.done.Load(); n < want {
			return fmt.Errorf("%d rounds of %d", n, want)
		}
		return nil
	})
}

func (b *background) stop() { b.end.Store(true); <-b.ended }
