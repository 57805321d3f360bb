package certs

import (
	"crypto/tls"
	"net"
	"time"
)

// TicketWait is how long a server that gives no session tickets holds up a connection.
const TicketWait = time.Second

// Tickets is a client's cache of sessions that tells of a ticket and keeps none: a session
// that was resumed would not show a renewed certificate.
//
// With TLS 1.3 the client's side of a handshake is over before the server has looked at
// the client's certificate, and its kernel would acknowledge what it is about to refuse.
// What it sends first once the certificate is good is a session ticket (RFC 8446, 4.6.1).
// It is seen while the connection is read.
type Tickets chan struct{}

// NewTickets makes one for one connection.
func NewTickets() Tickets { return make(Tickets, 1) }

// Get has none.
func (Tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put tells of one.
func (t Tickets) Put(string, *tls.ClientSessionState) {
	select {
	case t <- struct{}{}:
	default:
	}
}

// Await says whether a connection has to wait for a ticket: only TLS 1.3 does.
func Await(c net.Conn) bool {
	t, ok := c.(*tls.Conn)
	return ok && t.ConnectionState().Version >= tls.VersionTLS13
}
