package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// ForwardTo names what a Forward leads to.
type ForwardTo struct {
	Kubeconfig string // file; "" for KUBECONFIG or ~/.kube/config
	Context    string // "" for the current one
	Namespace  string
	Selector   string // labels of its pods
	Port       string // name or number of a container's port
}

// Forward is a port of this host, on loopback, that leads to a port of a pod through the
// API server, as kubectl port-forward does.
type Forward struct {
	Namespace, Pod string
	Addr           string // HOST:PORT on loopback
	stop           context.CancelFunc
	done           chan error
	failure        atomic.Pointer[string]
}

// Failure is what the node said last of a connection that it could not make in the pod;
// "" for nothing.
func (f *Forward) Failure() string {
	if s := f.failure.Load(); s != nil {
		return *s
	}
	return ""
}

// heard takes what client-go logs: it says there, and nowhere else, what a node answers.
type heard struct {
	slog.Handler
	f *Forward
}

// Enabled implements slog.Handler.
func (heard) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h heard) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "An error occurred forwarding" {
		r.Attrs(func(a slog.Attr) bool {
			if s := a.Value.String(); a.Key == "err" {
				h.f.failure.Store(&s)
			}
			return true
		})
	}
	return nil
}

// forwardWait is how long the way to the pod may take to open.
const forwardWait = 20 * time.Second

// OpenForward finds a ready pod and opens the way to it. Close it.
func OpenForward(ctx context.Context, to ForwardTo) (*Forward, error) {
	load := clientcmd.NewDefaultClientConfigLoadingRules()
	load.ExplicitPath = to.Kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(load, &clientcmd.ConfigOverrides{CurrentContext: to.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
	}
	ctx, cancel := context.WithTimeout(ctx, forwardWait)
	defer cancel()
	pod, port, err := readyPod(ctx, client, to)
	if err != nil {
		return nil, err
	}
	at := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(to.Namespace).Name(pod).SubResource("portforward").URL()
	dialer, err := forwardDialer(cfg, at)
	if err != nil {
		return nil, err
	}
	f := &Forward{Namespace: to.Namespace, Pod: pod, done: make(chan error, 1)}
	ready := make(chan struct{})
	life, stop := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), logr.FromSlogHandler(heard{slog.DiscardHandler, f})))
	f.stop = stop
	fw, err := portforward.NewOnAddressesForStreamingWithContext(life, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ready, io.Discard, io.Discard)
	if err != nil {
		stop()
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	go func() { f.done <- fw.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-f.done:
		stop()
		return nil, fmt.Errorf("port-forward to pod %s/%s: %w: get and create on pods/portforward are needed there", to.Namespace, pod, err)
	case <-ctx.Done():
		stop()
		return nil, fmt.Errorf("port-forward to pod %s/%s: %w", to.Namespace, pod, context.Cause(ctx))
	}
	ports, err := fw.GetPorts()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	f.Addr = net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[0].Local))
	return f, nil
}

// Close ends it.
func (f *Forward) Close() {
	f.stop()
	<-f.done //nolint:errcheck // it was asked to end
}

// forwardDialer tries WebSocket first, and SPDY where the API server is older than 1.30.
func forwardDialer(cfg *rest.Config, at *url.URL) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	ws, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, cfg)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Host, err)
	}
	return portforward.NewFallbackDialerForStreaming(ws, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// readyPod finds the first ready pod by name, and the number of its port.
func readyPod(ctx context.Context, client kubernetes.Interface, to ForwardTo) (string, int32, error) {
	list, err := client.CoreV1().Pods(to.Namespace).List(ctx, metav1.ListOptions{LabelSelector: to.Selector, Limit: 500})
	if err != nil {
		return "", 0, fmt.Errorf("list pods of %s: %w", to.Namespace, err)
	}
	if len(list.Items) == 0 {
		return "", 0, fmt.Errorf("no pod with the labels %s in namespace %s: is weir-aggregator installed there?", to.Selector, to.Namespace)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	var states []string
	for i := range list.Items {
		p := &list.Items[i]
		if !isReady(p) {
			states = append(states, p.Name+" "+string(p.Status.Phase))
			continue
		}
		port, err := portOf(p, to.Port)
		return p.Name, port, err
	}
	return "", 0, fmt.Errorf("no pod with the labels %s in namespace %s is ready: %s", to.Selector, to.Namespace, strings.Join(states[:min(len(states), 5)], ", "))
}

func isReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

var errNoPort = errors.New("no container has that port")

// portOf gives the number of a named port, or the number that the name is.
func portOf(p *corev1.Pod, name string) (int32, error) {
	for i := range p.Spec.Containers {
		for _, c := range p.Spec.Containers[i].Ports {
			if c.Name == name {
				return c.ContainerPort, nil
			}
		}
	}
	var n int32
	if _, err := fmt.Sscan(name, &n); err == nil && n > 0 && n < 1<<16 {
		return n, nil
	}
	return 0, fmt.Errorf("pod %s, port %q: %w: name another with --forward-port", p.Name, name, errNoPort)
}
