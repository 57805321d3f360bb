// Package kube feeds a cluster.Model from an API server or from a directory of
// YAML files. It is the only package that imports client-go.
//
// Idea: whatever the source, what comes out is the same stream of cluster.Event,
// applied by one goroutine at a time. A source that is cut off keeps what it knew
// and says that it is stale; when it is back, it compares the whole list with what
// it had, so that deletions that it did not see are applied then, and nothing is
// removed before a list is complete.
//
// In: a kubeconfig, the pod's own service account, or a directory. Out: events
// into a Model, and Status. It writes nothing to the API server; the rights that
// it needs are Rules.
//
// If we die here names of the past are lost (see internal/cluster); the present is
// listed again.
package kube
