package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/certs"
)

type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newCA(t *testing.T, name string) *ca {
	t.Helper()
	c := &ca{dir: t.TempDir()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.key = key
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	write(t, c.path("ca.crt"), "CERTIFICATE", der)
	return c
}

func (c *ca) path(name string) string { return filepath.Join(c.dir, name) }

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *ca) issue(t *testing.T, name string, until time.Time) certs.Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.path(name+".crt"), "CERTIFICATE", der)
	write(t, c.path(name+".key"), "PRIVATE KEY", raw)
	return certs.Files{CA: c.path("ca.crt"), Cert: c.path(name + ".crt"), Key: c.path(name + ".key")}
}

func open(t *testing.T, f certs.Files) *certs.Store {
	t.Helper()
	s, err := certs.Open(f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// talk sends one byte through both configs and gives the first error of each side.
func talk(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		c := tls.Server(raw, server)
		if err = c.SetDeadline(time.Now().Add(5 * time.Second)); err == nil {
			if err = c.Handshake(); err == nil {
				_, err = c.Write([]byte("x"))
			}
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, client)
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, clientErr = c.Read(make([]byte, 1))
	raw.Close()
	return <-done, clientErr
}

func TestMutualTLS(t *testing.T) {
	good, other := newCA(t, "good"), newCA(t, "other")
	hour := time.Now().Add(time.Hour)
	server := open(t, good.issue(t, "aggregator", hour)).Server()
	agent := open(t, good.issue(t, "agent", hour))
	if s, c := talk(t, server, agent.Client("aggregator")); s != nil || c != nil {
		t.Errorf("good pair: %v, %v", s, c)
	}
	if _, c := talk(t, server, agent.Client("elsewhere")); c == nil || !strings.Contains(c.Error(), "elsewhere") {
		t.Errorf("wrong name: %v", c)
	}
	stranger := other.issue(t, "stranger", hour)
	stranger.CA = good.path("ca.crt")
	if s, _ := talk(t, server, open(t, stranger).Client("aggregator")); s == nil {
		t.Error("a client of another CA was let in")
	}
	if s, _ := talk(t, server, open(t, certs.Files{CA: good.path("ca.crt")}).Client("aggregator")); s == nil {
		t.Error("a client without a certificate was let in")
	}
	wrong := good.issue(t, "agent2", hour)
	wrong.CA = other.path("ca.crt")
	if _, c := talk(t, server, open(t, wrong).Client("aggregator")); c == nil || !strings.Contains(c.Error(), wrong.CA) {
		t.Errorf("server of another CA: %v: want the CA file named", c)
	}
}

func TestReload(t *testing.T) {
	c := newCA(t, "ca")
	f := c.issue(t, "aggregator", time.Now().Add(time.Hour))
	s := open(t, f)
	client := open(t, c.issue(t, "agent", time.Now().Add(time.Hour))).Client("aggregator")
	if err := os.WriteFile(f.Cert, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Check(time.Now())
	if a, b := talk(t, s.Server(), client); a != nil || b != nil || s.Failures.Load() != 1 {
		t.Fatalf("a bad file put the old certificate out of use: %v %v, %d failures", a, b, s.Failures.Load())
	}
	c.issue(t, "aggregator", time.Now().Add(2*time.Hour))
	s.Check(time.Now())
	s.Check(time.Now())
	if a, b := talk(t, s.Server(), client); a != nil || b != nil || s.Reloads.Load() != 1 {
		t.Fatalf("after the renewal: %v %v, %d reloads", a, b, s.Reloads.Load())
	}
}

func TestErrorsNameFileAndRemedy(t *testing.T) {
	c := newCA(t, "ca")
	good := c.issue(t, "a", time.Now().Add(time.Hour))
	other := c.issue(t, "b", time.Now().Add(time.Hour))
	old := c.issue(t, "old", time.Now().Add(-time.Minute))
	for _, x := range []struct {
		name string
		f    certs.Files
		want string
	}{
		{"missing", certs.Files{Cert: "/nonexistent/x.crt", Key: good.Key}, "/nonexistent/x.crt"},
		{"another's key", certs.Files{Cert: good.Cert, Key: other.Key}, "belong together"},
		{"expired", old, "renew it"},
		{"CA that is a key", certs.Files{CA: good.Key, Cert: good.Cert, Key: good.Key}, "holds no PEM certificate"},
	} {
		if _, err := certs.Open(x.f, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v: want %q in it", x.name, err, x.want)
		}
	}
}
