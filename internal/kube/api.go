package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weirnet/weir/internal/cluster"
)

// Rules are the rights that a source needs, and all of them.
func Rules() []rbacv1.PolicyRule {
	lw := []string{"list", "watch"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces", "nodes", "pods", "services"}, Verbs: lw},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: lw},
		{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: lw},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"networkpolicies"}, Verbs: lw},
	}
}

// resources is the number of kinds in Rules: each has one watch.
const resources = 7

// grace is how long a watch may be away before the source counts as stale: the
// API server ends every watch after some minutes, and the next one follows at once.
const grace = 3 * time.Second

// API is an API server as a source.
type API struct {
	*feed
	contact *contact
	typed   kubernetes.Interface
	access  kubernetes.Interface // for reviews, whose pace is the callers'
	meta    metadata.Interface

	cmu     sync.Mutex
	pending *time.Timer // runs while watches are away
}

var _ Source = (*API)(nil)

// FromKubeconfig feeds m from the API server of a kubeconfig's context ("" for the
// current one).
func FromKubeconfig(file, context string, m *cluster.Model, d Deps) (*API, error) {
	load := &clientcmd.ClientConfigLoadingRules{ExplicitPath: file}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(load, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	return newAPI(cfg, m, d)
}

// InCluster feeds m from the API server of the cluster in which this process is a pod.
func InCluster(m *cluster.Model, d Deps) (*API, error) {
	cfg, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: outside a pod name a kubeconfig or a directory of manifests", err)
	}
	return newAPI(cfg, m, d)
}

func newAPI(cfg *rest.Config, m *cluster.Model, d Deps) (*API, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.UserAgent = "weir"
	a := &API{feed: newFeed("API server "+cfg.Host, m, d)}
	a.contact = &contact{changed: a.changed}
	review := rest.CopyConfig(cfg)
	review.QPS, review.Burst, review.Timeout = 200, 400, 10*time.Second
	cfg.Wrap(a.contact.wrap)
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	var err error
	if a.typed, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
	}
	if a.access, err = kubernetes.NewForConfig(review); err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
	}
	if a.meta, err = metadata.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
	}
	return a, nil
}

// changed hears of each change of the connection. All watches open is current; any
// of them away for longer than grace, or an error, is stale.
func (a *API) changed(open int, err error) {
	a.cmu.Lock()
	defer a.cmu.Unlock()
	if open == resources {
		if a.pending != nil {
			a.pending.Stop()
			a.pending = nil
		}
		a.setStale(nil)
		return
	}
	if err != nil {
		a.setStale(err)
		return
	}
	if a.pending == nil && a.Ready() {
		a.pending = time.AfterFunc(grace, func() {
			if n := a.contact.count(); n < resources {
				a.setStale(fmt.Errorf("%d of %d watches are away", resources-n, resources))
			}
		})
	}
}

// Status implements Source.
func (a *API) Status() Status {
	s := a.feed.Status()
	s.Watches = a.contact.count()
	return s
}

// Run implements Source. An API server that cannot be reached is waited for.
func (a *API) Run(ctx context.Context) error {
	ctx = quiet(ctx, a.log)
	typed := informers.NewSharedInformerFactoryWithOptions(a.typed, 0, informers.WithTransform(slim))
	meta := metadatainformer.NewSharedInformerFactoryWithOptions(a.meta, 0, metadatainformer.WithTransform(slim))
	rs := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	var regs []cache.DoneChecker
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, inf := range []cache.SharedIndexInformer{
		typed.Core().V1().Nodes().Informer(), typed.Core().V1().Namespaces().Informer(), typed.Core().V1().Pods().Informer(),
		typed.Core().V1().Services().Informer(), typed.Discovery().V1().EndpointSlices().Informer(), meta.ForResource(rs).Informer(),
		typed.Networking().V1().NetworkPolicies().Informer(),
	} {
		if err := inf.SetWatchErrorHandlerWithContext(a.watchFailed); err != nil {
			return fmt.Errorf("prepare watch: %w", err)
		}
		reg, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { a.object(o, false) },
			UpdateFunc: func(_, o any) { a.object(o, false) },
			DeleteFunc: func(o any) { a.object(o, true) },
		})
		if err != nil {
			return fmt.Errorf("prepare watch: %w", err)
		}
		regs = append(regs, reg.HasSyncedChecker())
		wg.Go(func() { inf.RunWithContext(ctx) })
	}
	wg.Go(func() { a.expireLoop(ctx) })
	if cache.WaitFor(ctx, "cluster state", regs...) {
		a.setSynced()
	}
	<-ctx.Done()
	return nil
}

// watchFailed hears of failed lists and watches, among them the ordinary ends.
func (a *API) watchFailed(ctx context.Context, _ *cache.Reflector, err error) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	a.log.Debug("watch ended", "error", err)
}

// object applies one object as the informer has it.
func (a *API) object(o any, del bool) {
	if t, ok := o.(cache.DeletedFinalStateUnknown); ok { // deleted while the watch was away
		o = t.Obj
	}
	e := cluster.Event{Delete: del}
	switch v := o.(type) {
	case *corev1.Pod:
		e.Pod = pod(v)
	case *corev1.Node:
		e.Node = node(v)
	case *corev1.Namespace:
		e.Namespace = namespace(v)
	case *corev1.Service:
		e.Service = service(v)
	case *discoveryv1.EndpointSlice:
		e.Endpoints = endpoints(v)
	case *networkingv1.NetworkPolicy:
		e.NetworkPolicy = networkPolicy(v)
	case *metav1.PartialObjectMetadata:
		e.ReplicaSet = replicaSet(&v.ObjectMeta)
	default:
		return
	}
	a.apply(e)
}

// slim drops what is large and names no flow before an informer keeps it.
func slim(o any) (any, error) {
	m, ok := o.(metav1.Object)
	if !ok {
		return o, nil
	}
	m.SetManagedFields(nil)
	m.SetAnnotations(nil)
	switch v := o.(type) {
	case *corev1.Pod:
		v.Spec = corev1.PodSpec{
			NodeName: v.Spec.NodeName, HostNetwork: v.Spec.HostNetwork,
			Containers: slimContainers(v.Spec.Containers), InitContainers: slimContainers(v.Spec.InitContainers),
		}
		v.Status.Conditions = nil
	case *corev1.Node:
		var ready []corev1.NodeCondition
		for _, c := range v.Status.Conditions {
			if c.Type == corev1.NodeReady {
				ready = append(ready, corev1.NodeCondition{Type: c.Type, Status: c.Status})
			}
		}
		v.Status = corev1.NodeStatus{Addresses: v.Status.Addresses, Conditions: ready}
	}
	return o, nil
}

func slimContainers(in []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for i := range in {
		out = append(out, corev1.Container{Name: in[i].Name, Image: in[i].Image, Ports: in[i].Ports})
	}
	return out
}
