package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/journal"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/daemon"
	"github.com/weirnet/weir/internal/kube"
	"github.com/weirnet/weir/internal/obs"
)

// world is what the aggregator knows of the cluster beside the flows: its objects
// now, and what changed.
type world struct {
	model   *cluster.Model
	source  kube.Source // nil where no cluster is named
	journal *journal.Journal
	agents  func() []journal.Agent
	tables  func() []journal.Table // the nodes' conntrack tables
	kube    *kube.API              // the source, where it is an API server
}

func openWorld(cfg *config.Aggregator, log *slog.Logger) (*world, error) {
	j, err := journal.Open(filepath.Join(cfg.DataDir, "changes"), journal.DefaultConfig(), log, time.Now())
	if err != nil {
		return nil, err
	}
	w := &world{model: cluster.NewModel(cluster.DefaultLimits()), journal: j}
	_, err = os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token")
	deps := kube.Deps{Log: log, Changes: j.Add}
	switch cfg.Cluster.Resolve(err == nil) {
	case "manifests":
		w.source = kube.FromDir(cfg.Cluster.Manifests, w.model, deps)
	case "kubernetes":
		var k *kube.API
		if cfg.Cluster.Kubeconfig != "" {
			k, err = kube.FromKubeconfig(cfg.Cluster.Kubeconfig, "", w.model, deps)
		} else {
			k, err = kube.InCluster(w.model, deps)
		}
		if err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
		w.source, w.kube = k, k
	}
	return w, nil
}

// tasks are the source, which may be away without harm, and the watch of the agents and
// their nodes' conntrack tables.
func (w *world) tasks() []daemon.Task {
	list := []daemon.Task{w}
	if w.source != nil {
		list = append(list, optional{w.source})
	}
	return list
}

// optional is a source that the process does not wait for: flows come with names.
type optional struct{ kube.Source }

// Ready is true: no flow waits for it.
func (optional) Ready() bool { return true }

// String is the task's name.
func (w *world) String() string { return "changes" }

// Ready is true: there is nothing to wait for.
func (w *world) Ready() bool { return true }

// Run watches the agents and the tables until ctx is done.
func (w *world) Run(ctx context.Context) error {
	var a journal.Agents
	var t journal.Tables
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.journal.Close()
		case now := <-tick.C:
			if list := append(a.Observe(now, w.agents()), t.Observe(now, w.tables())...); len(list) > 0 {
				w.journal.Add(list)
			}
		}
	}
}

func (w *world) changes(q api.ChangeQuery) api.Changes {
	var c api.Changes
	c.Changes, c.Total = w.journal.Range(q.FromMs, q.ToMs, q.Limit, q.Wants)
	c.Source = "agents only: name a cluster with cluster.kubeconfig or cluster.manifests"
	if w.source != nil {
		s := w.source.Status()
		c.Source = s.Source
		switch {
		case !s.Synced:
			c.Source += ", not read yet"
		case s.Stale:
			c.Source += ", cut off since " + s.Since.UTC().Format(time.RFC3339)
		}
	}
	return c
}

func agentStates(c collector) func() []journal.Agent {
	return func() []journal.Agent {
		var out []journal.Agent
		for _, b := range c.Books(time.Now()) { // by observer, the newest process of each last
			if n := len(out); n > 0 && out[n-1].Node == b.Observer {
				out = out[:n-1]
			}
			out = append(out, journal.Agent{Node: b.Observer, Instance: b.Instance, Heard: b.At})
		}
		return out
	}
}

func tableStates(c collector) func() []journal.Table {
	return func() (out []journal.Table) {
		for _, f := range c.FactsWhere(time.Now(), coverage.OfPressure) {
			if p := coverage.FromFacts(f.Observer, f.Rows).Pressure; p != nil {
				out = append(out, journal.Table{Node: f.Observer, At: f.At, State: *p})
			}
		}
		return out
	}
}

func (w *world) metrics() []obs.Metric {
	count := func(f func(journal.Stats) uint64) func(func(float64, ...string)) {
		return obs.Value(func() float64 { return float64(f(w.journal.Stats())) })
	}
	return []obs.Metric{
		{Name: "weir_changes_held", Help: "Changes of the cluster that are kept.", Kind: obs.Gauge, Read: count(func(s journal.Stats) uint64 { return uint64(s.Held) })},
		{Name: "weir_changes_total", Help: "Changes of the cluster that were told.", Kind: obs.Counter, Read: count(func(s journal.Stats) uint64 { return s.Added })},
		{Name: "weir_changes_forgotten_total", Help: "Changes of the cluster that were forgotten, by age or number.", Kind: obs.Counter, Read: count(func(s journal.Stats) uint64 { return s.Forgotten })},
		{Name: "weir_changes_write_errors_total", Help: "Changes that could not be written to the disk and are in memory only.", Kind: obs.Counter, Read: count(func(s journal.Stats) uint64 { return s.WriteErrors })},
		{Name: "weir_changes_source_stale", Help: "1 while the source of the cluster's state is cut off, or was never read.", Kind: obs.Gauge, Read: obs.Value(func() float64 {
			if w.source == nil {
				return 0
			}
			if s := w.source.Status(); s.Stale || !s.Synced {
				return 1
			}
			return 0
		})},
	}
}
