package kube

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/kube"
)

// testAccess asks a real API server whose tokens are and what they may see, with an
// account that has the rights of AccessRules and no more.
func testAccess(t *testing.T, p *plane) {
	t.Helper()
	ctx := t.Context()
	c := p.client()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, ns := range []string{"access-a", "access-b", "access-c"} {
		must(c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}))
	}
	tokens := map[string]string{}
	for _, name := range []string{"asker", "admin", "some", "nobody"} {
		must(c.CoreV1().ServiceAccounts("access-a").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
		tr, err := c.CoreV1().ServiceAccounts("access-a").CreateToken(ctx, name, &authnv1.TokenRequest{}, metav1.CreateOptions{})
		must(tr, err)
		tokens[name] = tr.Status.Token
	}
	see := []rbacv1.PolicyRule{{APIGroups: []string{kube.FlowsGroup}, Resources: []string{kube.FlowsResource}, Verbs: []string{kube.FlowsVerb}}}
	must(c.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "weir-ask"}, Rules: kube.AccessRules()}, metav1.CreateOptions{}))
	must(c.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "weir-see"}, Rules: see}, metav1.CreateOptions{}))
	subject := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "access-a", Name: name}}
	}
	bind := func(name, role string) {
		t.Helper()
		must(c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "weir-" + name}, Subjects: subject(name), RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: role},
		}, metav1.CreateOptions{}))
	}
	bind("asker", "weir-ask")
	bind("admin", "weir-see")
	for _, ns := range []string{"access-b", "access-c"} {
		must(c.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "weir-some"}, Subjects: subject("some"), RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "weir-see"},
		}, metav1.CreateOptions{}))
	}
	api, err := kube.FromKubeconfig(p.kubeconfig(p.config().Host[len("https://"):], tokens["asker"]), "", cluster.NewModel(cluster.DefaultLimits()), kube.Deps{})
	must(api, err)
	a := api.Access(func() []string { return []string{"access-a", "access-b", "access-c", "not-there"} })
	const account = "system:serviceaccount:access-a:"
	want := map[string]*kube.Holder{
		"admin":  {Name: account + "admin", All: true},
		"some":   {Name: account + "some", Namespaces: []string{"access-b", "access-c"}},
		"nobody": nil,
	}
	for name, w := range want {
		eventually(t, name+"'s rights are known", func() bool { // RBAC's own caches lag
			h, err := api.Access(func() []string { return []string{"access-a", "access-b", "access-c", "not-there"} }).Review(ctx, tokens[name])
			return err == nil && cmp.Equal(w, h)
		})
		h, err := a.Review(ctx, tokens[name])
		if d := cmp.Diff(w, h); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	if h, err := a.Review(ctx, "no token at all"); h != nil || err != nil {
		t.Errorf("nonsense is %+v, %v", h, err)
	}
	// What was found out is believed for a while: no call goes out.
	dead, cancel := context.WithCancel(ctx)
	cancel()
	if h, err := a.Review(dead, tokens["some"]); err != nil || h == nil {
		t.Errorf("a known token is asked about again: %v", err)
	}
	if _, err := api.Access(func() []string { return nil }).Review(dead, tokens["some"]); err == nil {
		t.Error("an unknown token needs no API server")
	}
}
