package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/cluster"
)

var t0 = time.UnixMilli(1_790_000_000_000)

func change(at time.Duration, object string) cluster.Change {
	c := cluster.Change{TimeMs: t0.Add(at).UnixMilli(), Kind: cluster.ChangeRollout, Namespace: "shop", Object: object, What: "x"}
	c.Identify()
	return c
}

func open(t *testing.T, dir string, cfg Config) *Journal {
	t.Helper()
	j, err := Open(dir, cfg, nil, t0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func objects(j *Journal, from, to time.Duration, limit int) (out []string, total int) {
	list, total := j.Range(t0.Add(from).UnixMilli(), t0.Add(to).UnixMilli(), limit, nil)
	for _, c := range list {
		out = append(out, c.Object)
	}
	return out, total
}

func TestJournalKeepsAndFinds(t *testing.T) {
	dir := t.TempDir()
	for _, restart := range []bool{false, true} {
		j := open(t, dir, DefaultConfig())
		// Told in any order, and again after a restart.
		j.Add([]cluster.Change{change(3*time.Second, "c"), change(time.Second, "a")})
		j.Add([]cluster.Change{change(2*time.Second, "b"), change(3*time.Second, "c")})
		got, n := objects(j, time.Second, 3*time.Second, 10)
		if d := cmp.Diff([]string{"a", "b"}, got); d != "" || n != 2 {
			t.Errorf("restart %v: %d %s", restart, n, d)
		}
		got, n = objects(j, 0, time.Hour, 2)
		if d := cmp.Diff([]string{"b", "c"}, got); d != "" || n != 3 {
			t.Errorf("restart %v: the newest two of three: %d %s", restart, n, d)
		}
		if s := j.Stats(); s.Held != 3 || restart && s.Repeated != 4 {
			t.Errorf("restart %v: %+v", restart, s)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJournalAfterAKill: a torn last line costs itself.
func TestJournalAfterAKill(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, DefaultConfig())
	j.Add([]cluster.Change{change(time.Second, "a"), change(2*time.Second, "b")})
	path := filepath.Join(dir, fileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, `{"id":7,"time_m`...), 0o600); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, DefaultConfig())
	if got, _ := objects(j, 0, time.Hour, 10); strings.Join(got, "") != "ab" || j.Stats().Broken != 1 {
		t.Errorf("%v %+v", got, j.Stats())
	}
	j.Add([]cluster.Change{change(3*time.Second, "c")})
	if got, _ := objects(open(t, dir, DefaultConfig()), 0, time.Hour, 10); strings.Join(got, "") != "abc" {
		t.Errorf("after the torn line: %v", got)
	}
}

func TestJournalIsBounded(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Config{Max: 100, Age: time.Hour})
	for i := range 5000 {
		j.Add([]cluster.Change{change(time.Duration(i)*time.Second, fmt.Sprint("o", i))})
	}
	s := j.Stats()
	if s.Held != 100 || s.Forgotten != 4900 || len(j.known) != 100 {
		t.Errorf("%+v, %d known", s, len(j.known))
	}
	st, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || st.Size() > 1300*200 {
		t.Errorf("file of %d bytes, %v", st.Size(), err)
	}
	j.Add([]cluster.Change{change(10*time.Hour, "late")})
	if got, _ := objects(j, 0, 20*time.Hour, 10); len(got) != 1 {
		t.Errorf("what is older than an hour stayed: %v", got)
	}
}

// TestJournalWithoutADisk keeps what it cannot write, counts it, and writes it
// when it can.
func TestJournalWithoutADisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	j := open(t, dir, DefaultConfig())
	_ = j.file.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	j.Add([]cluster.Change{change(time.Second, "a")})
	j.Add([]cluster.Change{change(2*time.Second, "b")})
	if s := j.Stats(); s.Held != 2 || s.WriteErrors != 2 {
		t.Errorf("%+v", s)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	j.Add([]cluster.Change{change(3*time.Second, "c")})
	if got, _ := objects(open(t, dir, DefaultConfig()), 0, time.Hour, 10); strings.Join(got, "") != "abc" {
		t.Errorf("written later: %v", got)
	}
	if _, err := Open("/proc/nowhere", DefaultConfig(), nil, t0); err == nil || !strings.Contains(err.Error(), "make it writable") {
		t.Errorf("no error for a directory that cannot be made: %v", err)
	}
}

// TestTables: that a table fills is told once on the way up and once on the way down; that
// connections suffer, once a minute while they do.
func TestTables(t *testing.T) {
	var tables Tables
	var out []string
	at := func(s int, count, drops, early uint64) {
		now := t0.Add(time.Duration(s) * time.Second)
		x := Table{Node: "n1", At: now, State: pressure.State{Count: count, Max: 1000, Drops: drops, EarlyDrops: early, WindowMs: 60_000}}
		for range 2 { // the same words twice are one
			for _, c := range tables.Observe(now, []Table{x, {Node: "n2", At: now}}) {
				out = append(out, fmt.Sprintf("%d %s %t %s", (c.TimeMs-t0.UnixMilli())/1000, c.Object, c.Bad, c.What))
			}
		}
	}
	at(0, 100, 0, 0)
	at(5, 850, 0, 0)
	at(10, 790, 0, 0)
	at(15, 810, 0, 0)
	at(20, 1000, 7, 2)
	at(25, 1000, 9, 3)
	at(80, 1000, 11, 0)
	at(90, 650, 11, 0)
	at(150, 100, 0, 0)
	want := []string{
		"5 Node/n1 false conntrack is filled to 85 % (850 of 1000 entries)",
		"20 Node/n1 true conntrack was full: 7 packets of new connections were dropped within 1m0s",
		"20 Node/n1 true conntrack was full: 2 entries of others were thrown out to make room within 1m0s",
		"80 Node/n1 true conntrack was full: 11 packets of new connections were dropped within 1m0s",
		"90 Node/n1 false conntrack has room again (65 % filled)",
	}
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	tables.Observe(t0.Add(48*time.Hour), nil)
	if len(tables.seen) != 0 {
		t.Errorf("%d tables are remembered after two days", len(tables.seen))
	}
}

func TestAgents(t *testing.T) {
	var a Agents
	var out []string
	at := func(s int, list ...Agent) {
		for _, c := range a.Observe(t0.Add(time.Duration(s)*time.Second), list) {
			out = append(out, fmt.Sprintf("%d %s %s", (c.TimeMs-t0.UnixMilli())/1000, c.Object, c.What))
		}
	}
	x := func(node, inst string, heard int) Agent {
		return Agent{node, inst, t0.Add(time.Duration(heard) * time.Second)}
	}
	at(0, x("n1", "i1", 0))
	at(5, x("n1", "i1", 5), x("n2", "j1", 4))
	at(10, x("n1", "i2", 9), x("n2", "j1", 10))
	at(60, x("n1", "i2", 60), x("n2", "j1", 10))
	at(65, x("n1", "i2", 65), x("n2", "j1", 10))
	at(90, x("n1", "i2", 90), x("n2", "j1", 89))
	at(100, x("n1", "i2", 100))
	want := []string{
		"4 Agent/n2 began to report", "9 Agent/n1 was restarted",
		"10 Agent/n2 has been silent since " + t0.Add(10*time.Second).UTC().Format(time.RFC3339), "89 Agent/n2 reports again",
	}
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	a.Observe(t0.Add(48*time.Hour), nil)
	if len(a.seen) != 0 {
		t.Errorf("%d agents are remembered after two days", len(a.seen))
	}
}
