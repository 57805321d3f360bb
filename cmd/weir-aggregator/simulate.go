package main

import (
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/kube"
)

// known is what the API may ask of the cluster; nil where none is named.
func (w *world) known() api.Cluster {
	if w.source == nil {
		return nil
	}
	return w
}

// Unknown implements api.Cluster.
func (w *world) Unknown() string {
	if !w.source.Status().Synced {
		return w.source.Status().Source + " was not read yet"
	}
	return ""
}

// ReadPolicies implements api.Cluster.
func (w *world) ReadPolicies(text []byte, namespace string) ([]*cluster.NetworkPolicy, error) {
	return kube.ReadPolicies("policies", text, namespace)
}

// InForce implements api.Cluster.
func (w *world) InForce(namespace string) []*cluster.NetworkPolicy {
	return inForce(w.model.Index(), namespace, time.Now().UnixMilli())
}

// NamespaceLabels implements api.Cluster.
func (w *world) NamespaceLabels(namespace string) map[string]string {
	return cluster.ParseLabels(w.model.Index().NamespaceLabels(namespace))
}

// Pods implements api.Cluster.
func (w *world) Pods(namespace string) []*cluster.PodState { return w.model.Index().Pods(namespace) }
