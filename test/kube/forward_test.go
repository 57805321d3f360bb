package kube

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/cli"
	"github.com/weirnet/weir/internal/version"
)

const weirNS = "weir-forward"

// kubelet does what a kubelet does of port-forward: it takes streams by pairs, as the CRI
// streaming server names them, and joins each to a port of the pod, whose network is
// this host's.
type kubelet struct {
	t     *testing.T
	paths sync.Map
	pairs atomic.Int64
}

func (k *kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.paths.Store(r.URL.Path, true)
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		k.t.Errorf("handshake: %v", err)
		return
	}
	streams := make(chan httpstream.Stream, 16)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	failures := map[string]httpstream.Stream{}
	for {
		select {
		case <-conn.CloseChan():
			return
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				failures[id] = s
				continue
			}
			k.pairs.Add(1)
			go join(s, failures[id])
		}
	}
}

// join copies both ways, and says on the error stream what went wrong.
func join(data, failure httpstream.Stream) {
	defer func() { _ = data.Close() }()
	defer func() { _ = failure.Close() }()
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", data.Headers().Get(corev1.PortHeader)))
	if err != nil {
		_, _ = io.WriteString(failure, err.Error())
		return
	}
	defer func() { _ = c.Close() }()
	go func() {
		_, _ = io.Copy(c, data) // ends with the client
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(data, c) // ends with the server
}

// named makes a certificate for a name and gives it with the file of itself as CA.
func named(t *testing.T, file, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// aggregatorPod makes a pod, not ready yet, whose ports are this host's, on a node whose kubelet is the test's.
func aggregatorPod(t *testing.T, c *kubernetes.Clientset, node, web int32) *corev1.Pod {
	t.Helper()
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: weirNS}}, metav1.CreateOptions{}))
	must(c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "forward"}}, metav1.CreateOptions{}))
	must(c.CoreV1().Nodes().UpdateStatus(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "forward"}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: node}},
	}}, metav1.UpdateOptions{}))
	must(c.CoreV1().ServiceAccounts(weirNS).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "person"}}, metav1.CreateOptions{}))
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "weir-aggregator-0", Labels: map[string]string{"app.kubernetes.io/name": "weir-aggregator"}},
		Spec: corev1.PodSpec{NodeName: "forward", ServiceAccountName: "person", Containers: []corev1.Container{{
			Name: "weir-aggregator", Image: "weir", Ports: []corev1.ContainerPort{{Name: "api", ContainerPort: web}, {Name: "nothing", ContainerPort: 1}},
		}}},
	}
	pod, err := c.CoreV1().Pods(weirNS).Create(ctx, want, metav1.CreateOptions{})
	must(pod, err)
	return pod
}

// personMayList gives the account person the right to list pods.
func personMayList(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "person"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
	}}
	if _, err := c.RbacV1().Roles(weirNS).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "person"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: weirNS, Name: "person"}},
		RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "person"},
	}
	if _, err := c.RbacV1().RoleBindings(weirNS).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// webAPI serves an aggregator's API of version v9.9.9 by TLS until the test ends.
func webAPI(t *testing.T, tokenFile string, cert tls.Certificate) *httptest.Server {
	t.Helper()
	tokens, err := api.LoadTokens(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer((&api.Server{
		Auth: api.AuthToken, Tokens: tokens, Log: slog.New(slog.DiscardHandler), Hub: api.NewHub(8), Version: version.Info{Version: "v9.9.9"}, NotReady: func() []string { return nil },
	}).Handler())
	web.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	web.StartTLS()
	t.Cleanup(web.Close)
	return web
}

// testForward asks an aggregator through a real API server, with the rights that a person
// needs and no more, and a kubelet's part that this test plays.
func testForward(t *testing.T, p *plane) {
	t.Helper()
	ctx := t.Context()
	c := p.client()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	k := &kubelet{t: t}
	node := httptest.NewTLSServer(k)
	defer node.Close()
	token := p.file("forward.token")
	must(nil, os.WriteFile(token, []byte("a-token-of-the-aggregator\n"), 0o600))
	web := webAPI(t, token, named(t, p.file("aggregator.crt"), "weir-aggregator-0.weir-aggregator."+weirNS+".svc"))
	port := func(l net.Listener) int32 { return int32(l.Addr().(*net.TCPAddr).Port) }

	pod := aggregatorPod(t, c, port(node.Listener), port(web.Listener))
	tr, err := c.CoreV1().ServiceAccounts(weirNS).CreateToken(ctx, "person", &authnv1.TokenRequest{}, metav1.CreateOptions{})
	must(tr, err)
	kubeconfig := p.kubeconfig(p.config().Host[len("https://"):], tr.Status.Token)
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		env := cli.Env{Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Now: time.Now}
		all := []string{"kubectl-weir", "version", "-P", "--kubeconfig", kubeconfig, "--weir-namespace", weirNS, "--token-file", token, "--ca-file", p.file("aggregator.crt"), "--timeout", "60s"}
		return cli.Run(ctx, env, append(all, args...)), out.String(), errs.String()
	}
	fails := func(want string, args ...string) {
		t.Helper()
		if code, _, errs := run(args...); code != cli.ExitError || !strings.Contains(errs, want) {
			t.Errorf("%v: %d %s, want %s", args, code, errs, want)
		}
	}
	fails("forbidden")
	personMayList(t, c)
	fails("no pod with the labels app.kubernetes.io/name=weir-aggregator in namespace " + weirNS + " is ready: weir-aggregator-0 Pending")
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	must(c.CoreV1().Pods(weirNS).UpdateStatus(ctx, pod, metav1.UpdateOptions{}))
	fails("get and create on pods/portforward are needed there")
	must(c.RbacV1().Roles(weirNS).Update(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "person"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		{APIGroups: []string{""}, Resources: []string{"pods/portforward"}, Verbs: []string{"get", "create"}},
	}}, metav1.UpdateOptions{}))

	var out, errs string
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) { // the authorizer hears of the role a moment later
		var code int
		if code, out, errs = run(); code == cli.ExitOK {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("version: %d %s%s", code, out, errs)
		}
	}
	if !strings.Contains(out, "v9.9.9") {
		t.Errorf("version: %s%s", out, errs)
	}
	if _, ok := k.paths.Load("/portForward/" + weirNS + "/weir-aggregator-0"); !ok || k.pairs.Load() == 0 {
		t.Errorf("the kubelet was not asked: %d pairs", k.pairs.Load())
	}
	fails("no container has that port", "--forward-port", "metrics")
	fails("list pods of default: ", "--weir-namespace", "default")
	fails("certificate is valid for weir-aggregator-0", "--server-name", "else.where")
	fails("connection refused: is --forward-port right?", "--forward-port", "nothing")
	if code, _, errs := run("--server", "127.0.0.1:1"); code != cli.ExitUsage || !strings.Contains(errs, "--port-forward and --server exclude each other") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := run("--context", "nosuch"); code != cli.ExitError || !strings.Contains(errs, "kubeconfig: ") {
		t.Errorf("%d %s", code, errs)
	}
}
