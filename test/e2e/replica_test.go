package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/ledger"
)

// replicas are two aggregators that share the connections of the agents.
type replicas struct {
	*lab   // the first, and the first agent
	second *lab
	agents []*proc
}

// newReplicas starts both, and an agent for each namespace of the world that is given by
// its path.
func newReplicas(t testing.TB, w *world, names string, spaces ...string) *replicas {
	t.Helper()
	var addrs []string
	one := func(name string) *lab {
		l := &lab{world: w, dir: t.TempDir(), apiPort: freePort(t), metrics: freePort(t), agentMetrics: freePort(t)}
		port := freePort(t)
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
		l.agg = daemon(t, l.dir, name, "weir-aggregator", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %[1]s/data
collect: {tls: "", tcp: "127.0.0.1:%[2]d"}
correlate: {activeTimeout: 2s, inactiveTimeout: 20s, halfTimeout: 10s}
api: {auth: none, callerRate: 1000, listen: "127.0.0.1:%[3]d"}
metrics: {listen: "127.0.0.1:%[4]d"}
sinks:
- name: file
  kind: jsonl
  spool: {batchAge: 100ms, fsyncEvery: 50ms}
  jsonl: {path: %[1]s/flows.jsonl, maxBytes: 1000000000}
`, l.dir, port, l.apiPort, l.metrics))
		return l
	}
	r := &replicas{lab: one("first"), second: one("second")}
	for i, space := range spaces {
		metrics := r.agentMetrics
		if i > 0 {
			metrics = freePort(t)
		}
		r.agents = append(r.agents, daemon(t, r.dir, fmt.Sprintf("agent-%d", i+1), "weir-agent", fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AgentConfig
nodeName: node-%d
observeOnly: true
conntrack: {netns: %s, pollInterval: 1s}
track: {activeTimeout: 1s, idleTimeout: 2s}
names: %s
send: {transport: tcp, aggregators: ["%s"]}
metrics: {listen: "127.0.0.1:%d"}
`, i+1, space, names, strings.Join(addrs, `", "`), metrics)))
	}
	for _, l := range []*lab{r.lab, r.second} {
		l.agg.start()
		l.waitReady(l.metrics)
	}
	for _, a := range r.agents {
		a.start()
	}
	r.waitReady(r.agentMetrics)
	return r
}

func alone(t testing.TB) *replicas {
	t.Helper()
	w := newWorld(t)
	return newReplicas(t, w, "{source: none}", "/run/netns/"+w.name)
}

// run makes connections while something happens to a replica, and gives what came
// out at both together, and what the books say is lost.
func (r *replicas) run(what func()) (truth, got map[conn]tally, lost uint64, losses []string) {
	r.t.Helper()
	made := make(chan struct{})
	go func() {
		defer close(made)
		r.traffic(1500, 4*time.Millisecond, false)
	}()
	time.Sleep(2 * time.Second)
	what()
	<-made
	for _, a := range r.agents {
		a.stop()
	}
	var books [2]api.Books
	eventually(r.t, "books at rest", 60*time.Second, func() error {
		for i, l := range []*lab{r.lab, r.second} {
			books[i] = l.books()
			if err := atRest(books[i]); err != nil {
				return err
			}
		}
		return nil
	})
	for i, b := range books {
		_, why := differences(b)
		losses = append(losses, why...)
		lost += lostOf(b.Former) + lostOf(b.Stages)
		for _, a := range b.Agents {
			for _, line := range a.Stages {
				if line.Stage == "wire" || i == 0 { // the agent tells its own stages to both
					lost += lostOf([]ledger.Line{line})
				}
			}
		}
	}
	got = map[conn]tally{}
	ids := 0
	for _, l := range []*lab{r.lab, r.second} {
		l.agg.stop()
		sums, _, seen := l.arrived()
		if len(sums) < 500 {
			r.t.Errorf("%s told %d connections: want a share of them", l.agg.name, len(sums))
		}
		for c, s := range sums {
			g := got[c]
			got[c] = tally{g.packets + s.packets, g.bytes + s.bytes, g.revPackets + s.revPackets, g.revBytes + s.revBytes}
		}
		for _, n := range seen {
			if n > 1 {
				ids++
			}
		}
	}
	if ids > 0 {
		r.t.Errorf("%d records stand in a file more than once", ids)
	}
	return r.truth(), got, lost, losses
}

func lostOf(lines []ledger.Line) (n uint64) {
	for i := range lines {
		n += lines[i].LostTotal().Bytes
	}
	return n
}

// leaveAndReturn lets one replica go for a while, and the other for a moment.
func (r *replicas) leaveAndReturn() {
	r.agg.stop()
	time.Sleep(2 * time.Second)
	r.agg.start()
	r.waitReady(r.metrics)
	time.Sleep(2 * time.Second)
	r.second.agg.stop()
	r.second.agg.start()
	r.second.waitReady(r.second.metrics)
}

// TestReplicaLeavesAndReturns: nothing is lost and nothing doubled, packet by packet
// and byte by byte.
func TestReplicaLeavesAndReturns(t *testing.T) {
	r := alone(t)
	truth, got, lost, losses := r.run(r.leaveAndReturn)
	if missing, short, over, example := compare(truth, got); missing+short+over > 0 || len(truth) != 3000 {
		t.Errorf("of %d connections %d are missing, %d have too little, %d too much, as %s", len(truth), missing, short, over, example)
	}
	if lost > 0 {
		t.Errorf("the books tell of losses:\n%s", strings.Join(losses, "\n"))
	}
}

// TestReplicaIsKilled: what is missing is what the killed replica held and what was
// on the wire to it, and the books say so to the byte.
func TestReplicaIsKilled(t *testing.T) {
	r := alone(t)
	truth, got, lost, losses := r.run(func() {
		r.second.agg.kill()
		time.Sleep(2 * time.Second)
		r.second.agg.start()
		r.second.waitReady(r.second.metrics)
	})
	missing, short, over, example := compare(truth, got)
	t.Logf("%d connections made; %d missing, %d short, %d over (%s); told losses:\n%s", len(truth), missing, short, over, example, strings.Join(losses, "\n"))
	if over > 0 {
		t.Errorf("%d connections have too much, as %s", over, example)
	}
	if gone := total(truth) - total(got); gone != lost {
		t.Errorf("%d bytes did not arrive and the books tell of %d", gone, lost)
	}
}
