package kube

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/deploy"
)

// applyDeploy applies a file of deploy as `kubectl apply --server-side` does,
// with strict field validation. It gives the objects as the server has them.
func applyDeploy(t *testing.T, p *plane, file []byte) []*unstructured.Unstructured {
	t.Helper()
	c := p.client()
	groups, err := restmapper.GetAPIGroupResources(c.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	dyn, err := dynamic.NewForConfig(p.config())
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, d := range documents(file) {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal(d, &u.Object); err != nil {
			t.Fatal(err)
		}
		gvk := u.GroupVersionKind()
		m, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			t.Fatal(err)
		}
		body, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		got, err := dyn.Resource(m.Resource).Namespace(u.GetNamespace()).Patch(t.Context(), u.GetName(), types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: "weir-test", FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Fatalf("apply %s %s: %v", u.GetKind(), u.GetName(), err)
		}
		out = append(out, got)
	}
	return out
}

// testDeploy applies the manifests for real, and what their controllers would make of them.
func testDeploy(t *testing.T, p *plane) {
	t.Helper()
	first := applyDeploy(t, p, deploy.Observe)
	for i, u := range applyDeploy(t, p, deploy.Observe) {
		if u.GetResourceVersion() != first[i].GetResourceVersion() {
			t.Errorf("%s %s changes when it is applied again", u.GetKind(), u.GetName())
		}
	}
	c := p.client()
	ds, err := c.AppsV1().DaemonSets("weir").Get(t.Context(), "weir-agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ss, err := c.AppsV1().StatefulSets("weir").Get(t.Context(), "weir-aggregator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	agent := podOf("agent-1", ds.Spec.Template)
	aggr := podOf("aggregator-0", ss.Spec.Template)
	for _, v := range ss.Spec.VolumeClaimTemplates {
		aggr.Spec.Volumes = append(aggr.Spec.Volumes, corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.Name + "-weir-aggregator-0"},
		}})
	}
	for _, x := range []*corev1.Pod{agent, aggr} {
		if _, err := c.CoreV1().Pods("weir").Create(t.Context(), x.DeepCopy(), metav1.CreateOptions{}); err != nil {
			t.Errorf("the namespace does not admit its own pod: %v", err)
		}
	}
	testRestricted(t, c, agent, aggr)
	testCapabilities(t, ds, "NET_ADMIN")
	testRights(t, c)
	testEvidence(t, p)
}

// testEvidence applies the manifests with more rights over the others and back: the
// namespace admits that pod too, and afterwards the rights are gone.
func testEvidence(t *testing.T, p *plane) {
	t.Helper()
	c := p.client()
	for _, x := range []struct {
		name string
		file []byte
		caps []corev1.Capability
	}{
		{"agent-evidence", deploy.Evidence, []corev1.Capability{"NET_ADMIN", "NET_RAW", "SYS_ADMIN"}},
		{"agent-again", deploy.Observe, []corev1.Capability{"NET_ADMIN"}},
	} {
		applyDeploy(t, p, x.file)
		ds, err := c.AppsV1().DaemonSets("weir").Get(t.Context(), "weir-agent", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.CoreV1().Pods("weir").Create(t.Context(), podOf(x.name, ds.Spec.Template), metav1.CreateOptions{}); err != nil {
			t.Errorf("%s: the namespace does not admit its own pod: %v", x.name, err)
		}
		testCapabilities(t, ds, x.caps...)
		if ds.Spec.Template.Spec.HostPID {
			t.Errorf("%s: has the host's process ids", x.name)
		}
	}
}

func podOf(name string, tpl corev1.PodTemplateSpec) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: tpl.Labels}, Spec: tpl.Spec}
}

// testRestricted shows that the aggregator is at home in a namespace that enforces
// the restricted level, and that this API server enforces it at all.
func testRestricted(t *testing.T, c *kubernetes.Clientset, agent, aggr *corev1.Pod) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"weir-agent", "weir-aggregator"} {
		account(t, c, "strict", name)
	}
	if _, err := c.CoreV1().Pods("strict").Create(t.Context(), aggr.DeepCopy(), metav1.CreateOptions{}); err != nil {
		t.Errorf("the aggregator does not meet the restricted level: %v", err)
	}
	_, err := c.CoreV1().Pods("strict").Create(t.Context(), agent.DeepCopy(), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "hostNetwork") {
		t.Errorf("the agent's pod is admitted at the restricted level, so nothing is enforced here: %v", err)
	}
}

func account(t *testing.T, c *kubernetes.Clientset, ns, name string) {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.CoreV1().ServiceAccounts(ns).Create(t.Context(), sa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func testCapabilities(t *testing.T, ds *appsv1.DaemonSet, want ...corev1.Capability) {
	t.Helper()
	for _, ctr := range ds.Spec.Template.Spec.Containers {
		s := ctr.SecurityContext
		if s.Privileged != nil && *s.Privileged || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" ||
			!slices.Equal(s.Capabilities.Add, want) {
			t.Errorf("container %s: %+v, want all capabilities dropped but %v", ctr.Name, s, want)
		}
	}
}

// testRights asks the API server's authorizer about the agent and the aggregator.
func testRights(t *testing.T, c *kubernetes.Clientset) {
	t.Helper()
	for _, r := range []struct {
		account, verb, group, resource string
		want                           bool
	}{
		{"weir-agent", "list", "", "pods", true},
		{"weir-agent", "watch", "", "pods", true},
		{"weir-agent", "list", "", "nodes", true},
		{"weir-agent", "watch", "", "services", true},
		{"weir-agent", "watch", "", "namespaces", true},
		{"weir-agent", "watch", "discovery.k8s.io", "endpointslices", true},
		{"weir-agent", "list", "apps", "replicasets", true},
		{"weir-agent", "watch", "networking.k8s.io", "networkpolicies", true},
		{"weir-agent", "get", "", "secrets", false},
		{"weir-agent", "list", "", "secrets", false},
		{"weir-agent", "get", "", "configmaps", false},
		{"weir-agent", "create", "", "pods", false},
		{"weir-agent", "patch", "", "pods", false},
		{"weir-agent", "delete", "", "pods", false},
		{"weir-agent", "update", "", "nodes", false},
		{"weir-agent", "create", "", "pods/exec", false},
		{"weir-agent", "get", "", "nodes/proxy", false},
		{"weir-agent", "create", "", "serviceaccounts/token", false},
		{"weir-agent", "bind", "rbac.authorization.k8s.io", "clusterroles", false},
		{"weir-aggregator", "list", "", "pods", true},
		{"weir-aggregator", "delete", "", "pods", false},
		{"weir-aggregator", "get", "", "secrets", false},
	} {
		res, sub, _ := strings.Cut(r.resource, "/")
		got, err := c.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:weir:" + r.account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:weir", "system:authenticated"},
			ResourceAttributes: &authzv1.ResourceAttributes{Verb: r.verb, Group: r.group, Resource: res, Subresource: sub, Namespace: "kube-system"},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Status.Allowed != r.want {
			t.Errorf("%s may %s %s: %t, want %t (%s)", r.account, r.verb, r.resource, got.Status.Allowed, r.want, got.Status.Reason)
		}
	}
}

// token is what the kubelet would give to the agent's pod.
func token(t *testing.T, p *plane) string {
	t.Helper()
	tr, err := p.client().CoreV1().ServiceAccounts("weir").CreateToken(t.Context(), "weir-agent", &authnv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return tr.Status.Token
}
