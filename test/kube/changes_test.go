package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/cluster"
)

// changing is a namespace in which things change, and an aggregator that is to tell of them.
type changing struct {
	*world
	url  string
	told map[cluster.ChangeID]bool // changes that were looked at
}

// testChanges makes every kind of change at the API server, and wants each once from the
// aggregator's binary, in the order in which they happened.
func testChanges(t *testing.T, p *plane) {
	t.Helper()
	bin := buildDaemons(t)
	ports := freePorts(t, 3)
	c := &changing{world: &world{t, p.client()}, told: map[cluster.ChangeID]bool{}, url: fmt.Sprintf("http://127.0.0.1:%d/api/v1/changes?ns=bank", ports[1])}
	ctx := t.Context()
	if _, err := c.c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bank"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account(t, c.c, "bank", "default")
	c.node("n7", "za", "192.0.2.7", "10.244.7.0/24")
	c.ready("n7", corev1.ConditionTrue)
	c.teller("teller-1", "1", "bank:1", 8443)
	slice := c.endpoints()
	kubeconfig := p.kubeconfig(fmt.Sprintf("127.0.0.1:%d", p.port), token(t, p))
	config := filepath.Join(bin, "changes.yaml")
	write(t, config, fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %s/changes
cluster: {kubeconfig: %s}
collect: {tls: "", tcp: "127.0.0.1:%d"}
api: {auth: none, listen: "127.0.0.1:%d"}
metrics: {listen: ""}
`, bin, kubeconfig, ports[0], ports[1]))
	daemon(t, filepath.Join(bin, "weir-aggregator"), "--config", config)
	eventually(t, "the API server read", func() bool {
		a, err := c.ask()
		return err == nil && !strings.Contains(a.Source, "not read yet")
	})
	c.fresh() // what is recent at the start

	c.teller("teller-2", "2", "bank:2", 8080)
	c.tells("rollout Deployment/teller rolled out teller-2: image bank:2, port 8080, was image bank:1, port 8443")
	c.restart("teller-2")
	c.tells("restart bad Pod/teller-2 restarted a container (1 restarts)")
	c.edit(slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Conditions.Ready = new(bool) })
	c.tells("endpoints bad Service/teller has no ready endpoint (had 1)")
	c.edit(slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Conditions.Ready = nil })
	c.tells("endpoints Service/teller has 1 ready endpoints again")
	c.edit(slice, func(s *discoveryv1.EndpointSlice) { *s.Ports[0].Port = 8080 })
	c.tells("endpoints Service/teller endpoints moved to port 8080, was 8443")
	c.policies()
	c.ready("n7", corev1.ConditionUnknown)
	c.tells("node bad Node/n7 is not ready")
	c.ready("n7", corev1.ConditionTrue)
	c.tells("node Node/n7 is ready again")
	if err := c.c.CoreV1().Nodes().Delete(ctx, "n7", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.tells("node bad Node/n7 removed from the cluster")
	c.agents(filepath.Join(bin, "weir-agent"), fmt.Sprintf("127.0.0.1:%d", ports[0]), ports[2])
}

func (c *changing) ask() (a api.Changes, err error) {
	res, err := http.Get(c.url)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	return a, json.NewDecoder(res.Body).Decode(&a)
}

// fresh gives the changes that were not looked at. What has a time of its own, to the
// second, may stand before what was told first.
func (c *changing) fresh() (out []string) {
	a, err := c.ask()
	if err != nil {
		return nil
	}
	for i := range a.Changes {
		x := &a.Changes[i]
		if c.told[x.ID] {
			continue
		}
		c.told[x.ID] = true
		words := []string{string(x.Kind)}
		if x.Bad {
			words = append(words, "bad")
		}
		out = append(out, strings.Join(append(words, x.Object, x.What), " "))
	}
	return out
}

// tells wants one more change, and this.
func (c *changing) tells(want string) {
	c.t.Helper()
	var got []string
	eventually(c.t, want, func() bool {
		got = append(got, c.fresh()...)
		return len(got) > 0
	})
	if len(got) != 1 || got[0] != want {
		c.t.Errorf("changes %q, want one, %q", got, want)
	}
}

// teller makes a pod of the Deployment teller, from a template of that hash.
func (c *changing) teller(name, hash, image string, port int32) {
	c.t.Helper()
	yes := true
	pod, err := c.c.CoreV1().Pods("bank").Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"app": "teller", "pod-template-hash": hash},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "teller-" + hash, UID: "u-rs", Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: port}}}}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	at := metav1.Now()
	pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &at
	if _, err := c.c.CoreV1().Pods("bank").UpdateStatus(c.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *changing) restart(name string) {
	c.t.Helper()
	pods := c.c.CoreV1().Pods("bank")
	pod, err := pods.Get(c.t.Context(), name, metav1.GetOptions{})
	if err == nil {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", RestartCount: 1}}
		_, err = pods.UpdateStatus(c.t.Context(), pod, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *changing) endpoints() string {
	c.t.Helper()
	name, port := "https", int32(8443)
	s, err := c.c.DiscoveryV1().EndpointSlices("bank").Create(c.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "teller-1", Labels: map[string]string{discoveryv1.LabelServiceName: "teller"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.77"}}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return s.Name
}

func (c *changing) edit(name string, change func(*discoveryv1.EndpointSlice)) {
	c.t.Helper()
	slices := c.c.DiscoveryV1().EndpointSlices("bank")
	s, err := slices.Get(c.t.Context(), name, metav1.GetOptions{})
	if err == nil {
		change(s)
		_, err = slices.Update(c.t.Context(), s, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// policies makes a NetworkPolicy, tightens it and deletes it.
func (c *changing) policies() {
	c.t.Helper()
	list := c.c.NetworkingV1().NetworkPolicies("bank")
	np, err := list.Create(c.t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "teller-in"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "teller"}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &intstr.IntOrString{IntVal: 8080}}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.tells("policy NetworkPolicy/teller-in created: app=teller: ingress all at TCP 8080")
	np.Spec.Ingress = nil
	if _, err := list.Update(c.t.Context(), np, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.tells("policy NetworkPolicy/teller-in changed: app=teller: no ingress; was: app=teller: ingress all at TCP 8080")
	if err := list.Delete(c.t.Context(), np.Name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.tells("policy NetworkPolicy/teller-in deleted")
}

// ready sets a node's condition Ready, as its kubelet and the node controller do.
func (c *changing) ready(name string, is corev1.ConditionStatus) {
	c.t.Helper()
	nodes := c.c.CoreV1().Nodes()
	n, err := nodes.Get(c.t.Context(), name, metav1.GetOptions{})
	if err == nil {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: is}}
		_, err = nodes.UpdateStatus(c.t.Context(), n, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// agents begins an agent, ends it, and begins another of the same node. What reports when
// the aggregator looks first, some seconds after its start, has not begun for it: so the
// first may go untold.
func (c *changing) agents(agent, aggregator string, metrics int) {
	t := c.t
	netns := newNode(t)
	run := func(node string, then func(t *testing.T)) {
		t.Run("agent of "+node, func(t *testing.T) {
			daemon(t, agent, "--observe-only", "--node-name", node, "--netns", "/run/netns/"+netns, "--names-from", "none",
				"--aggregators", aggregator, "--transport", "tcp", "--poll-interval", "1s", "--metrics-listen", fmt.Sprintf("127.0.0.1:%d", metrics))
			then(t)
		})
	}
	told := ""
	for i := 0; told == "" && i < 10; i++ {
		node := fmt.Sprintf("n1-%d", i)
		run(node, func(t *testing.T) {
			t.Helper()
			for end := time.Now().Add(12 * time.Second); told == "" && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				for _, got := range c.fresh() {
					if told = node; got != "agent Agent/"+node+" began to report" {
						t.Errorf("change %q", got)
					}
				}
			}
		})
	}
	run(told, func(t *testing.T) {
		t.Helper()
		c.t = t
		c.tells("agent Agent/" + told + " was restarted")
	})
	c.t = t
}
