package cli

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
)

// tlsServer answers with a certificate that is valid until then, and wants one of clients
// where clients are given.
func tlsServer(t *testing.T, ca *testenv.CA, until time.Time, clients bool) *httptest.Server {
	t.Helper()
	cert, key := ca.Issue(t, t.TempDir(), "server", until)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	h.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	if clients {
		pem, err := os.ReadFile(ca.File)
		if err != nil {
			t.Fatal(err)
		}
		h.TLS.ClientAuth, h.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		h.TLS.ClientCAs.AppendCertsFromPEM(pem)
	}
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// TestWrongServers: what is wrong with a server, its certificate or one's own is said with
// what to do.
func TestWrongServers(t *testing.T) {
	ca, other := testenv.NewCA(t), testenv.NewCA(t)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	good, old, mutual := tlsServer(t, ca, later, false), tlsServer(t, ca, before, false), tlsServer(t, ca, later, true)
	cert, key := ca.Issue(t, t.TempDir(), "client", later)
	oldCert, oldKey := ca.Issue(t, t.TempDir(), "old", before)
	otherCert, otherKey := other.Issue(t, t.TempDir(), "other", later)
	web := func(f http.HandlerFunc) string {
		h := httptest.NewServer(f)
		t.Cleanup(h.Close)
		return h.URL
	}
	page := web(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<!doctype html><title>x</title>\n")
	})
	none := web(http.NotFound)
	half := web(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"stages":[`)
	})
	tlsFlags := func(h *httptest.Server, more string) string {
		return fmt.Sprintf("--server %s --ca-file %s %s", strings.TrimPrefix(h.URL, "https://"), ca.File, more)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string // a regular expression; empty for no error
	}{
		{"ledger " + tlsFlags(good, ""), 0, ""},
		{"query x --server " + testenv.FloodHTTP(t, http.StatusOK, ""), 1, `the answer broke off: a line is longer than 1 MiB`},
		{"query x --server " + testenv.FloodHTTP(t, http.StatusOK, `{"columns":[{"name":"src.ns","type":"text"}],"query":"x"}`+"\n"), 1, `the answer broke off: a line is longer than 1 MiB`},
		{"ledger " + tlsFlags(old, ""), 1, `has expired .*: renew its certificate, or set the clock of this machine right`},
		{"ledger " + tlsFlags(good, "--server-name agg.example"), 1, `not agg\.example: name one that it is for with --server-name`},
		{"ledger --server " + strings.TrimPrefix(good.URL, "https://") + " --ca-file " + other.File, 1, `give the CA that signed its certificate with --ca-file`},
		{"ledger " + tlsFlags(mutual, "--cert-file "+cert+" --key-file "+key), 0, ""},
		{"ledger " + tlsFlags(mutual, ""), 1, `it wants a client certificate: give --cert-file and --key-file`},
		{"ledger " + tlsFlags(mutual, "--cert-file "+oldCert+" --key-file "+oldKey), 1, `it refuses the client certificate: .*: has it expired, or was it signed by another CA\?`},
		{"ledger " + tlsFlags(mutual, "--cert-file "+otherCert+" --key-file "+otherKey), 1, `it (refuses the client certificate: .*unknown certificate authority|wants a client certificate of a CA that it knows)`},
		{"ledger " + tlsFlags(mutual, "--cert-file "+cert), 2, `belong together: give both --cert-file and --key-file`},
		{"ledger --server " + page, 1, `what answers is no weir-aggregator: is that its address\?`},
		{"query 'outcome != ok' --server " + page, 1, `what answers is no weir-aggregator: is that its address\?`},
		{"observe --server " + page, 1, `what answers is no weir-aggregator: is that its address\?`},
		{"top -o table --server " + page, 1, `what answers is no weir-aggregator: is that its address\?`},
		{"findings --server " + none, 1, `404 Not Found at /api/v1/findings, which is no answer of weir-aggregator: is that its address\?`},
		{"observe --server " + none, 1, `404 Not Found at /api/v1/flows, which is no answer of weir-aggregator`},
		{"ledger --server " + half, 1, `the answer broke off: the server stopped or the network did`},
		{"ledger --server :8443", 2, `":8443" is no HOST:PORT: write it like`},
		{"ledger --timeout 0s", 2, `--timeout: 0s is no time to wait`},
		{"ledger --timeout -1s", 2, `--timeout: -1s is no time to wait`},
		{"check nodes", 2, `what to check: "nodes" is unknown: did you mean node\?`},
	} {
		status, _, errs := runHere(t, argsOf(t, c.args))
		if status != c.status || c.want != "" && !regexp.MustCompile(c.want).MatchString(errs) || c.want == "" && errs != "" && !strings.Contains(errs, "coverage") {
			t.Errorf("%s: status %d, want %d: %s\nwant %s", c.args, status, c.status, errs, c.want)
		}
	}
}

// TestWrongInput: what is no file of flows is refused, whatever it is.
func TestWrongInput(t *testing.T) {
	zip := func(text string, keep int) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
		return b.String()[:b.Len()-keep]
	}
	const line = `{"start":"2026-03-14T03:12:06.000Z","end":"2026-03-14T03:12:07.000Z"}` + "\n"
	for name, c := range map[string]struct{ in, want string }{
		"a program":      {"\x7fELF\x02\x01\x01\x00\x00\n\x00\xff\x1b[2J", `line 1: .*: flows are JSON lines, as -o jsonl writes them$`},
		"an array":       {"[" + line + "]", `line 1: .*: flows are JSON lines, as -o jsonl writes them$`},
		"CSV":            {"start,end\n1,2\n", `flows are JSON lines`},
		"a broken gzip":  {"\x1f\x8bgarbage, and more of it", `gzip: invalid header`},
		"half a gzip":    {zip(strings.Repeat(line, 100), 12), `unexpected EOF`},
		"a later line":   {line + "nonsense\n", `line 2: `},
		"half a line":    {line + `{"start":"2026`, `line 2: `},
		"a gzip bomb":    {zip(strings.Repeat("\x00", 64<<20), 0), `line 1 is longer than 1 MiB`},
		"a number's end": {`{"src.port":70000}`, `src\.port`},
	} {
		status, errs := observeInput(t.Context(), strings.NewReader(c.in), io.Discard)
		if status != ExitError || !regexp.MustCompile(c.want).MatchString(strings.TrimSpace(errs)) || strings.Contains(errs, "\x1b") {
			t.Errorf("%s: status %d: %q, want %s", name, status, errs, c.want)
		}
	}
}
