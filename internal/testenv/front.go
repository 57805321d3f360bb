package testenv

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Front is TLS before a server that has none of its own in the tests: it takes only clients
// with a certificate of CA, and hands on what they send as it is.
type Front struct {
	Addr string // localhost:port
	CA   *CA    // of its own certificate and of the clients'

	listener net.Listener
	pair     tls.Certificate
	pool     *x509.CertPool
	to       atomic.Pointer[string]

	mu    sync.Mutex
	open  map[*tls.Conn]bool
	last  string
	conns sync.WaitGroup
}

// StartFront starts one and ends it with the test. Until To is called nobody is behind it.
func StartFront(t testing.TB) *Front {
	t.Helper()
	f := &Front{CA: NewCA(t), open: map[*tls.Conn]bool{}, pool: x509.NewCertPool()}
	cert, key := f.CA.Issue(t, t.TempDir(), "front", time.Now().Add(time.Hour))
	var err error
	if f.pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(f.CA.File)
	if err != nil || !f.pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	f.Addr = f.listener.Addr().String()
	f.conns.Go(f.accept)
	t.Cleanup(func() {
		_ = f.listener.Close()
		f.each(func(c *tls.Conn) { _ = c.NetConn().Close() })
		f.conns.Wait()
	})
	return f
}

// To says who is behind it.
func (f *Front) To(addr string) { f.to.Store(&addr) }

// Client is the name in the certificate of the client that was let in last.
func (f *Front) Client() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Drop ends every connection as a server does that stops: what clients have sent is still
// handed on, and they read the end.
func (f *Front) Drop() { f.each(func(c *tls.Conn) { _ = c.CloseWrite() }) }

func (f *Front) each(do func(*tls.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.open {
		do(c)
	}
}

func (f *Front) accept() {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{f.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: f.pool}
	for {
		raw, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.conns.Go(func() { f.serve(tls.Server(raw, cfg)) })
	}
}

func (f *Front) serve(c *tls.Conn) {
	f.mu.Lock()
	f.open[c] = true
	f.mu.Unlock()
	defer func() {
		_ = c.Close()
		f.mu.Lock()
		delete(f.open, c)
		f.mu.Unlock()
	}()
	to := f.to.Load()
	if err := c.Handshake(); err != nil || to == nil {
		return
	}
	f.mu.Lock()
	f.last = c.ConnectionState().PeerCertificates[0].Subject.CommonName
	f.mu.Unlock()
	s, err := net.Dial("tcp", *to)
	if err != nil {
		return
	}
	defer s.Close()
	f.conns.Go(func() {
		_, _ = io.Copy(c, s) // ends with either
		_ = c.CloseWrite()
	})
	_, _ = io.Copy(s, c)
}
