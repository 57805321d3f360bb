package kube

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/kube"
)

// TestControlPlane runs everything that needs an API server against one.
func TestControlPlane(t *testing.T) {
	p := start(t)
	t.Run("deploy", func(t *testing.T) { testDeploy(t, p) })
	if t.Failed() {
		return // what follows uses the agent's account
	}
	t.Run("source", func(t *testing.T) { testSource(t, p) })
	t.Run("agent", func(t *testing.T) { testAgent(t, p) })
	t.Run("changes", func(t *testing.T) { testChanges(t, p) })
	t.Run("access", func(t *testing.T) { testAccess(t, p) })
	t.Run("forward", func(t *testing.T) { testForward(t, p) })
}

// world makes objects as kubelets and controllers would.
type world struct {
	t *testing.T
	c *kubernetes.Clientset
}

func (w *world) node(name, zone, addr, cidr string) {
	w.t.Helper()
	n, err := w.c.CoreV1().Nodes().Create(w.t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Spec:       corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr}, {Type: corev1.NodeHostName, Address: name}}
	if _, err := w.c.CoreV1().Nodes().UpdateStatus(w.t.Context(), n, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pod(name, node, addr string, change func(*corev1.Pod)) {
	w.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "x", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}},
	}
	if change != nil {
		change(pod)
	}
	pod, err := w.c.CoreV1().Pods("shop").Create(w.t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	now := metav1.Now()
	pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &now
	pod.Status.PodIP, pod.Status.PodIPs = addr, []corev1.PodIP{{IP: addr}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}}}
	if _, err := w.c.CoreV1().Pods("shop").UpdateStatus(w.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	zero := int64(0)
	if err := w.c.CoreV1().Pods("shop").Delete(w.t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		w.t.Fatal(err)
	}
}

// static makes the objects that stay: nodes, a Service with its endpoints, a
// ReplicaSet of a Deployment with a pod, a hostNetwork pod.
func (w *world) static() {
	w.t.Helper()
	ctx := w.t.Context()
	if _, err := w.c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	account(w.t, w.c, "shop", "default")
	w.node("n1", "za", "192.0.2.1", "10.244.1.0/24")
	w.node("n2", "zb", "192.0.2.2", "10.244.2.0/24")
	yes := true
	rs, err := w.c.AppsV1().ReplicaSets("shop").Create(ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "front-7f", OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "front", UID: "u-1", Controller: &yes}}},
		Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "front"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "front"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.pod("front-7f-a", "n1", "10.244.1.9", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: rs.Name, UID: rs.UID, Controller: &yes}}
	})
	w.pod("proxy-n2", "n2", "192.0.2.2", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	if _, err := w.c.CoreV1().Services("shop").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "front"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.3.3", Ports: []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080}}},
	}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	name, num := "http", int32(8080)
	if _, err := w.c.DiscoveryV1().EndpointSlices("shop").Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "front-1", Labels: map[string]string{discoveryv1.LabelServiceName: "front"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.9"}}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &num}},
	}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 90 s: %s", what)
}

// story is one address, whose holders come and go, and the source that hears of it.
type story struct {
	*world
	p     *plane
	px    *proxy
	src   *kube.API
	m     *cluster.Model
	truth map[int64]string // when a pod surely had the address, and which
}

func at(a string) [16]byte { return flow.Addr16(netip.MustParseAddr(a)) }

func now() int64 { return time.Now().UnixMilli() }

// turn waits for the next second of the API's clock.
func turn() { time.Sleep(1100 * time.Millisecond) }

func (s *story) who(ms int64) string {
	if id := s.m.Index().Lookup(at("10.244.1.5"), 6, 80, ms); id != nil {
		return id.Name
	}
	return ""
}

// check asks about every time that is known for sure.
func (s *story) check(when string) {
	s.t.Helper()
	for ms, want := range s.truth {
		if got := s.who(ms); got != want {
			s.t.Errorf("%s: %d ms ago the address was of %q, want %q", when, now()-ms, got, want)
		}
	}
}

func (s *story) holds(name string) {
	s.t.Helper()
	eventually(s.t, name+" has the address", func() bool { return s.who(now()) == name })
	s.truth[now()] = name
}

func (s *story) stale(want bool, when string) {
	s.t.Helper()
	began := time.Now()
	eventually(s.t, fmt.Sprintf("stale %t %s", want, when), func() bool { return s.src.Status().Stale == want })
	s.t.Logf("%s: stale %t after %v", when, want, time.Since(began).Round(time.Millisecond))
}

// testSource lets pods come and go, cuts the watch, kills the API server, and asks
// at every time about every time.
func testSource(t *testing.T, p *plane) {
	t.Helper()
	s := &story{world: &world{t, p.client()}, p: p, m: cluster.NewModel(cluster.DefaultLimits()), truth: map[int64]string{}}
	s.static()
	s.px = newProxy(t, fmt.Sprintf("127.0.0.1:%d", p.port))
	var err error
	s.src, err = kube.FromKubeconfig(p.kubeconfig(s.px.addr, token(t, p)), "", s.m, kube.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.src.Run(ctx) }()
	eventually(t, "synced with the agent's own account", s.src.Ready)
	eventually(t, "all watches open", func() bool { return s.src.Status().Watches == 7 && !s.src.Status().Stale })
	checkStatic(t, s.m.Index())

	s.police()
	s.recreate()
	var least atomic.Int64
	least.Store(1 << 40)
	watchLeast(ctx, s.m, &least)
	pods := int64(s.m.Stats().Pods)
	s.cutWatch()
	s.killServer()
	if n := least.Load(); n < pods-1 {
		t.Errorf("of %d pods %d were held at times: something was removed before the list was complete", pods, n)
	}
	checkStatic(t, s.m.Index())
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if st := s.src.Status(); st.Errors == 0 {
		t.Errorf("two outages and no error counted: %+v", st)
	}
	t.Logf("%d holders of one address, each found at its time before, during and after both outages; %+v", len(s.truth), s.m.Stats())
}

// police makes, changes and deletes a NetworkPolicy as the API server stores it.
func (s *story) police() {
	s.t.Helper()
	api := s.c.NetworkingV1().NetworkPolicies("shop")
	np, err := api.Create(s.t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "front-in"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "front"}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &intstr.IntOrString{IntVal: 8080}}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	text := func() string {
		set := s.m.Index().Policies("shop", now()+2000)
		if set == nil {
			return ""
		}
		p := set.Policies[0]
		return fmt.Sprint(p.Name, " ", p.Pods, " ", p.Ingress, " ", p.Egress, " ", p.IngressRules)
	}
	eventually(s.t, "the policy, defaulted", func() bool { return text() == "front-in app=front true false [{[] [{6  8080 8080}]}]" })
	if l := s.m.Index().NamespaceLabels("shop"); l != `{"kubernetes.io/metadata.name":"shop"}` {
		s.t.Errorf("labels of the namespace: %s", l)
	}
	np.Spec.Ingress = nil
	if _, err := api.Update(s.t.Context(), np, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the policy, changed", func() bool { return text() == "front-in app=front true false []" })
	if err := api.Delete(s.t.Context(), np.Name, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "no policy", func() bool { return text() == "" })
}

// recreate gives the address to another pod, and to one of the same name.
func (s *story) recreate() {
	s.t.Helper()
	s.pod("web-1", "n1", "10.244.1.5", nil)
	s.holds("web-1")
	turn()
	s.remove("web-1")
	s.pod("web-2", "n1", "10.244.1.5", nil)
	s.holds("web-2")
	s.check("recreated under another name")
	turn()
	s.remove("web-2")
	s.pod("web-2", "n1", "10.244.1.5", nil)
	turn()
	s.holds("web-2")
	s.check("recreated under the same name")
}

// cutWatch changes the address's holder while the source is cut off.
func (s *story) cutWatch() {
	s.t.Helper()
	s.px.cut()
	s.stale(true, "after the cut")
	s.check("cut off")
	s.remove("web-2")
	s.pod("web-2", "n1", "10.244.1.6", nil) // the same name, another address
	turn()
	s.pod("db-0", "n1", "10.244.1.5", nil)
	if err := s.px.mend(); err != nil {
		s.t.Fatal(err)
	}
	s.stale(false, "after the proxy was back")
	s.holds("db-0")
	s.check("after the cut")
	if id := s.m.Index().Lookup(at("10.244.1.6"), 6, 80, now()); id == nil || id.Name != "web-2" {
		s.t.Errorf("web-2 was not found at its new address: %+v", id)
	}
}

// killServer kills the API server and starts it again.
func (s *story) killServer() {
	s.t.Helper()
	s.p.killAPI()
	s.stale(true, "without an API server")
	s.check("without an API server")
	s.p.startAPI()
	s.stale(false, "after the restart")
	turn()
	s.remove("db-0")
	s.pod("web-3", "n1", "10.244.1.5", nil)
	s.holds("web-3")
	s.check("after the restart")
}

// watchLeast notes the least number of pods held at any time.
func watchLeast(ctx context.Context, m *cluster.Model, least *atomic.Int64) {
	go func() {
		for ctx.Err() == nil {
			if n := int64(m.Stats().Pods); n < least.Load() {
				least.Store(n)
			}
			time.Sleep(time.Millisecond)
		}
	}()
}

func checkStatic(t *testing.T, x *cluster.Index) {
	t.Helper()
	ms := now()
	if id := x.Lookup(at("10.244.1.9"), 6, 8080, ms); id == nil || id.Workload != "Deployment/front" || id.Zone() != "za" || id.Node() != "n1" {
		t.Errorf("the Deployment's pod is %+v", id)
	}
	if id := x.Lookup(at("192.0.2.2"), 6, 8080, ms); id == nil || id.Name != "proxy-n2" || id.Kind != flow.EndHostPod {
		t.Errorf("the hostNetwork pod is %+v", id)
	}
	if id := x.Lookup(at("192.0.2.1"), 6, 22, ms); id == nil || id.Kind != flow.EndNode || id.Node() != "n1" {
		t.Errorf("the node is %+v", id)
	}
	for _, a := range []struct {
		addr string
		port uint16
	}{{"10.96.3.3", 80}, {"192.0.2.1", 30080}} {
		if s := x.Service(at(a.addr), 6, a.port, ms); s == nil || s.Ref != "shop/front:http" {
			t.Errorf("the Service at %s:%d is %+v", a.addr, a.port, s)
		}
	}
	if s := x.Backend(at("10.244.1.9"), 6, 8080, 80); s == nil || s.Ref != "shop/front:http" {
		t.Errorf("the Service of the endpoint is %+v", s)
	}
}
