package canary

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// watching is a watch, one node, and what the aggregator noted.
type watching struct {
	*Watch
	told Told
	agg  View
	now  int64
}

func newWatching() *watching {
	x := &watching{Watch: NewWatch(opened - 60_000), told: Told{Node: "n1", Instance: "a", Run: told()}, agg: good().agg.View, now: opened}
	x.told.Run.ToldMs = opened
	x.told.Run.Agent.NowMs = opened
	return x
}

// step tells the run again after some seconds and shows what is known of the node.
func (x *watching) step(seconds int64) string {
	x.now += 1000 * seconds
	x.told.Run.ToldMs += 1000 * seconds
	x.told.Run.Agent.NowMs += 1000 * seconds
	x.told.HeardMs = x.now
	return x.look()
}

func (x *watching) look() string {
	x.Step(x.now, []Told{x.told}, func(keys []string) (v View) {
		v = x.agg
		v.Traces = nil
		for _, k := range keys {
			if t := x.agg.Trace(k); t != nil {
				v.Traces = append(v.Traces, *t)
			}
		}
		return v
	})
	n := x.List()[0]
	s := string(n.Result)
	if n.Verdict != nil && n.Verdict.Broken != "" {
		s += " at " + n.Verdict.Broken
	}
	if n.Pending {
		s += ", pending"
	}
	return fmt.Sprintf("%s %d/%d/%d", s, n.Runs.OK, n.Runs.Failed, n.Runs.Overdue)
}

// again is the node's next run, whose canaries have the same keys.
func (x *watching) again() {
	x.told.Run.BeganMs += 300_000
	for i := range x.told.Run.Sent {
		x.told.Run.Sent[i].OpenedMs += 300_000
	}
}

func TestWatch(t *testing.T) {
	type do func(x *watching)
	wait := func(s int64) do { return func(x *watching) { x.step(s) } }
	for _, c := range []struct {
		name string
		do   []do
		want string
	}{
		{"right at once", []do{wait(1)}, "ok 1/0/0"},
		{"told again", []do{wait(1), wait(5), wait(5)}, "ok 1/0/0"},
		{"on its way", []do{func(x *watching) { x.agg.Traces = nil }, wait(1), wait(29)}, "none, pending 0/0/0"},
		{"right at last", []do{func(x *watching) { x.agg.Traces = nil }, wait(1), wait(9), func(x *watching) { x.agg = good().agg.View }, wait(1)}, "ok 1/0/0"},
		{"it did not come", []do{func(x *watching) { x.agg.Traces = nil }, wait(1), wait(31)}, "failed at collect 0/1/0"},
		{"a failed one stays failed", []do{func(x *watching) { x.agg.Traces = nil }, wait(1), wait(31), func(x *watching) { x.agg = good().agg.View }, wait(5)}, "failed at collect 0/1/0"},
		{"the next one came too soon", []do{func(x *watching) { x.agg.Traces = nil }, wait(1), func(x *watching) { x.again() }, wait(5)}, "failed at collect, pending 0/1/0"},
		{"not opened", []do{func(x *watching) { x.told.Run.Failed = "no route" }, wait(1)}, "failed at probe 0/1/0"},
		{"agent's hop", []do{func(x *watching) { x.told.Run.Agent.Traces = nil; x.agg.Traces = nil }, wait(1), wait(31)}, "failed at conntrack 0/1/0"},
		{"agent's clock", []do{func(x *watching) { x.told.Run.Agent.NowMs += 3600_000 }, wait(1), wait(31)}, "failed at agent clock 0/1/0"},
		{"not to be read", []do{func(x *watching) { x.told.Err = errors.New("fact canary tcp/v4: x") }, wait(1), wait(31)}, "failed at agent 0/1/0"},
		{"all elsewhere", []do{func(x *watching) { x.told.Run.Sent, x.told.Run.Elsewhere = nil, 4 }, wait(1), wait(31)}, "none 0/0/0"},
		{"began before this process", []do{func(x *watching) { x.Watch = NewWatch(opened + 1) }, wait(1), wait(31)}, "none 0/0/0"},
		{"no run yet", []do{func(x *watching) { x.told.Run = Run{IntervalMs: 300_000, WaitMs: 30_000} }, wait(1), wait(31)}, "none 0/0/0"},
		{"no run for long", []do{wait(1), wait(640)}, "overdue at agent 1/0/1"},
		{"no run for longer", []do{wait(1), wait(640), wait(1000)}, "overdue at agent 1/0/1"},
		{"a new process without a run", []do{wait(1), wait(600), func(x *watching) { x.told.Instance = "b" }, wait(100)}, "ok 1/0/0"},
		{"silent", []do{wait(1), func(x *watching) { x.now += 61_000; x.look() }}, "overdue at agent 1/0/1"},
	} {
		x := newWatching()
		for _, f := range c.do {
			f(x)
		}
		if got := x.look(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestWatchForgets: a node that the collector has forgotten is not kept, and the
// reason of one that is late says what to do.
func TestWatchForgets(t *testing.T) {
	x := newWatching()
	x.step(1)
	x.now += 100_000
	x.look()
	if v := x.List()[0].Verdict; !strings.Contains(v.Why, "has told nothing for 100 s") || v.Remedy == "" {
		t.Errorf("%+v", v)
	}
	if x.Step(x.now, nil, nil); len(x.List()) != 0 {
		t.Errorf("%+v", x.List())
	}
}
