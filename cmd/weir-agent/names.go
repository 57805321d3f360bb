package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/weirnet/weir/exporter"
	"github.com/weirnet/weir/exporter/dnswatch"
	"github.com/weirnet/weir/exporter/enrich"
	"github.com/weirnet/weir/exporter/send"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/daemon"
	"github.com/weirnet/weir/internal/kube"
	"github.com/weirnet/weir/internal/limitfile"
	"github.com/weirnet/weir/internal/obs"
)

// names is everything that gives addresses their names.
type names struct {
	source   kube.Source // nil where only this host is known
	model    *cluster.Model
	enricher *enrich.Enricher
}

// openNames opens the source that the configuration means.
func openNames(cfg *config.Agent, log *slog.Logger, seen *dnswatch.Watcher) (*names, error) {
	n := &names{model: cluster.NewModel(cluster.DefaultLimits())}
	_, err := os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token")
	deps := kube.Deps{Log: log}
	switch cfg.Names.Resolve(err == nil) {
	case "manifests":
		n.source = kube.FromDir(cfg.Names.Manifests, n.model, deps)
	case "kubernetes":
		var api *kube.API
		if cfg.Names.Kubeconfig != "" {
			api, err = kube.FromKubeconfig(cfg.Names.Kubeconfig, "", n.model, deps)
		} else {
			api, err = kube.InCluster(n.model, deps)
		}
		if err != nil {
			return nil, fmt.Errorf("names: %w", err)
		}
		n.source = api
	default:
		e, err := kube.HostNode(cfg.NodeName)
		if err != nil {
			return nil, fmt.Errorf("names: %w", err)
		}
		n.model.Apply(time.Now().UnixMilli(), e)
	}
	ec := enrich.Config{Node: cfg.NodeName, Labels: cfg.Names.Labels}
	if seen != nil {
		ec.DNS = seen
	}
	if cfg.Names.CIDRs != "" {
		b, err := limitfile.Read(cfg.Names.CIDRs, 64<<20)
		if err != nil {
			return nil, fmt.Errorf("names.cidrs: %w", err)
		}
		if ec.Names, err = enrich.ParseNames(cfg.Names.CIDRs, b); err != nil {
			return nil, fmt.Errorf("names.cidrs: %w", err)
		}
	}
	n.enricher = enrich.New(ec, n.model.Index())
	return n, nil
}

// owner names the pod of an address as namespace/name, else what the address is.
func (n *names) owner(addr [16]byte, nowMs int64) string {
	if id := n.model.Index().Lookup(addr, 0, 0, nowMs); id != nil && id.Name != "" {
		return id.Namespace + "/" + id.Name
	}
	return netip.AddrFrom16(addr).Unmap().String()
}

func (n *names) tasks() []daemon.Task {
	if n.source == nil {
		return nil
	}
	return []daemon.Task{n.source}
}

func (n *names) status() any {
	if n.source == nil {
		return kube.Status{Source: "none", Synced: true, Model: n.model.Stats()}
	}
	return n.source.Status()
}

func (n *names) metrics() []obs.Metric {
	status := func(f func(kube.Status) float64) func(func(float64, ...string)) {
		return obs.Value(func() float64 {
			if s, ok := n.status().(kube.Status); ok {
				return f(s)
			}
			return 0
		})
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return []obs.Metric{
		{Name: "weir_names_synced", Help: "1 once the source of names was read completely.", Kind: obs.Gauge, Read: status(func(s kube.Status) float64 { return flag(s.Synced) })},
		{Name: "weir_names_stale", Help: "1 while the source of names is cut off or has errors: what is known may be old.", Kind: obs.Gauge, Read: status(func(s kube.Status) float64 { return flag(s.Stale) })},
		{Name: "weir_names_errors_total", Help: "Failed readings and broken watches of the source of names.", Kind: obs.Counter, Read: status(func(s kube.Status) float64 { return float64(s.Errors) })},
		{Name: "weir_names_objects", Help: "Objects that give names, by kind.", Kind: obs.Gauge, Labels: []string{"kind"}, Read: n.objects},
	}
}

// exportTask is the exporter's loop; it begins when there are names, or after a
// while without: an API server that is down must not blind the node.
type exportTask struct {
	loop   *exporter.Exporter
	names  *names
	finite bool // a replay ends by itself, and the process with it
}

const waitForNames = 10 * time.Second

func (t exportTask) String() string { return "exporter" }
func (t exportTask) Ready() bool    { return t.loop.State().Ready }

// Run reads connections until ctx is done.
func (t exportTask) Run(ctx context.Context) error {
	if t.names.source != nil {
		late := time.After(waitForNames)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
	wait:
		for !t.names.source.Ready() {
			select {
			case <-ctx.Done():
				break wait
			case <-late:
				break wait
			case <-tick.C:
			}
		}
	}
	err := t.loop.Run(ctx)
	if err == nil && t.finite && ctx.Err() == nil {
		return daemon.ErrDone
	}
	return err
}

// domain is the observation domain: configured, or a hash of the node's name.
func domain(cfg *config.Agent) uint32 {
	if cfg.Send.Domain != 0 {
		return cfg.Send.Domain
	}
	h := fnv.New32()                     // FNV-1, as Antrea numbers its domains
	_, _ = h.Write([]byte(cfg.NodeName)) // a hash takes everything
	return h.Sum32()
}

func sendMetrics(s *send.Sender) []obs.Metric {
	return []obs.Metric{{
		Name: "antrea_agent_flow_collector_reconnection_count", Help: "Sessions with aggregators that broke and were begun again.", Kind: obs.Gauge,
		Read: obs.Value(func() float64 { return float64(s.Reconnects.Load()) }),
	}}
}

func (n *names) objects(emit func(float64, ...string)) {
	st := n.model.Stats()
	for _, x := range []struct {
		kind  string
		count int
	}{
		{"Pod", st.Pods},
		{"Node", st.Nodes},
		{"Service", st.Services},
		{"EndpointSlice", st.EndpointSlices},
		{"ReplicaSet", st.ReplicaSets},
		{"Namespace", st.Namespaces},
		{"NetworkPolicy", st.NetworkPolicies},
	} {
		emit(float64(x.count), x.kind)
	}
}
