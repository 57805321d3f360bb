package kube

import "github.com/weirnet/weir/internal/obs"

// Metrics are the numbers of a source for /metrics.
func Metrics(src Source) []obs.Metric {
	flag := func(f func(Status) bool) func(func(float64, ...string)) {
		return obs.Value(func() float64 {
			if f(src.Status()) {
				return 1
			}
			return 0
		})
	}
	return []obs.Metric{
		{
			Name: "weir_cluster_synced", Kind: obs.Gauge, Read: flag(func(s Status) bool { return s.Synced }),
			Help: "1 once the state of the cluster was read completely.",
		},
		{
			Name: "weir_cluster_stale", Kind: obs.Gauge, Read: flag(func(s Status) bool { return s.Stale }),
			Help: "1 while the source of names is cut off or has errors; names are then those of the last state that was read.",
		},
		{
			Name: "weir_cluster_source_errors_total", Kind: obs.Counter, Help: "Failed readings of the source of names.",
			Read: obs.Value(func() float64 { return float64(src.Status().Errors) }),
		},
		{
			Name: "weir_cluster_events_total", Kind: obs.Counter, Help: "Changes of the cluster that were applied.",
			Read: obs.Value(func() float64 { return float64(src.Status().Model.Events) }),
		},
		{
			Name: "weir_cluster_objects", Kind: obs.Gauge, Labels: []string{"kind"}, Help: "Objects held, by kind.",
			Read: func(emit func(float64, ...string)) {
				m := src.Status().Model
				emit(float64(m.Pods), "Pod")
				emit(float64(m.Nodes), "Node")
				emit(float64(m.Services), "Service")
				emit(float64(m.EndpointSlices), "EndpointSlice")
				emit(float64(m.ReplicaSets), "ReplicaSet")
				emit(float64(m.Namespaces), "Namespace")
			},
		},
		{
			Name: "weir_cluster_claims", Kind: obs.Gauge, Help: "Claims on addresses that are remembered, of the present and of the past.",
			Read: obs.Value(func() float64 { return float64(src.Status().Model.Spans) }),
		},
		{
			Name: "weir_cluster_claims_forgotten_total", Kind: obs.Counter, Labels: []string{"reason"},
			Help: "Ended claims on addresses that were forgotten: age is the ordinary end, per_key and total are caps.",
			Read: func(emit func(float64, ...string)) {
				e := src.Status().Model.Evicted
				emit(float64(e.Age), "age")
				emit(float64(e.PerKey), "per_key")
				emit(float64(e.Total), "total")
			},
		},
	}
}
