package canary

import (
	"slices"
	"sync"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// The stages that note canaries, in the order in which these pass them. A sink's is
// sink/NAME.
const (
	StageConntrack = "conntrack" // the agent's source showed the entry
	StageTrack     = "track"     // the tracker exported it, with names
	StageSend      = "send"      // it was given to the sender
	StageCollect   = "collect"   // the aggregator decoded it
	StagePeer      = "peer"      // and what the server's node told of it
	StageCorrelate = "correlate" // the correlator told it
	StageLive      = "live"      // the API's live streams have it
	SinkPrefix     = "sink/"
)

// Mark is what one stage has of one canary.
type Mark struct {
	Stage   string  `json:"stage"`
	AtMs    int64   `json:"at_ms"` // when it came last, by this process's clock
	StartMs int64   `json:"start_ms,omitempty"`
	Records int     `json:"records"`
	Counted bool    `json:"counted"` // there are counters
	Total   Numbers `json:"total"`   // as the newest record has them
	Deltas  Numbers `json:"deltas"`  // added up
	Outcome string  `json:"outcome,omitempty"`
	Src     string  `json:"src,omitempty"` // name of the client, as NS/POD or a node's
	Dst     string  `json:"dst,omitempty"`
	SrcNode string  `json:"src_node,omitempty"` // node of the client; absent where it is outside, or not known
	DstNode string  `json:"dst_node,omitempty"`
	Service string  `json:"service,omitempty"` // that was dialled, as NS/NAME:PORT
	SeenBy  string  `json:"seen_by,omitempty"` // which ends told it
	To      string  `json:"to,omitempty"`      // aggregator that it was given to (send)
}

// Trace is one canary's way through one process.
type Trace struct {
	Key   string `json:"key"`
	Marks []Mark `json:"marks"`
	start int64  // of the connection, ms; 0 until a stage knows it
}

// Mark gives the mark of a stage; nil where it did not pass there.
func (t *Trace) Mark(stage string) *Mark {
	for i := range t.Marks {
		if t.Marks[i].Stage == stage {
			return &t.Marks[i]
		}
	}
	return nil
}

// Trail notes the canaries that pass a process. Safe for concurrent use.
type Trail struct {
	mu     sync.Mutex
	max    int
	traces map[string]*Trace
	order  []string // oldest first
	seen   uint64
}

// NewTrail makes a trail that keeps the newest max canaries.
func NewTrail(max int) *Trail { return &Trail{max: max, traces: map[string]*Trace{}} }

// Seen is how many canaries were noted since the start.
func (t *Trail) Seen() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

// List copies what is kept, oldest first.
func (t *Trail) List() []Trace {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Trace, 0, len(t.order))
	for _, k := range t.order {
		x := t.traces[k]
		out = append(out, Trace{Key: k, Marks: slices.Clone(x.Marks)})
	}
	return out
}

// Get copies what is kept of some canaries.
func (t *Trail) Get(keys []string) []Trace {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Trace
	for _, k := range keys {
		if x := t.traces[k]; x != nil {
			out = append(out, Trace{Key: k, Marks: slices.Clone(x.Marks)})
		}
	}
	return out
}

// anotherMs is how far apart the starts of two connections of one tuple are at least, and
// more than clocks differ: a port rests for a minute (TCP_TIMEWAIT_LEN).
const anotherMs = 30_000

// mark finds or makes a mark of the connection that began at startMs, 0 where that is
// not known. Call it with the lock held.
func (t *Trail) mark(key, stage string, startMs int64) *Mark {
	x := t.traces[key]
	if x != nil && startMs != 0 && x.start != 0 {
		switch {
		case startMs < x.start-anotherMs:
			return &Mark{} // of the one before, whose place is taken
		case startMs > x.start+anotherMs: // the tuple is used again
			x.Marks, x.start = nil, startMs
			t.seen++
		}
	}
	if x == nil {
		if len(t.order) >= t.max {
			delete(t.traces, t.order[0])
			t.order = slices.Delete(t.order, 0, 1)
		}
		x = &Trace{Key: key}
		t.traces[key] = x
		t.order = append(t.order, key)
		t.seen++
	}
	if x.start == 0 {
		x.start = startMs
	}
	if m := x.Mark(stage); m != nil {
		return m
	}
	x.Marks = append(x.Marks, Mark{Stage: stage})
	return &x.Marks[len(x.Marks)-1]
}

// Conn notes an entry; the caller has asked IsConn.
func (t *Trail) Conn(nowMs int64, c *track.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.mark(connKey(c), StageConntrack, c.Start/1e6)
	m.AtMs, m.StartMs, m.Counted = nowMs, c.Start/1e6, c.HasCounters
	m.Records++
	m.Total = NumbersOf(c)
	m.Deltas = m.Total
}

// Records notes the canaries among recs.
func (t *Trail) Records(nowMs int64, stage string, recs []flow.Record) {
	for i := range recs {
		if IsRecord(&recs[i]) {
			t.Record(nowMs, stage, &recs[i])
		}
	}
}

// Record notes a record; the caller has asked IsRecord.
func (t *Trail) Record(nowMs int64, stage string, r *flow.Record) { t.Given(nowMs, stage, r, "") }

// Given is Record at a stage that hands the record to an aggregator.
func (t *Trail) Given(nowMs int64, stage string, r *flow.Record, to string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A field that is absent may hold what another record left there.
	has := func(f flow.FieldID) bool { return r.Has.Has(f) }
	var start int64
	if has(flow.FStart) {
		start = r.Start
	}
	m := t.mark(recordKey(r), reporter(stage, r), start)
	m.To = to
	m.AtMs = nowMs
	m.Records++
	if start != 0 {
		m.StartMs = start
	}
	if has(flow.FBytes) {
		m.Counted = true
		m.Total = Numbers{r.Packets, r.Bytes, r.RevPackets, r.RevBytes}
	}
	if has(flow.FBytesDelta) {
		m.Deltas.Packets += r.PacketsDelta
		m.Deltas.Bytes += r.BytesDelta
		m.Deltas.RevPackets += r.RevPacketsDelta
		m.Deltas.RevBytes += r.RevBytesDelta
	}
	if has(flow.FOutcome) && r.Outcome != flow.OutcomeUnknown {
		m.Outcome = flow.OutcomeWords[r.Outcome]
	}
	text := func(f flow.FieldID, s string) string {
		if !has(f) {
			return ""
		}
		return s
	}
	if has(flow.FSeenBy) {
		m.SeenBy = flow.SeenByWords[r.SeenBy]
	}
	m.Service = text(flow.FSvcPortName, r.SvcPortName)
	m.SrcNode, m.DstNode = text(flow.FSrcNode, r.SrcNode), text(flow.FDstNode, r.DstNode)
	m.Src = name(text(flow.FSrcNS, r.SrcNS), text(flow.FSrcPod, r.SrcPod), m.SrcNode, text(flow.FSrcName, r.SrcName))
	m.Dst = name(text(flow.FDstNS, r.DstNS), text(flow.FDstPod, r.DstPod), m.DstNode, text(flow.FDstName, r.DstName))
}

func name(ns, pod, node, external string) string {
	switch {
	case pod != "":
		return ns + "/" + pod
	case node != "":
		return node
	}
	return external
}

// View is what one process can tell of canaries.
type View struct {
	NowMs  int64   `json:"now_ms"` // its clock, with which it stamps records
	Traces []Trace `json:"traces"`
	// Of an agent.
	Connected bool   `json:"connected,omitempty"` // it has a session with an aggregator
	Held      uint64 `json:"held,omitempty"`      // records that wait to be sent
	// Of an aggregator.
	Sinks []SinkView `json:"sinks,omitempty"`
}

// SinkView is the state of a sink.
type SinkView struct {
	Name     string `json:"name"`
	Filtered bool   `json:"filtered,omitempty"` // its filter leaves records out
	Error    string `json:"error,omitempty"`    // of the last write, where that failed
	Held     uint64 `json:"held,omitempty"`     // records that wait in its spool
}

// Trace finds a canary by its key.
func (v *View) Trace(key string) *Trace {
	for i := range v.Traces {
		if v.Traces[i].Key == key {
			return &v.Traces[i]
		}
	}
	return nil
}
