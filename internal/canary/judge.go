package canary

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Sent is a canary that was opened.
type Sent struct {
	Kind     Kind   `json:"kind"`
	Family   string `json:"family"` // v4 or v6
	Key      string `json:"key"`
	OpenedMs int64  `json:"opened_ms"`
	Payload  uint64 `json:"payload"` // bytes sent, and sent back where it is answered
	// Kernel is what the kernel counted, nil where that is not known: then KernelWhy
	// says why, and Denied that nobody was allowed to look.
	Kernel    *Numbers `json:"kernel,omitempty"`
	KernelWhy string   `json:"kernel_why,omitempty"`
	Denied    bool     `json:"denied,omitempty"`
	Path
	// Ended is false where an unanswered canary's entry could not be ended: its
	// outcome is then not proven in time.
	Ended bool `json:"ended"`
}

// String names the canary: tcp v4, or udp v6 cross-node to shop/web.
func (s *Sent) String() string {
	name := s.Kind.String() + " " + s.Family
	if s.Class == "" || s.Class == "host" && !s.Crosses() {
		return name
	}
	to := s.Dst
	if s.Service != "" {
		to = s.Service
	}
	return strings.TrimSuffix(name+" "+s.Class+" to "+to, " to ")
}

// Asked is a process that was asked for its View.
type Asked struct {
	Skip bool   // nobody was to ask
	Err  string // why it did not answer
	AtMs int64  // the asker's clock when it was asked
	View View
}

// State of a hop for one canary.
type State string

// The states.
const (
	OK      State = "ok"
	Wrong   State = "wrong"   // it is there, and not as it was sent
	Missing State = "missing" // it did not come
	Unknown State = "?"       // nobody could look
	After   State = "-"       // a hop before is broken, or the canary does not pass here
)

// Hop is the state of one hop for every canary.
type Hop struct {
	Name   string  `json:"name"`
	States []State `json:"states"`
	Why    string  `json:"why,omitempty"` // of the first that is not ok
	Remedy string  `json:"remedy,omitempty"`
}

func (h *Hop) bad() bool {
	for _, s := range h.States {
		if s == Wrong || s == Missing {
			return true
		}
	}
	return false
}

// Verdict is the judgement over one run.
type Verdict struct {
	Canaries []Sent    `json:"canaries"`
	Hops     []Hop     `json:"hops"`
	Skipped  []Skipped `json:"skipped,omitempty"`
	Broken   string    `json:"broken,omitempty"` // the first hop that is not right; empty where all is
	Why      string    `json:"why,omitempty"`
	Remedy   string    `json:"remedy,omitempty"`
}

// External is the class of canaries to a server that is none of ours.
const External = "external"

var seenByBoth = flow.SeenByWords[flow.SeenByBoth]

// ClockTolerance is how far two clocks may differ, ms.
const ClockTolerance = 5000

// The hops that are no stages.
const (
	HopKernel     = "kernel"
	HopAgent      = "agent"
	HopAgentClock = "agent clock"
	HopAgg        = "aggregator"
	HopAggClock   = "aggregator clock"
	HopWire       = "wire"
	HopProbe      = "probe" // the canaries could not be opened
)

// Judge compares what every hop noted with what was sent.
func Judge(sent []Sent, agent, agg *Asked) Verdict {
	v := Verdict{Canaries: sent}
	j := judge{sent: sent, agent: agent, agg: agg}
	v.Hops = append(v.Hops, j.kernel(), j.process(HopAgent, agent), j.clock(HopAgentClock, agent))
	for _, s := range []string{StageConntrack, StageTrack, StageSend} {
		v.Hops = append(v.Hops, j.stage(s, agent))
	}
	v.Hops = append(v.Hops, j.process(HopAgg, agg), j.clock(HopAggClock, agg), j.wire())
	v.Hops = append(v.Hops, j.stage(StageCollect, agg))
	if slices.ContainsFunc(sent, func(s Sent) bool { return s.Crosses() }) {
		v.Hops = append(v.Hops, j.peer())
	}
	for _, s := range []string{StageCorrelate, StageLive} {
		v.Hops = append(v.Hops, j.stage(s, agg))
	}
	for _, s := range agg.View.Sinks {
		v.Hops = append(v.Hops, j.sink(s))
	}
	for i := range v.Hops {
		h := &v.Hops[i]
		if v.Broken != "" { // what comes behind says nothing
			for k, s := range h.States {
				if s == Missing {
					h.States[k] = After
				}
			}
			continue
		}
		if h.bad() {
			v.Broken, v.Why, v.Remedy = h.Name, h.Why, h.Remedy
		}
	}
	return v
}

type judge struct {
	sent       []Sent
	agent, agg *Asked
}

func (j *judge) hop(name string, f func(s *Sent) (State, string, string)) Hop {
	h := Hop{Name: name}
	for i := range j.sent {
		state, why, remedy := f(&j.sent[i])
		h.States = append(h.States, state)
		if h.Why == "" && state != OK && why != "" {
			h.Why, h.Remedy = j.sent[i].String()+": "+why, remedy
		}
	}
	return h
}

const lookAtNode = "weirctl check node shows what this node lets be seen"

// kernel: the entry is there, and its bytes are the payload and plausible headers.
func (j *judge) kernel() Hop { return j.hop(HopKernel, j.kernelOf) }

func (j *judge) kernelOf(s *Sent) (State, string, string) {
	switch {
	case s.Denied:
		return Unknown, s.KernelWhy, "run it as root, in the network namespace of the agent"
	case s.Kernel == nil && s.Kind == Refused:
		return After, "", "" // its entry dies with the refusal
	case s.Kernel == nil:
		return Missing, "no conntrack entry: " + s.KernelWhy, lookAtNode
	case s.Kernel.Bytes == 0:
		return Wrong, "the kernel counts no bytes", "sysctl net.netfilter.nf_conntrack_acct=1, or the agent's --enable-accounting"
	}
	if s.Class == External { // what the server says is its own
		return OK, "", ""
	}
	back := s.Payload
	if s.Kind == Unanswered {
		back = 0
	}
	if !plausible(s.Kernel.Packets, s.Kernel.Bytes, s.Payload) || !plausible(s.Kernel.RevPackets, s.Kernel.RevBytes, back) {
		return Wrong, fmt.Sprintf("%d bytes were sent and the kernel counted %s", s.Payload, s.Kernel), "look for a rule that mirrors or rewrites packets"
	}
	return OK, "", ""
}

// plausible: a packet has 28 (IPv4, UDP) to 120 bytes (IPv6, TCP with options) of headers.
func plausible(packets, bytes, payload uint64) bool {
	return bytes >= payload+28*packets && bytes <= payload+120*packets
}

func (j *judge) all(name string, state State, why, remedy string) Hop {
	h := Hop{Name: name, Why: why, Remedy: remedy}
	for range j.sent {
		h.States = append(h.States, state)
	}
	return h
}

func (j *judge) process(name string, a *Asked) Hop {
	switch {
	case a.Skip:
		return j.all(name, Unknown, "it was not asked", "")
	case a.Err == "":
		return j.all(name, OK, "", "")
	case name == HopAgent:
		return j.all(name, Missing, "does not answer: "+a.Err, "is weir-agent running here (and not stopped), with its metrics at --agent? Its log says why it ended")
	}
	return j.all(name, Missing, "does not answer: "+a.Err, "is weir-aggregator running, with its API at --server?")
}

func (j *judge) clock(name string, a *Asked) Hop {
	switch off := a.View.NowMs - a.AtMs; {
	case a.Skip || a.Err != "" || a.View.NowMs == 0:
		return j.all(name, Unknown, "", "")
	case off > ClockTolerance || off < -ClockTolerance:
		return j.all(name, Wrong, fmt.Sprintf("its clock is %+.1f s from this machine's", float64(off)/1000), "set the clock (chrony, NTP) and restart the process: it goes on from the time at its start")
	}
	return j.all(name, OK, "", "")
}

// wire: the agent has a session with an aggregator.
func (j *judge) wire() Hop {
	return j.hop(HopWire, func(s *Sent) (State, string, string) {
		if j.agg.Err == "" && !j.agg.Skip && j.agg.View.Trace(s.Key) != nil {
			return OK, "", ""
		}
		switch {
		case j.agent.Skip || j.agent.Err != "":
			return Unknown, "", ""
		case !j.agent.View.Connected:
			return Missing, fmt.Sprintf("the agent has no session with an aggregator; %d records wait", j.agent.View.Held), "is collect.tcp, tls or udp of the aggregator the address in send.aggregators? The agent's log says what it was told"
		}
		return OK, "", ""
	})
}

// stage: the stage noted the canary with the kernel's numbers, names and outcome.
func (j *judge) stage(stage string, a *Asked) Hop {
	return j.hop(stage, func(s *Sent) (State, string, string) { return j.stageOf(stage, a, s) })
}

func (j *judge) stageOf(stage string, a *Asked, s *Sent) (State, string, string) {
	if a.Skip || a.Err != "" {
		return Unknown, "", ""
	}
	m := j.mark(a, s, stage)
	if m == nil {
		return Missing, missingWhy[stage], missingRemedy[stage]
	}
	return j.compare(s, m)
}

// peer: the server's node told of a canary that crosses.
func (j *judge) peer() Hop {
	return j.hop(StagePeer, func(s *Sent) (State, string, string) {
		switch {
		case !s.Crosses():
			return After, "", ""
		case j.agg.Skip || j.agg.Err != "":
			return Unknown, "", ""
		case j.mark(j.agg, s, StagePeer) == nil:
			return Missing, "the agent of " + s.DstNode + ", where it arrived, did not tell of it", "weirctl check node " + s.DstNode + " shows what that node lets be seen; do both agents name the same send.aggregators?"
		}
		return OK, "", ""
	})
}

var missingWhy = map[string]string{
	StageConntrack: "the agent did not see it",
	StageTrack:     "the agent saw it and did not export it",
	StageSend:      "it was exported and not given to the sender",
	StageCollect:   "the agent sent it and the aggregator did not decode it",
	StageCorrelate: "it was decoded and the correlator did not tell it",
	StageLive:      "the correlator told it and the live streams do not have it",
}

var missingRemedy = map[string]string{
	StageConntrack: "does the agent read this network namespace and zone? Are conntrack events on (sysctl net.netfilter.nf_conntrack_events)? " + lookAtNode,
	StageTrack:     "weirctl ledger shows what the tracker holds; track.activeTimeout is how long it may",
	StageSend:      "weirctl ledger shows why; send.queue may be full",
	StageCollect:   "weirctl ledger, stage wire; does this aggregator's API belong to the aggregator that the agent sends to?",
	StageCorrelate: "weirctl ledger; correlate.halfTimeout is how long an end may wait for the other",
	StageLive:      "api.backlog may be too small for the traffic",
}

func (j *judge) mark(a *Asked, s *Sent, stage string) *Mark {
	t := a.View.Trace(s.Key)
	if t == nil {
		return nil
	}
	return t.Mark(stage)
}

// expected is what the kernel counted or, where nobody could look, what the agent's
// source showed.
func (j *judge) expected(s *Sent) (Numbers, bool) {
	if s.Kernel != nil {
		return *s.Kernel, true
	}
	if m := j.mark(j.agent, s, StageConntrack); m != nil && m.Counted {
		return m.Total, true
	}
	return Numbers{}, false
}

func (j *judge) compare(s *Sent, m *Mark) (State, string, string) {
	want, known := j.expected(s)
	switch {
	case known && !m.Counted:
		return Wrong, "it has no counters", "sysctl net.netfilter.nf_conntrack_acct=1, or the agent's --enable-accounting"
	case known && m.Total != want:
		return Wrong, fmt.Sprintf("%s were sent and %s are booked", want, m.Total), "weirctl ledger shows losses with their reasons"
	case known && m.Stage != StageLive && m.Deltas != want: // live shows first sights beside
		return Wrong, fmt.Sprintf("%s were sent and the records add up to %s", want, m.Deltas), "weirctl ledger shows losses with their reasons"
	case m.StartMs != 0 && (m.StartMs-s.OpenedMs > ClockTolerance || s.OpenedMs-m.StartMs > ClockTolerance):
		return Wrong, fmt.Sprintf("its start is %+.1f s from when it was opened", float64(m.StartMs-s.OpenedMs)/1000), "compare the clocks of the nodes"
	}
	if m.Stage == StageConntrack {
		return OK, "", ""
	}
	if w := flow.OutcomeWords[s.Kind.Wanted()]; m.Outcome != w && (s.Kind != Unanswered || s.Ended || m.Outcome != "") {
		got := m.Outcome
		if got == "" {
			got = "not proven"
		}
		return Wrong, fmt.Sprintf("its outcome is %s, and was %s", got, w), "did something answer for the canary's port, or end it?"
	}
	if why := s.naming(m); why != "" {
		return Wrong, why, "compare nodeName of the agent with what names the address: names.source, the Node object's addresses"
	}
	if m.crossed() && s.Crosses() && m.SeenBy != seenByBoth {
		return Wrong, "only " + s.SrcNode + " told of it, and not " + s.DstNode, "weirctl check node " + s.DstNode + " shows what that node lets be seen; do both agents name the same send.aggregators?"
	}
	if t := j.mark(j.agent, s, StageTrack); t != nil && (t.Src != m.Src || t.Dst != m.Dst) {
		return Wrong, fmt.Sprintf("the agent named its ends %q and %q, and here they are %q and %q", t.Src, t.Dst, m.Src, m.Dst), "compare what both know of the cluster (weir_names_stale)"
	}
	return OK, "", ""
}

func (j *judge) sink(v SinkView) Hop {
	return j.hop(SinkPrefix+v.Name, func(s *Sent) (State, string, string) {
		if j.agg.Skip || j.agg.Err != "" {
			return Unknown, "", ""
		}
		if m := j.mark(j.agg, s, SinkPrefix+v.Name); m != nil {
			return j.compare(s, m)
		}
		switch {
		case v.Error != "":
			return Missing, fmt.Sprintf("the sink does not take records: %s; %d wait in its spool", v.Error, v.Held), "mend the destination; the spool delivers what waits"
		case v.Filtered:
			return After, "its filter leaves the canary out", ""
		}
		return Missing, fmt.Sprintf("the sink has not confirmed it; %d records wait in its spool", v.Held), "the sink's log and weir_sink_* say why; sinks[].spool.batchAge is how long a batch may fill"
	})
}

// crossed says whether a mark is of both ends together.
func (m *Mark) crossed() bool {
	return m.Stage == StageCorrelate || strings.HasPrefix(m.Stage, SinkPrefix)
}

// String is the judgement in one line.
func (v *Verdict) String() string {
	if v.Broken == "" {
		return "every hop booked every canary exactly"
	}
	return strings.TrimSuffix(fmt.Sprintf("broken at %s: %s", v.Broken, v.Why), ": ")
}
