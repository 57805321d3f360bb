package elastic_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/elastic"
	"github.com/weirnet/weir/sinks/sinktest"
)

// TestPressure has servers that take little: 429 for what they cannot hold in memory, 413
// for what they do not read. All arrives once.
func TestPressure(t *testing.T) {
	engines(t, []string{"indexing_pressure.memory.limit=256kb", "http.max_content_length=1mb"}, func(t *testing.T, srv *testenv.Search) {
		t.Helper()
		cfg := config(srv.URL, "pressure")
		cfg.RequestBytes = 8 << 20
		s := newSink(t, cfg)
		recs := samples(0, 4000)
		recs[7].SetHTTPVals(strings.Repeat("x", 2<<20)) // alone more than the server reads
		var un *sinks.Undelivered
		tries := 0
		deadline := time.Now().Add(3 * time.Minute)
		for {
			tries++
			err := s.Write(t.Context(), recs)
			if errors.As(err, &un) {
				break
			}
			if err == nil {
				t.Fatal("the document that is too large was not told of")
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("%d tries", tries)
		if un.Amount.Records != 1 {
			t.Errorf("%d records are lost, want the one that is too large", un.Amount.Records)
		}
		if n := count(t, srv.URL, "pressure"); n != len(recs)-1 {
			t.Errorf("%d documents, want %d", n, len(recs)-1)
		}
		if tries < 2 {
			t.Error("the server refused nothing: the test proves nothing")
		}
	})
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// secured is the security that the server of the tests lacks, strict, before the server:
// TLS, certificates of clients, API keys and users.
type secured struct {
	*httptest.Server
	pair   atomic.Pointer[tls.Certificate]
	header atomic.Pointer[string] // the one Authorization that is good
}

func secure(t *testing.T, to string, ca *testenv.CA, clients bool) *secured {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := s.header.Load(); want == nil || r.Header.Get("Authorization") != *want {
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"root_cause":[],"type":"security_exception","reason":"unable to authenticate"},"status":401}`)
			return
		}
		r.Header.Del("Authorization")
		proxy.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(ca.File)
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*s.pair.Load()}}
		if clients {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool
		}
		return c, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *secured) certificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s.pair.Store(&pair)
	s.CloseClientConnections()
}

// TestSecured has wrong credentials, CAs and certificates, and each again when it is right.
func TestSecured(t *testing.T) {
	srv := testenv.StartSearch(t, testenv.Elasticsearch)
	t.Run("credentials", func(t *testing.T) {
		ca := testenv.NewCA(t)
		front := secure(t, srv.URL, ca, false)
		certFile, keyFile := ca.Issue(t, t.TempDir(), "server", time.Now().Add(time.Hour))
		front.certificate(t, certFile, keyFile)
		good := "ApiKey " + base64.StdEncoding.EncodeToString([]byte("id:key"))
		front.header.Store(&good)
		cfg := config(front.URL, "credentials")
		wantError(t, newSink(t, cfg).Write(t.Context(), samples(0, 5)), "of a CA that is not trusted here", "ca:")
		cfg.CAFile = ca.File
		wantError(t, newSink(t, cfg).Write(t.Context(), samples(0, 5)), "wants credentials", "401", "unable to authenticate")
		cfg.APIKeyFile = write(t, filepath.Join(t.TempDir(), "key"), "wrong\n")
		s := newSink(t, cfg)
		wantError(t, s.Write(t.Context(), samples(0, 5)), "refuses the API key", "check the apiKey in "+cfg.APIKeyFile)
		write(t, cfg.APIKeyFile, strings.TrimPrefix(good, "ApiKey ")+"\n") // rotated: the next try reads it
		if err := s.Write(t.Context(), samples(0, 5)); err != nil {
			t.Fatal(err)
		}
		basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("weir:secret"))
		front.header.Store(&basic)
		cfg.APIKeyFile, cfg.Username, cfg.PasswordEnv = "", "weir", "WEIR_TEST_PASSWORD"
		wantError(t, newSink(t, cfg).Write(t.Context(), samples(5, 5)), "the environment has no WEIR_TEST_PASSWORD")
		t.Setenv("WEIR_TEST_PASSWORD", "other")
		wantError(t, newSink(t, cfg).Write(t.Context(), samples(5, 5)), `refuses user "weir"`, "variable WEIR_TEST_PASSWORD")
		t.Setenv("WEIR_TEST_PASSWORD", "secret")
		if err := newSink(t, cfg).Write(t.Context(), samples(5, 5)); err != nil {
			t.Fatal(err)
		}
		if n := count(t, srv.URL, "credentials"); n != 10 {
			t.Errorf("%d documents, want 10", n)
		}
	})
	t.Run("certificates", func(t *testing.T) {
		ca := testenv.NewCA(t)
		front := secure(t, srv.URL, ca, true)
		none := ""
		front.header.Store(&none)
		dir := t.TempDir()
		certFile, keyFile := ca.Issue(t, dir, "server", time.Now().Add(-time.Hour))
		front.certificate(t, certFile, keyFile)
		cfg := config(front.URL, "certificates")
		cfg.CAFile = ca.File
		cfg.CertFile, cfg.KeyFile = ca.Issue(t, dir, "client", time.Now().Add(time.Hour))
		s := newSink(t, cfg)
		wantError(t, s.Write(t.Context(), samples(0, 5)), "certificate is not good", "expired")
		ca.Issue(t, dir, "server", time.Now().Add(time.Hour))
		front.certificate(t, certFile, keyFile) // renewed
		if err := s.Write(t.Context(), samples(0, 5)); err != nil {
			t.Fatal(err)
		}
		if n := count(t, srv.URL, "certificates"); n != 5 {
			t.Errorf("%d documents, want 5", n)
		}
	})
	t.Run("failover", func(t *testing.T) {
		gone, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		gone.Close()
		cfg := config(srv.URL, "failover")
		cfg.DialTimeout, cfg.RequestTimeout = time.Second, 5*time.Second
		cfg.Hosts = []string{"http://" + gone.Addr().String(), "http://" + testenv.Deaf(t), srv.URL}
		s := newSink(t, cfg)
		for i := range 4 {
			if err := s.Write(t.Context(), samples(10*i, 10)); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, srv.URL, "failover"); n != 40 {
			t.Errorf("%d documents, want 40", n)
		}
		cfg.Hosts, cfg.RequestTimeout = []string{"http://" + testenv.Deaf(t)}, 300*time.Millisecond
		wantError(t, newSink(t, cfg).Write(t.Context(), samples(0, 5)), "no answer in time", "is it Elasticsearch's HTTP port")
	})
}

// TestHalfDead: the server stands still with its connections open, then works a fifth of the
// time: records wait in the spool and memory stays, for documents and for sums; in the end
// each record is there once.
func TestHalfDead(t *testing.T) {
	srv := testenv.StartSearch(t, testenv.Elasticsearch)
	for _, format := range []string{elastic.FormatFlows, elastic.FormatMinutes} {
		t.Run(format, func(t *testing.T) {
			cfg := config(srv.URL, "half-dead-"+format)
			cfg.Format, cfg.Dir, cfg.RequestTimeout = format, t.TempDir(), time.Second
			cfg.Minutes.By, cfg.Minutes.MaxGroups, cfg.Minutes.Every = []string{"src.ns", "src.pod", "src.port"}, 5000, time.Second
			o := sinktest.StartOutage(t, newSink(t, cfg))
			o.Offer(t, 10_000)
			o.Drain(t)
			srv.Signal(t, syscall.SIGSTOP)
			defer srv.Signal(t, syscall.SIGCONT)
			o.Offer(t, 80_000)
			o.Says(t, "no answer in time")
			o.Memory(t, 120<<20)
			for range 10 {
				srv.Signal(t, syscall.SIGCONT)
				time.Sleep(100 * time.Millisecond) // it works a little
				srv.Signal(t, syscall.SIGSTOP)
				o.Offer(t, 2000)
				time.Sleep(400 * time.Millisecond)
			}
			o.Memory(t, 120<<20)
			srv.Signal(t, syscall.SIGCONT)
			o.Drain(t)
			o.End(t)
			if format == elastic.FormatFlows {
				if n := count(t, srv.URL, cfg.Index); n != o.Total {
					t.Errorf("%d documents, want %d", n, o.Total)
				}
				return
			}
			var n uint64
			for _, s := range sumsIn(t, srv.URL, cfg.Index) {
				n += s.Flows
			}
			if n != uint64(o.Total) {
				t.Errorf("the sums are of %d flows, want %d", n, o.Total)
			}
		})
	}
}

// TestEndlessAnswer: what a server sends without an end, compressed a thousand times, is
// read to a bound.
func TestEndlessAnswer(t *testing.T) {
	for name, status := range map[string]int{"success": 200, "failure": 400, "busy": 503} {
		t.Run(name, func(t *testing.T) {
			cfg := config(testenv.FloodHTTP(t, status, `{"version":{"number":"8.19.0"},"x":`), "flows")
			s := newSink(t, cfg)
			sinktest.Endless(t, func(ctx context.Context) error { return s.Write(ctx, sinktest.Samples(0, 1)) })
		})
	}
}
