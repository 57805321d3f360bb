package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// lab is a world with one agent and one aggregator.
type lab struct {
	*world
	dir              string
	agent, agg       *proc
	apiPort, metrics int
	agentMetrics     int
	collect          int // port at which the aggregator collects
}

type options struct {
	eventBuffer int
	sinks       string // further sinks
	sockets     bool   // the agent reads them
	active      string // of the aggregator
	agent       string // further keys of the agent
}

func newLab(t testing.TB, o options) *lab {
	t.Helper()
	l := &lab{world: newWorld(t), dir: t.TempDir(), apiPort: freePort(t), metrics: freePort(t), agentMetrics: freePort(t)}
	collect := freePort(t)
	l.collect = collect
	if o.eventBuffer == 0 {
		o.eventBuffer = 8 << 20
	}
	if o.active == "" {
		o.active = "2s"
	}
	l.agg = daemon(t, l.dir, "aggregator", "weir-aggregator", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %[1]s/data
collect: {tls: "", tcp: "127.0.0.1:%[2]d"}
correlate: {activeTimeout: %[6]s, inactiveTimeout: 20s, halfTimeout: 1s}
api: {auth: none, callerRate: 1000, listen: "127.0.0.1:%[3]d"}
metrics: {listen: "127.0.0.1:%[4]d"}
sinks:
- name: file
  kind: jsonl
  spool: {batchAge: 100ms, fsyncEvery: 50ms}
  jsonl: {path: %[1]s/flows.jsonl, maxBytes: 1000000000}
%[5]s`, l.dir, collect, l.apiPort, l.metrics, o.sinks, o.active))
	l.agent = daemon(t, l.dir, "agent", "weir-agent", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AgentConfig
nodeName: node-1
observeOnly: true
conntrack: {netns: /run/netns/%[1]s, pollInterval: 1s, eventBuffer: %[2]d}
track: {activeTimeout: 1s, idleTimeout: 2s}
names: {source: none}
send: {transport: tcp, aggregators: ["127.0.0.1:%[3]d"]}
metrics: {listen: "127.0.0.1:%[4]d"}
sockets: {enabled: %[5]t, interval: 200ms, netns: [/run/netns/%[1]s]}
%[6]s`, l.name, o.eventBuffer, collect, l.agentMetrics, o.sockets, o.agent))
	return l
}

func (l *lab) startAll() {
	l.t.Helper()
	l.agg.start()
	l.waitReady(l.metrics)
	l.agent.start()
	l.waitReady(l.agentMetrics)
}

func (l *lab) waitReady(port int) {
	l.t.Helper()
	eventually(l.t, "ready", 15*time.Second, func() error {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", port))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", res.Status)
		}
		return nil
	})
}

// books reads the ledger through the API.
func (l *lab) books() api.Books {
	l.t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/ledger", l.apiPort))
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	var b api.Books
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil {
		l.t.Fatal(err)
	}
	return b
}

// arrived adds up the deltas of each connection in the sink's file, and keeps the
// outcomes.
func (l *lab) arrived() (map[conn]tally, map[conn]flow.Outcome, map[flow.UUID]int) {
	l.t.Helper()
	sums, outcomes, ids := map[conn]tally{}, map[conn]flow.Outcome{}, map[flow.UUID]int{}
	f, err := os.Open(filepath.Join(l.dir, "flows.jsonl"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var r flow.Record
		if err := flow.ParseJSON(sc.Bytes(), &r); err != nil {
			l.t.Fatalf("%v in %s", err, sc.Text())
		}
		c := conn{r.Proto, r.SrcPort, r.DstPort}
		if c.dport < portTCP || c.dport > portDropped {
			continue
		}
		s := sums[c]
		s.packets += r.PacketsDelta
		s.bytes += r.BytesDelta
		s.revPackets += r.RevPacketsDelta
		s.revBytes += r.RevBytesDelta
		sums[c] = s
		if r.Outcome != flow.OutcomeUnknown {
			outcomes[c] = r.Outcome
		}
		ids[r.ID]++
	}
	if err := sc.Err(); err != nil {
		l.t.Fatal(err)
	}
	return sums, outcomes, ids
}

// compare reports what of the truth is missing, too little or too much.
func compare(truth, got map[conn]tally) (missing, short, over int, example string) {
	for c, want := range truth {
		have, ok := got[c]
		switch {
		case !ok:
			missing++
		case have == want:
			continue
		case have.bytes+have.revBytes > want.bytes+want.revBytes:
			over++
		default:
			short++
		}
		example = fmt.Sprintf("%+v: want %+v, got %+v", c, want, have)
	}
	for c := range got {
		if _, ok := truth[c]; !ok {
			over++
			example = fmt.Sprintf("%+v never was", c)
		}
	}
	return missing, short, over, example
}

// total is the bytes of all connections in both directions.
func total(m map[conn]tally) (n uint64) {
	for _, x := range m {
		n += x.bytes + x.revBytes
	}
	return n
}

// lost is what all books together say is lost on the way to the file.
func lost(b api.Books) (n ledger.Amount) {
	for _, lines := range append([][]ledger.Line{b.Former, b.Stages}, agentLines(b)...) {
		for i := range lines {
			if lines[i].Stage != "sink/stalls" {
				n = n.Plus(lines[i].LostTotal())
			}
		}
	}
	return n
}

func agentLines(b api.Books) (out [][]ledger.Line) {
	for _, a := range b.Agents {
		out = append(out, a.Stages)
	}
	return out
}

// differences names the stages whose books do not balance, and the losses.
func differences(b api.Books) (diffs, losses []string) {
	look := func(process string, lines []ledger.Line) {
		for i := range lines {
			line := &lines[i]
			if r, c, y := line.Diff(); r != 0 || c != 0 || y != 0 {
				diffs = append(diffs, fmt.Sprintf("%s %s: %d records, %d connections, %d bytes: %+v", process, line.Stage, r, c, y, *line))
			}
			for _, why := range line.Reasons() {
				losses = append(losses, fmt.Sprintf("%s %s %s: %+v", process, line.Stage, why, line.Lost[why]))
			}
		}
	}
	for _, a := range b.Agents {
		look(a.Agent+"/"+a.Instance, a.Stages)
	}
	look("aggregator, before", b.Former)
	look("aggregator", b.Stages)
	return diffs, losses
}

// minutesBalance wants the books of agent and aggregator minute by minute, without a
// difference.
func (l *lab) minutesBalance() {
	l.t.Helper()
	eventually(l.t, "balanced minutes", 20*time.Second, func() error {
		ctl := exec.Command(filepath.Join(built, "weirctl"), "ledger", "--minutes", "5", "--fail", "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort))
		out, err := ctl.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "node-1") || !strings.Contains(string(out), "correlate") {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// drain stops the agent, so that it tells all it has, waits until nothing is on its
// way any more, and reads the books at rest before it stops the aggregator.
func (l *lab) drain() api.Books {
	l.t.Helper()
	b := l.rest()
	l.agg.stop()
	return b
}

// rest is drain with the aggregator left running.
func (l *lab) rest() api.Books {
	l.t.Helper()
	l.agent.stop()
	var b api.Books
	eventually(l.t, "books at rest", 60*time.Second, func() error {
		b = l.books()
		return atRest(b)
	})
	return b
}

// atRest wants books that balance, and nothing held between stages.
func atRest(b api.Books) error {
	if diffs, _ := differences(b); len(diffs) > 0 {
		return fmt.Errorf("%s", strings.Join(diffs, "\n"))
	}
	for _, line := range b.Stages {
		if line.Held.Records > 0 && line.Stage != "sink/history" { // which holds until a segment is full
			return fmt.Errorf("%s holds %+v", line.Stage, line.Held)
		}
	}
	return nil
}

// TestEveryConnectionArrivesExactly: the plain run loses nothing at all.
func TestEveryConnectionArrivesExactly(t *testing.T) {
	l := newLab(t, options{})
	l.startAll()
	l.traffic(100, 5*time.Millisecond, true)
	time.Sleep(6 * time.Second) // an unanswered entry proves it by dying
	ctl := exec.Command(filepath.Join(built, "weirctl"), "observe", "--no-fold", "--last", "2000", "--outcome", "refused", "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort))
	out, err := ctl.CombinedOutput()
	if err != nil || strings.Count(string(out), "REFUSED") != 100 || !strings.Contains(string(out), "nothing was lost meanwhile") {
		t.Errorf("weirctl observe shows %d of 100 refused connections: %v\n%.2000s", strings.Count(string(out), "REFUSED"), err, out)
	}
	l.minutesBalance()
	b := l.drain()
	truth := l.truth()
	got, outcomes, ids := l.arrived()
	if missing, short, over, example := compare(truth, got); missing+short+over > 0 || len(truth) != 400 {
		t.Errorf("of %d connections %d are missing, %d have too little, %d too much, as %s", len(truth), missing, short, over, example)
	}
	if _, losses := differences(b); len(losses) > 0 {
		t.Errorf("the books tell of losses:\n%s", strings.Join(losses, "\n"))
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("record %x stands there %d times", id, n)
		}
	}
	want := map[uint16]flow.Outcome{portTCP: flow.OutcomeOK, portUDP: flow.OutcomeOK, portRefused: flow.OutcomeRefused, portDropped: flow.OutcomeUnanswered}
	wrong := map[string]int{}
	for c := range truth {
		if outcomes[c] != want[c.dport] {
			wrong[fmt.Sprintf("port %d: %s", c.dport, flow.OutcomeWords[outcomes[c]])]++
		}
	}
	if len(wrong) > 0 {
		t.Errorf("outcomes: %v", wrong)
	}
}
