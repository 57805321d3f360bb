package send_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/collect"
	"github.com/weirnet/weir/exporter/send"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
)

func pool(t *testing.T, ca *testenv.CA) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(pem)
	return p
}

func issued(t *testing.T, ca *testenv.CA, name string) tls.Certificate {
	t.Helper()
	c, k := ca.Issue(t, t.TempDir(), name, time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(c, k)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// TestRefusedCertificate: with TLS 1.3 an aggregator refuses a certificate when the agent's
// handshake is over. Nothing counts as sent in such a session, and all arrives once the
// certificate is good.
func TestRefusedCertificate(t *testing.T) {
	ours, strangers := testenv.NewCA(t), testenv.NewCA(t)
	good, bad := issued(t, ours, "node-1"), issued(t, strangers, "node-1")
	s := &sinkhole{book: ledger.NewBook(), ports: map[uint16]int{}, done: make(chan struct{})}
	server := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{issued(t, ours, "aggregator")},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(t, ours),
	}
	cfg := collect.DefaultConfig()
	cfg.TCP, cfg.TLS = "", "127.0.0.1:0"
	c, err := collect.New(cfg, collect.Deps{Log: quiet(), Book: s.book, Handler: s, ServerTLS: server})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	run := func(f func(context.Context)) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
	}
	run(func(ctx context.Context) {
		if err := c.Run(ctx, 5*time.Second); err != nil {
			t.Error(err)
		}
	})
	var shown atomic.Pointer[tls.Certificate]
	shown.Store(&bad)
	sc := send.DefaultConfig()
	sc.Aggregators, sc.Transport, sc.Observer, sc.Instance = []string{c.Addrs()[0].String()}, "tls", "node-1", "boot-1"
	sc.FlushInterval, sc.LedgerInterval = 10*time.Millisecond, 50*time.Millisecond
	book := ledger.NewBook()
	snd, err := send.New(sc, send.Deps{Log: quiet(), Book: book, TLS: func(string) *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: "localhost", RootCAs: pool(t, ours),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown.Load(), nil },
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(func(ctx context.Context) {
		if err := snd.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	const n = 300
	for i := range n {
		r, key := record(i)
		snd.Send(&r, key)
	}
	eventually(t, "three refusals", func() bool { return c.Stats.TLSFailures.Load() >= 3 })
	if snd.Ready() {
		t.Error("an agent that is refused is ready")
	}
	for _, l := range book.Snapshot() {
		if l.Out.Records != 0 || l.LostTotal().Records != 0 {
			t.Errorf("of what was never taken the books say %+v", l)
		}
	}
	shown.Store(&good)
	eventually(t, "all records", func() bool { return s.count() == n })
}
