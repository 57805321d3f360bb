package canary

import (
	"fmt"
	"slices"
	"strings"
)

// Told is what one node told of its probe last.
type Told struct {
	Node     string
	Instance string // changes at each start of the agent
	HeardMs  int64  // when, by the clock of who was told
	Run      Run
	Err      error // it cannot be read
}

// Result of a node's runs.
type Result string

// The results.
const (
	ResultNone    Result = "none"    // nothing was judged yet
	ResultOK      Result = "ok"      // every hop booked every canary
	ResultFailed  Result = "failed"  // a hop did not
	ResultOverdue Result = "overdue" // the node has not run, or not told, for too long
)

// NodeRuns is what became of the runs of a node.
type NodeRuns struct {
	Node       string   `json:"node"`
	Result     Result   `json:"result"`  // of the last run that was judged
	Pending    bool     `json:"pending"` // a newer run is on its way
	BeganMs    int64    `json:"began_ms,omitempty"`
	LastOKMs   int64    `json:"last_ok_ms,omitempty"` // when a run was found right last; absent where none was
	IntervalMs int64    `json:"interval_ms"`
	Runs       Counts   `json:"runs"`
	Verdict    *Verdict `json:"verdict,omitempty"` // of the last run that was judged
}

// Counts are runs by result since the start.
type Counts struct {
	OK      uint64 `json:"ok"`
	Failed  uint64 `json:"failed"`
	Overdue uint64 `json:"overdue"`
}

// Watch judges the runs of all nodes. It is not safe for concurrent use.
type Watch struct {
	startMs int64
	nodes   map[string]*watched
}

type watched struct {
	NodeRuns
	instance string
	moved    int64 // when a run was heard of first, or the process, by our clock
	newest   int64 // began of the newest run
	last     Verdict
}

// NewWatch makes a watch. Runs that began before startMs passed a process before this.
func NewWatch(startMs int64) *Watch { return &Watch{startMs: startMs, nodes: map[string]*watched{}} }

// SilentMs is how long a node may tell nothing.
const SilentMs = 60_000

// Step takes what the nodes told last; a node that is not in told is forgotten. Look
// gives what this process noted of canaries, by their keys.
func (w *Watch) Step(nowMs int64, told []Told, look func(keys []string) View) {
	known := map[string]bool{}
	for i := range told {
		known[told[i].Node] = true
		w.node(nowMs, &told[i], look)
	}
	for name := range w.nodes {
		if !known[name] {
			delete(w.nodes, name)
		}
	}
}

// List gives every node's runs, by name.
func (w *Watch) List() []NodeRuns {
	out := make([]NodeRuns, 0, len(w.nodes))
	for _, n := range w.nodes {
		out = append(out, n.NodeRuns)
	}
	slices.SortFunc(out, func(a, b NodeRuns) int { return strings.Compare(a.Node, b.Node) })
	return out
}

func (w *Watch) node(nowMs int64, t *Told, look func([]string) View) {
	n := w.nodes[t.Node]
	if n == nil {
		n = &watched{NodeRuns: NodeRuns{Node: t.Node, Result: ResultNone}, instance: t.Instance, moved: nowMs}
		w.nodes[t.Node] = n
	}
	if n.instance != t.Instance {
		n.instance, n.moved = t.Instance, nowMs
	}
	n.IntervalMs = t.Run.IntervalMs
	if t.Run.BeganMs != 0 && t.Run.BeganMs != n.newest {
		if n.Pending {
			n.settle(nowMs) // the next one came before its time was over
		}
		began := t.Run.BeganMs + t.HeardMs - t.Run.ToldMs // by our clock
		n.newest, n.moved, n.Pending = t.Run.BeganMs, nowMs, began >= w.startMs
	}
	if n.Pending {
		n.judge(nowMs, t, look)
	}
	n.late(nowMs, t)
}

// judge looks at a run that is on its way, and ends it where nothing more can come.
func (n *watched) judge(nowMs int64, t *Told, look func([]string) View) {
	r := &t.Run
	switch {
	case t.Err != nil:
		n.last = broken(HopAgent, "what it told of its canaries cannot be read: "+t.Err.Error(), "run agents and aggregators of one version")
	case r.Failed != "":
		n.last = broken(HopProbe, r.Failed, "look at the network of this node itself: a firewall, a proxy, an address that is gone")
		n.settle(nowMs)
		return
	case len(r.Sent) == 0: // all of them went to other aggregators
		n.Pending = r.Elsewhere == 0
		n.last = broken(HopProbe, "the agent did not tell which canaries it opened", "run agents and aggregators of one version")
	default:
		keys := make([]string, len(r.Sent))
		for i := range r.Sent {
			keys[i] = r.Sent[i].Key
		}
		agent := Asked{AtMs: t.HeardMs, View: r.Agent}
		agg := Asked{AtMs: nowMs, View: look(keys)}
		agg.View.NowMs = nowMs
		n.last = Judge(r.Sent, &agent, &agg)
		n.last.Skipped = r.Skipped
	}
	if n.Pending && (n.last.Broken == "" || nowMs-n.moved > r.WaitMs) {
		n.settle(nowMs)
	}
}

// settle ends the run that is on its way as it was judged last.
func (n *watched) settle(nowMs int64) {
	v := n.last
	n.Pending, n.BeganMs, n.Verdict = false, n.newest, &v
	if v.Broken != "" {
		n.Result = ResultFailed
		n.Runs.Failed++
		return
	}
	n.Result, n.LastOKMs = ResultOK, nowMs
	n.Runs.OK++
}

// late takes note of a node that does not run, or does not tell, any more.
func (n *watched) late(nowMs int64, t *Told) {
	why, remedy := "", ""
	silent, still := nowMs-t.HeardMs, nowMs-n.moved
	switch {
	case silent > SilentMs:
		why, remedy = fmt.Sprintf("it has told nothing for %d s", silent/1000), "is weir-agent running there (and not stopped), and does it reach this aggregator? Run weirctl verify on that node"
	case still > 2*t.Run.IntervalMs+t.Run.WaitMs:
		why, remedy = fmt.Sprintf("its probe has not run for %d s", still/1000), "the agent's log says why"
	default:
		return
	}
	v := broken(HopAgent, why, remedy)
	n.Pending, n.Verdict = false, &v
	if n.Result != ResultOverdue {
		n.Result = ResultOverdue
		n.Runs.Overdue++
	}
}

func broken(hop, why, remedy string) Verdict {
	return Verdict{Broken: hop, Why: why, Remedy: remedy, Hops: []Hop{{Name: hop, States: []State{}, Why: why, Remedy: remedy}}}
}
