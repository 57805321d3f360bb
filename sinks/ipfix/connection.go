package ipfix

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/certs"
	"github.com/weirnet/weir/sinks/remote"
)

// connection is one transport session.
type connection struct {
	net.Conn
	tcp   *net.TCPConn  // nil over UDP
	ended chan struct{} // closed when the collector ended it
	why   error         // how, once ended is closed; nil for in good order
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
	c := &connection{Conn: raw, ended: make(chan struct{})}
	c.tcp, _ = raw.(*net.TCPConn)
	if cfg.Protocol == "tls" {
		if err := c.secure(ctx, cfg); err != nil {
			return nil, errors.Join(fmt.Errorf("tls: %w", err), raw.Close())
		}
		return c, nil
	}
	c.listen()
	return c, nil
}

// listen notices the connection's end: a collector sends nothing.
func (c *connection) listen() {
	if c.tcp == nil {
		return
	}
	go func() {
		_, c.why = io.Copy(io.Discard, c.Conn) // ends with the connection, in whatever way
		close(c.ended)
	}()
}

// secure makes the session one of TLS that the collector takes part in. With TLS 1.3 the
// client's side of a handshake is over before the collector has looked at the client's
// certificate, and its kernel would acknowledge records that it is about to refuse. What
// it sends first once the certificate is good is a session ticket (RFC 8446, 4.6.1).
func (c *connection) secure(ctx context.Context, cfg *Config) error {
	tc, err := cfg.tls().Config()
	if err != nil {
		return err
	}
	if tc.ServerName == "" {
		tc.ServerName, _, _ = net.SplitHostPort(cfg.Address) // Validate asked it
	}
	taken := certs.NewTickets()
	tc.ClientSessionCache = taken
	t := tls.Client(c.Conn, tc)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn = t
	c.listen()
	if !certs.Await(t) {
		return nil
	}
	wait := time.NewTimer(certs.TicketWait)
	defer wait.Stop()
	select {
	case <-taken:
	case <-wait.C:
	case <-c.ended:
		if c.why == nil {
			c.why = io.EOF
		}
		return fmt.Errorf("the collector ended the session behind the handshake: does it know the CA of certFile, or ask for one? %w", c.why)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (c *Config) tls() remote.TLS {
	return remote.TLS{On: true, CA: c.CAFile, Cert: c.CertFile, Key: c.KeyFile, ServerName: c.ServerName}
}

// broken reports that the collector has ended the connection.
func (c *connection) broken() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

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
