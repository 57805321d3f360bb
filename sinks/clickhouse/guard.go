package clickhouse

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// Both clients take the length of a text for what a server says it is, and make room for it
// at once: a greeting of another protocol, or of a server that is broken, would end the
// process. So the greeting is looked at before they read it. What comes later is in blocks
// with checksums.

// Bounds of a greeting, bytes of each text.
const (
	maxGreetingText     = 4 << 10
	maxExceptionMessage = 4 << 20
)

var errGreeting = errors.New("what answers is no ClickHouse server: is it the native port (9000, with TLS 9440)?")

// connect dials one host, with TLS where that is on.
func (c *Config) connect(ctx context.Context, host string) (net.Conn, error) {
	tc, err := c.tls().Config()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.DialTimeout)
	defer cancel()
	dialer := &net.Dialer{Timeout: c.DialTimeout}
	if tc == nil {
		conn, err := dialer.DialContext(ctx, "tcp", host)
		if err != nil {
			return nil, err
		}
		return &guard{Conn: conn, r: bufio.NewReader(conn)}, nil
	}
	if tc.ServerName == "" {
		tc.ServerName, _, _ = net.SplitHostPort(host) // Validate asked it
	}
	conn, err := (&tls.Dialer{NetDialer: dialer, Config: tc}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	return &guard{Conn: conn, r: bufio.NewReader(conn)}, nil
}

// guard is a connection whose greeting is looked at.
type guard struct {
	net.Conn
	r    *bufio.Reader
	seen bool
}

// Read implements net.Conn.
func (g *guard) Read(b []byte) (int, error) {
	if !g.seen {
		if err := (&greeting{r: g.r}).check(); err != nil {
			return 0, err
		}
		g.seen = true
	}
	return g.r.Read(b)
}

// greeting reads ahead in what the server says first (ClickHouse: src/Core/Protocol.h).
type greeting struct {
	r   *bufio.Reader
	pos int
}

// Packets that may come first.
const (
	packetHello     = 0
	packetException = 2
)

func (g *greeting) check() error {
	kind, err := g.number()
	if err != nil {
		return err
	}
	switch kind {
	case packetHello:
		return g.text(maxGreetingText) // the server's name; what follows it is of the same make
	case packetException:
		g.pos += 4 // its code
		if err := g.text(maxGreetingText); err != nil {
			return err
		}
		n, err := g.number()
		if err == nil && n > maxExceptionMessage {
			return errGreeting
		}
		return err
	default:
		return fmt.Errorf("%w (it begins with packet %d)", errGreeting, kind)
	}
}

func (g *greeting) at(i int) (byte, error) {
	b, err := g.r.Peek(i + 1)
	if len(b) <= i {
		return 0, err
	}
	return b[i], nil
}

// number is a varint of at most 64 bits.
func (g *greeting) number() (n uint64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := g.at(g.pos)
		if err != nil {
			return 0, err
		}
		g.pos++
		if n |= uint64(b&0x7f) << shift; b < 0x80 {
			return n, nil
		}
	}
	return 0, errGreeting
}

func (g *greeting) text(most int) error {
	n, err := g.number()
	if err == nil && n > uint64(most) {
		return errGreeting
	}
	g.pos += int(n)
	return err
}
