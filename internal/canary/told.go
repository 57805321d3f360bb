package canary

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/weirnet/weir/api/ipfix"
)

// Run is one run of a node's own probe, as its agent tells it.
type Run struct {
	BeganMs    int64  // by the node's clock; 0 where there was none yet
	ToldMs     int64  // when it was told, by the same clock
	IntervalMs int64  // until the next one
	WaitMs     int64  // how long the canaries may take to every hop
	Failed     string // why they could not be opened
	Sent       []Sent // those that went to the aggregator that is told, or to none yet
	Elsewhere  int    // those that went to another aggregator
	Skipped    []Skipped
	Agent      View // what the agent noted of them
}

// The topic of the rows, and their keys. The Nth canary's is sent/N, and sent/N/STAGE
// for what a stage of the agent noted; skipped/N is a way that no canary went.
const (
	topic       = "canary"
	keyRun      = "run"      // value: when it began, ms; state: open or failed, with the reason
	keyClock    = "clock"    // value: the clock with which the agent stamps records, ms
	keyInterval = "interval" // value: ms
	keyWait     = "wait"     // value: ms
)

// The states of rows.
const (
	toldOpen      = "open"
	toldFailed    = "failed"
	toldElsewhere = "elsewhere" // the canary went to another aggregator
	toldSeen      = "seen"
	toldSkipped   = "skipped"
)

var agentStages = [...]string{StageConntrack, StageTrack, StageSend}

// maxSent bounds the canaries of one run.
const maxSent = 64

func sentKey(i int) string    { return "sent/" + strconv.Itoa(i) }
func skippedKey(i int) string { return "skipped/" + strconv.Itoa(i) }

// Facts gives the run as rows for one aggregator. A row of a canary carries when that
// was opened as its value, so that a row which is left from a run before is known.
// Without details the canaries are left out: they were judged long ago.
func (r *Run) Facts(nowMs int64, aggregator string, details bool) ([]ipfix.FactRow, error) {
	var out []ipfix.FactRow
	add := func(key, state, reason string, value int64) {
		out = append(out, ipfix.FactRow{Topic: topic, Key: key, State: state, Reason: reason, Value: value, AtMs: nowMs})
	}
	add(keyClock, toldSeen, "", r.Agent.NowMs)
	add(keyInterval, toldSeen, "", r.IntervalMs)
	add(keyWait, toldSeen, "", r.WaitMs)
	if r.BeganMs == 0 {
		return out, nil
	}
	if r.Failed != "" {
		add(keyRun, toldFailed, r.Failed, r.BeganMs)
		return out, nil
	}
	add(keyRun, toldOpen, "", r.BeganMs)
	if !details {
		return out, nil
	}
	for i := range r.Skipped[:min(len(r.Skipped), maxSent)] {
		text, err := json.Marshal(&r.Skipped[i])
		if err != nil {
			return nil, fmt.Errorf("tell %s: %w", skippedKey(i), err)
		}
		add(skippedKey(i), toldSkipped, string(text), r.BeganMs)
	}
	for i := range r.Sent[:min(len(r.Sent), maxSent)] {
		s := &r.Sent[i]
		key := sentKey(i)
		t := r.Agent.Trace(s.Key)
		if t != nil {
			if m := t.Mark(StageSend); m != nil && m.To != aggregator {
				add(key, toldElsewhere, "", s.OpenedMs)
				continue
			}
		}
		text, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("tell %s: %w", key, err)
		}
		add(key, toldOpen, string(text), s.OpenedMs)
		for _, stage := range agentStages {
			if t == nil || t.Mark(stage) == nil {
				continue
			}
			if text, err = json.Marshal(t.Mark(stage)); err != nil {
				return nil, fmt.Errorf("tell %s: %w", key, err)
			}
			add(key+"/"+stage, toldSeen, string(text), s.OpenedMs)
		}
	}
	return out, nil
}

// FromFacts puts a node's rows together again, in any order. Ok is false where the
// node tells of no probe. Rows that it does not know are left out; one that it knows
// and cannot read is an error, which names its key.
func FromFacts(rows []ipfix.FactRow) (r Run, ok bool, err error) {
	byKey := map[string]*ipfix.FactRow{}
	for i := range rows {
		if rows[i].Topic == topic {
			byKey[rows[i].Key] = &rows[i]
		}
	}
	number := func(key string) int64 {
		if x := byKey[key]; x != nil {
			return x.Value
		}
		return 0
	}
	if r.IntervalMs = number(keyInterval); r.IntervalMs <= 0 {
		return r, false, nil
	}
	if clock := byKey[keyClock]; clock != nil {
		r.ToldMs = clock.AtMs
	}
	r.WaitMs, r.Agent.NowMs, r.Agent.Connected = number(keyWait), number(keyClock), true
	run := byKey[keyRun]
	if run == nil {
		return r, true, nil
	}
	r.BeganMs = run.Value
	if run.State == toldFailed {
		r.Failed = run.Reason
		return r, true, nil
	}
	for i := range maxSent {
		if err := r.canary(byKey, sentKey(i)); err != nil {
			return r, true, err
		}
		if err := r.skip(byKey[skippedKey(i)]); err != nil {
			return r, true, err
		}
	}
	return r, true, nil
}

func (r *Run) skip(row *ipfix.FactRow) error {
	if row == nil || row.Value != r.BeganMs { // of a run before
		return nil
	}
	var s Skipped
	if err := json.Unmarshal([]byte(row.Reason), &s); err != nil {
		return fmt.Errorf("fact %s %s: %w", topic, row.Key, err)
	}
	r.Skipped = append(r.Skipped, s)
	return nil
}

// canary reads the rows of one canary.
func (r *Run) canary(byKey map[string]*ipfix.FactRow, key string) error {
	row := byKey[key]
	if row == nil || row.Value < r.BeganMs { // of a run before
		return nil
	}
	if row.State == toldElsewhere {
		r.Elsewhere++
		return nil
	}
	var s Sent
	if err := json.Unmarshal([]byte(row.Reason), &s); err != nil {
		return fmt.Errorf("fact %s %s: %w", topic, key, err)
	}
	if s.Kind >= NumKinds {
		return fmt.Errorf("fact %s %s: kind %d is unknown", topic, key, s.Kind)
	}
	s.OpenedMs = row.Value
	r.Sent = append(r.Sent, s)
	t := Trace{Key: s.Key}
	for _, stage := range agentStages {
		m := byKey[key+"/"+stage]
		if m == nil || m.Value != row.Value {
			continue
		}
		var mark Mark
		if err := json.Unmarshal([]byte(m.Reason), &mark); err != nil {
			return fmt.Errorf("fact %s %s/%s: %w", topic, key, stage, err)
		}
		mark.Stage = stage
		t.Marks = append(t.Marks, mark)
	}
	r.Agent.Traces = append(r.Agent.Traces, t)
	return nil
}

// IsFact says whether a row tells of the probe.
func IsFact(r *ipfix.FactRow) bool { return r.Topic == topic }
