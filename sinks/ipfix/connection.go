package ipfix

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/limitfile"
)

// connection is one transport session.
type connection struct {
	net.Conn
	tcp    *net.TCPConn // nil over UDP
	closed atomic.Bool  // the collector ended it
}

func dial(ctx context.Context, cfg *Config) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	network := "tcp"
	if cfg.Protocol == "udp" {
		network = "udp"
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, network, cfg.Address)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: raw}
	c.tcp, _ = raw.(*net.TCPConn)
	if cfg.Protocol == "tls" {
		tc, err := tlsConfig(cfg)
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		t := tls.Client(raw, tc)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("tls: %w", err), raw.Close())
		}
		c.Conn = t
	}
	if c.tcp != nil {
		// A collector sends nothing; reading is how its end is noticed.
		go func() {
			_, _ = io.Copy(io.Discard, c.Conn) // ends with the connection, in whatever way
			c.closed.Store(true)
		}()
	}
	return c, nil
}

func tlsConfig(cfg *Config) (*tls.Config, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if tc.ServerName == "" {
		tc.ServerName, _, _ = net.SplitHostPort(cfg.Address) // Validate asked it
	}
	if cfg.CAFile != "" {
		pem, err := limitfile.Read(cfg.CAFile, 4<<20)
		if err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile: %s holds no certificate in PEM", cfg.CAFile)
		}
	}
	if cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("certFile %s, keyFile %s: %w", cfg.CertFile, cfg.KeyFile, err)
		}
		tc.Certificates = []tls.Certificate{pair}
	}
	return tc, nil
}

// broken reports that the collector has ended the connection.
func (c *connection) broken() bool { return c.closed.Load() }

var errClosed = errors.New("collector closed the connection before it had all of the batch")

// acknowledged waits until the peer's kernel has acknowledged every byte (SIOCOUTQ is
// 0), which is as near to a receipt as IPFIX comes.
func (c *connection) acknowledged(ctx context.Context, limit time.Duration) error {
	if c.tcp == nil {
		return nil
	}
	rc, err := c.tcp.SyscallConn()
	if err != nil {
		return err
	}
	end := time.Now().Add(limit)
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 5*time.Millisecond) {
		left := 0
		var qerr error
		if err := rc.Control(func(fd uintptr) { left, qerr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
			return err
		}
		switch {
		case qerr != nil:
			return fmt.Errorf("SIOCOUTQ: %w", qerr)
		case c.broken():
			return errClosed
		case left == 0:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%d bytes not acknowledged within %v", left, limit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
