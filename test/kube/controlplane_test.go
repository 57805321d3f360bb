// Package kube tests internal/kube and deploy/ against a real etcd and
// kube-apiserver, which it builds once into test/.cache and runs on loopback.
package kube

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weirnet/weir/internal/testenv"
)

// binary gives the path of the control plane, built if it is not there yet. Its
// name says what it was built from, so that a change builds another.
func binary(t *testing.T) string {
	t.Helper()
	mod, err := os.ReadFile("controlplane/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("controlplane/main.go")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(string(mod) + string(src) + runtime.Version()))
	cache, err := filepath.Abs("../.cache")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(cache, "controlplane-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(out); err == nil {
		return out
	}
	v := regexp.MustCompile(`k8s.io/kubernetes v(\d+)\.(\d+)\.(\d+)`).FindStringSubmatch(string(mod))
	if v == nil {
		t.Fatal("controlplane/go.mod does not require k8s.io/kubernetes")
	}
	goTool := testenv.NeedTool(t, "go")
	fmt.Fprintf(os.Stderr, "building etcd and kube-apiserver %s.%s.%s into %s: minutes the first time\n", v[1], v[2], v[3], out)
	flags := "-s -w"
	for name, value := range map[string]string{
		"gitVersion": "v" + v[1] + "." + v[2] + "." + v[3], "gitMajor": v[1], "gitMinor": v[2], "gitTreeState": "clean",
		"buildDate": "2026-01-01T00:00:00Z", "gitCommit": strings.Repeat("0", 40),
	} {
		flags += " -X k8s.io/component-base/version." + name + "=" + value
	}
	began := time.Now()
	cmd := exec.CommandContext(t.Context(), goTool, "build", "-C", "controlplane", "-trimpath", "-ldflags", flags, "-o", out+".new", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the control plane: %v\n%s", err, b)
	}
	t.Logf("built the control plane in %v", time.Since(began).Round(time.Second))
	old, err := filepath.Glob(filepath.Join(cache, "controlplane-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range old {
		if f != out+".new" {
			_ = os.Remove(f) // another version's; only the space matters
		}
	}
	if err := os.Rename(out+".new", out); err != nil {
		t.Fatal(err)
	}
	return out
}

// plane is a running control plane.
type plane struct {
	t    *testing.T
	bin  string
	dir  string
	port int // of the API server
	etcd string
	api  *exec.Cmd
	ca   *authority
}

// start brings etcd and the API server up, and down at the end of the test.
func start(t *testing.T) *plane {
	t.Helper()
	if testing.Short() {
		t.Skip("needs etcd and kube-apiserver: not part of -short")
	}
	ports := freePorts(t, 3)
	p := &plane{t: t, bin: binary(t), dir: t.TempDir(), port: ports[0], etcd: fmt.Sprintf("http://127.0.0.1:%d", ports[1])}
	p.ca = newAuthority(t, p.dir)
	p.ca.issue(t, "apiserver", pkix.Name{CommonName: "kube-apiserver"})
	p.ca.issue(t, "admin", pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}})
	p.ca.issue(t, "sa", pkix.Name{CommonName: "service-accounts"})
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[2])
	etcd := p.run("etcd", "--data-dir", filepath.Join(p.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls", p.etcd, "--advertise-client-urls", p.etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	t.Cleanup(func() { stop(etcd) })
	t.Cleanup(func() { stop(p.api) })
	began := time.Now()
	p.startAPI()
	t.Logf("the API server is ready after %v", time.Since(began).Round(time.Millisecond))
	return p
}

func (p *plane) file(name string) string { return filepath.Join(p.dir, name) }

func (p *plane) startAPI() {
	p.t.Helper()
	p.api = p.run("kube-apiserver", "--etcd-servers="+p.etcd, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", p.port), "--endpoint-reconciler-type=none", "--shutdown-delay-duration=0",
		"--tls-cert-file="+p.file("apiserver.crt"), "--tls-private-key-file="+p.file("apiserver.key"), "--client-ca-file="+p.file("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+p.file("sa.key"),
		"--service-account-signing-key-file="+p.file("sa.key"), "--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged")
	c := p.client()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err := c.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(5 * time.Second).DoRaw(p.t.Context())
		if err == nil {
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(p.file("kube-apiserver.log"))
			p.t.Fatalf("the API server is not ready: %v\n%s", err, tail(log, 3000))
		}
	}
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// killAPI ends the API server without a word.
func (p *plane) killAPI() {
	_ = p.api.Process.Kill()
	_ = p.api.Wait()
}

func (p *plane) run(args ...string) *exec.Cmd {
	p.t.Helper()
	log, err := os.OpenFile(p.file(args[0]+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.bin, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

func stop(cmd *exec.Cmd) {
	if cmd != nil && cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// config is the administrator's way to the API server.
func (p *plane) config() *rest.Config {
	return &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", p.port), QPS: 1000, Burst: 1000, WarningHandler: rest.NoWarnings{},
		TLSClientConfig: rest.TLSClientConfig{CAFile: p.file("ca.crt"), CertFile: p.file("admin.crt"), KeyFile: p.file("admin.key")},
	}
}

func (p *plane) client() *kubernetes.Clientset {
	p.t.Helper()
	c, err := kubernetes.NewForConfig(p.config())
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// kubeconfig writes a kubeconfig with a token for the server at addr.
func (p *plane) kubeconfig(addr, token string) string {
	p.t.Helper()
	f := p.file("kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://%s", certificate-authority: %s}}]
users: [{name: u, user: {token: %s}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, addr, p.file("ca.crt"), token)
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return f
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

// authority signs certificates into a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.issue(t, "ca", pkix.Name{CommonName: "test-ca"})
	return a
}

func (a *authority) issue(t *testing.T, name string, subject pkix.Name) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.n++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.n), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
	}
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	} else {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, c.KeyUsage|x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		a.key = key
	}
	kder, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for ext, b := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(filepath.Join(a.dir, name+ext), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// proxy stands between an informer and the API server, and can be cut.
type proxy struct {
	addr, to string
	mu       sync.Mutex
	l        net.Listener
	conns    map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{addr: "127.0.0.1:0", to: to, conns: map[net.Conn]bool{}}
	if err := p.mend(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.cut)
	return p
}

// mend listens (again).
func (p *proxy) mend() error {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.l, p.addr = l, l.Addr().String()
	p.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return nil
}

func (p *proxy) serve(c net.Conn) {
	d, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.to)
	if err != nil {
		_ = c.Close()
		return
	}
	p.mu.Lock()
	p.conns[c], p.conns[d] = true, true
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, x := range [][2]net.Conn{{c, d}, {d, c}} {
		go func() {
			_, _ = io.Copy(x[0], x[1])
			done <- struct{}{}
		}()
	}
	<-done
	_, _ = c.Close(), d.Close()
	<-done
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, d)
	p.mu.Unlock()
}

// cut closes everything; new connections are refused.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.l.Close()
	for c := range p.conns {
		_ = c.Close()
	}
}

// documents splits a file of manifests.
func documents(b []byte) [][]byte {
	var out [][]byte
	for d := range bytes.SplitSeq(b, []byte("\n---\n")) {
		if strings.Contains(string(d), "kind:") {
			out = append(out, d)
		}
	}
	return out
}
