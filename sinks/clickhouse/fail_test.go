package clickhouse_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
	"github.com/weirnet/weir/sinks/sinktest"
)

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not say %q: %v", p, err)
		}
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentials(t *testing.T) {
	srv := testenv.StartClickHouse(t, "-password", "right")
	cfg := config(srv.Addr)
	s := newSink(t, cfg, "a")
	recs := samples(0, 10)
	wantError(t, s.WriteAt(t.Context(), 0, recs), `refuses user "default"`, "no password is configured", "516")
	cfg.PasswordFile = write(t, filepath.Join(t.TempDir(), "password"), "wrong\n")
	s = newSink(t, cfg, "a")
	wantError(t, s.WriteAt(t.Context(), 0, recs), "check the password in "+cfg.PasswordFile)
	write(t, cfg.PasswordFile, "right\n") // rotated: the next try reads it
	if err := s.WriteAt(t.Context(), 0, recs); err != nil {
		t.Error(err)
	}
	cfg.PasswordFile, cfg.PasswordEnv = "", "WEIR_TEST_PASSWORD"
	wantError(t, newSink(t, cfg, "a").WriteAt(t.Context(), 0, recs), "the environment has no WEIR_TEST_PASSWORD")
	t.Setenv("WEIR_TEST_PASSWORD", "right")
	if err := newSink(t, cfg, "a").WriteAt(t.Context(), 10, recs); err != nil {
		t.Error(err)
	}
}

// certificate writes a self-signed one for 127.0.0.1 that is good until then.
func certificate(t *testing.T, dir string, until time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(until.UnixNano()), Subject: pkix.Name{CommonName: "clickhouse"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "tls.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd})))
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, time.Now().Add(-time.Hour))
	srv := testenv.StartClickHouse(t, "-cert", cert, "-key", key)
	cfg := config(srv.Addr)
	cfg.TLS, cfg.CAFile = true, cert
	s := newSink(t, cfg, "a")
	recs := samples(0, 10)
	wantError(t, s.WriteAt(t.Context(), 0, recs), "certificate has expired")
	srv.Kill()
	certificate(t, dir, time.Now().Add(24*time.Hour)) // renewed, at the same place
	srv.Start(t)
	if err := s.WriteAt(t.Context(), 0, recs); err != nil {
		t.Error("after the certificate was renewed:", err)
	}
	cfg.CAFile = write(t, filepath.Join(t.TempDir(), "ca"), "nothing")
	wantError(t, newSink(t, cfg, "a").WriteAt(t.Context(), 0, recs), "holds no certificate in PEM")
}

func TestFailover(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	cfg := config(srv.Addr)
	cfg.DialTimeout = time.Second
	cfg.Hosts = []string{gone.Addr().String(), testenv.Deaf(t), srv.Addr}
	if err := newSink(t, cfg, "a").WriteAt(t.Context(), 0, samples(0, 100)); err != nil {
		t.Fatal(err)
	}
	if n := number(t, client(t, srv.Addr), "SELECT count() FROM weir.weir_flows"); n != 100 {
		t.Errorf("%d rows, want 100", n)
	}
}

// TestReaderFails: questions to a server that refuses or never answers end in their time,
// say what is wrong, and are answered once that is mended.
func TestReaderFails(t *testing.T) {
	srv := testenv.StartClickHouse(t, "-password", "right")
	cfg := config(srv.Addr)
	cfg.DialTimeout = time.Second
	cfg.PasswordFile = write(t, filepath.Join(t.TempDir(), "password"), "right")
	if err := clickhouse.Migrate(t.Context(), &cfg, ddl.Latest); err != nil {
		t.Fatal(err)
	}
	write(t, cfg.PasswordFile, "wrong")
	q, err := query.Parse("| stats conns")
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t, cfg)
	ask := func(ctx context.Context) error { return r.Answer(ctx, request(t, q, 0, 1), nil) }
	wantError(t, ask(t.Context()), `refuses user "default"`, "check the password in "+cfg.PasswordFile)
	write(t, cfg.PasswordFile, "right")
	if err := ask(t.Context()); err != nil {
		t.Error("after the password was rotated:", err)
	}
	srv.Kill()
	if ask(t.Context()) == nil {
		t.Error("a server that was killed answers")
	}
	srv.Start(t)
	if err := ask(t.Context()); err != nil {
		t.Error("after the server came back:", err)
	}
	if begins, err := r.Begins(t.Context()); err != nil || begins != 0 {
		t.Errorf("an empty database begins at %d, %v", begins, err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if ask(gone) == nil {
		t.Error("answered one who does not wait")
	}
	cfg.Hosts = []string{testenv.Deaf(t)}
	r = newReader(t, cfg)
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	wantError(t, ask(short), "is it ClickHouse's native port")
}

// TestDeaf has a server that never answers: each try ends in its time with an error that
// says so, records wait in the spool, memory stays, and all arrive once the server lives.
func TestDeaf(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	cfg := config(testenv.Deaf(t))
	cfg.DialTimeout = 500 * time.Millisecond
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	wantError(t, newSink(t, cfg, "a").WriteAt(short, 0, samples(0, 10)), "is it ClickHouse's native port")

	cfg.Hosts = append(cfg.Hosts, srv.Addr)
	srv.Kill() // both are of no use now
	sink, err := clickhouse.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.WriteTimeout, rc.RetryMin, rc.RetryMax = t.TempDir(), 2*time.Second, 20*time.Millisecond, 100*time.Millisecond
	book := ledger.NewBook()
	r, err := sinks.NewRunner(rc, sink, sinks.Deps{Stage: book.Stage("sink/clickhouse")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	const total = 40_000
	for i := 0; i < total; i += 5000 {
		r.Offer(samples(i, 5000))
		if err := r.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second) // a few tries fail
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 200<<20 {
		t.Errorf("%d MiB in use while the server is deaf", m.HeapAlloc>>20)
	}
	if h := r.Held(); h.Records != total {
		t.Errorf("%d records are held, want %d", h.Records, total)
	}
	srv.Start(t)
	wait, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.Drain(wait); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := number(t, client(t, srv.Addr), "SELECT count() FROM weir.weir_flows"); n != total {
		t.Errorf("%d rows, want %d", n, total)
	}
	for _, l := range book.Snapshot() {
		a, b, c := l.Diff()
		if a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 || l.Out.Records != total {
			t.Errorf("books: %+v", l)
		}
	}
}

// TestEndlessAnswer: answers that say they are long, or are no ClickHouse at all, are read
// to a bound, by the sink and by what reads the history.
func TestEndlessAnswer(t *testing.T) {
	long := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f} // 2^62 and more as a varint
	for name, head := range map[string][]byte{
		"text":      []byte("HTTP/1.1 200 OK\r\n"),
		"hello":     append([]byte{0}, long...),                     // the server's name
		"exception": append([]byte{2, 1, 0, 0, 0, 1, 'x'}, long...), // its message
		"varint":    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(testenv.Flood(t, head, 'x'))
			sinktest.Endless(t, func(ctx context.Context) error {
				s, err := clickhouse.New(cfg, nil, nil)
				if err != nil {
					return err
				}
				defer func() { _ = s.Close() }()
				if _, _, err := s.Resume(ctx, "spool"); err != nil {
					return err
				}
				return s.WriteAt(ctx, 0, samples(0, 10))
			})
			sinktest.Endless(t, func(ctx context.Context) error {
				_, err := newReader(t, cfg).Begins(ctx)
				return err
			})
		})
	}
}
