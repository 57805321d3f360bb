//go:build linux

package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestVerifyAsksTheAgentByTLS: the agent's state is behind a certificate and a token, which
// the flags of the aggregator do not give away.
func TestVerifyAsksTheAgentByTLS(t *testing.T) {
	asked := ""
	h := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path + " " + r.Header.Get("Authorization")
		_, _ = io.WriteString(w, `{"canaries":{"now_ms":7,"traces":[]},"probe":{"node":"node-1","targets":[]}}`)
	}))
	defer h.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := write("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})))
	token := write("token", "secret-of-the-agent\n")
	agent := strings.TrimPrefix(h.URL, "https://")
	node := func() *client {
		return &client{env: &Env{Getenv: func(string) string { return "" }}, timeout: 5 * time.Second, flag: "agent", program: "weir-agent", server: agent}
	}

	c := node()
	c.ca, c.tokenFile, c.serverName = ca, token, "example.com"
	v := &verify{agent: agent, node: c}
	if a := v.askAgent(t.Context()); a.Err != "" || a.View.NowMs != 7 || asked != "/debug/state Bearer secret-of-the-agent" {
		t.Errorf("%q, %+v; asked for %q", a.Err, a.View, asked)
	}
	if p := v.plan(t.Context()); p.Node != "node-1" {
		t.Errorf("plan %+v", p)
	}
	c = node()
	c.server = h.URL
	if a := (&verify{agent: agent, node: c}).askAgent(t.Context()); !strings.Contains(a.Err, "--agent-ca-file") {
		t.Errorf("an unknown authority: %q", a.Err)
	}
	c = node()
	c.server = "http://" + agent
	c.tokenFile = token
	if a := (&verify{agent: agent, node: c}).askAgent(t.Context()); a.Err == "" {
		t.Error("plain HTTP is answered")
	}

	// And one that wants to know who asks.
	strict := httptest.NewUnstartedServer(h.Config.Handler)
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	strict.StartTLS()
	defer strict.Close()
	c = node()
	c.server, c.ca, c.serverName = strict.URL, write("ca2.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: strict.Certificate().Raw}))), "example.com"
	if a := (&verify{agent: agent, node: c}).askAgent(t.Context()); a.Err == "" {
		t.Error("nobody's certificate was asked for")
	}
	pair := strict.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c = node()
	c.server, c.ca, c.serverName = strict.URL, filepath.Join(dir, "ca2.crt"), "example.com"
	c.cert = write("client.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	c.key = write("client.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	if a := (&verify{agent: agent, node: c}).askAgent(t.Context()); a.Err != "" {
		t.Errorf("with a certificate: %s", a.Err)
	}
}
