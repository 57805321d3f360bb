package demo

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// kind is how a shape's client behaves.
type kind string

const (
	tcpShort   kind = "tcp-short"   // dial, a request and its reply, close
	tcpLong    kind = "tcp-long"    // one connection, requests until the end
	tcpSlow    kind = "tcp-slow"    // one connection, a byte now and then
	tcpReset   kind = "tcp-reset"   // a request and its reply, then RST
	tcpVanish  kind = "tcp-vanish"  // a request and its reply, then silence from both ends
	tcpAttempt kind = "tcp-attempt" // dial and fail
	udpEcho    kind = "udp-echo"
	udpSilent  kind = "udp-silent" // the server reads and never answers
	udpDNS     kind = "udp-dns"    // a question for the outside's name, and its answer
	icmpEcho   kind = "icmp-echo"
)

// shape is one kind of traffic: who makes it, where it goes, and what can be
// proven of it.
type shape struct {
	name   string
	kind   kind
	from   string // pod, or outside
	to     string // pod, svc/NAME, nodeport/NAME, or outside
	family int    // 4 or 6
	port   uint16 // dialled
	server uint16 // where it arrives after NAT; with the family it tells the shape of a flow
	every  time.Duration
	want   []string // outcomes that are right for it
	named  string   // name of its server and where that is from, or what its DNS flows got
	// noEntry says that its own node denies it, which leaves no conntrack entry.
	noEntry bool
	by      string // who refused or reset it, where that can be proven
	phase   phase
	evals   string // what the NetworkPolicies in force say of it
}

// phase says on which side of the incident a shape is made.
type phase uint8

const (
	always phase = iota
	before       // until the incident begins
	after        // once it is staged
)

const (
	frontend = "frontend-6d8f-x2k4p"
	cart     = "cart-5c77-m9v2d"
	apiB     = "api-7b9c-q8w4j"
	apiC     = "api-7b9c-z5r7h"
	db       = "db-0"
	outside  = "outside"
	hostPod  = "metrics-b"
	checkout = "checkout-68f5-n4h6w"
	cache    = "cache-0"
)

// Ports on which the nodes' and the fabric's rules act.
const (
	portLossy     = 7005
	portRejected  = 7007
	portRejectRST = 7008
	portDropped   = 7009
	portDenied    = 7010
	portLostReply = 7013
	portPayments  = 8443 // what the Service targets; the rollout listens elsewhere
	portCache     = 6379
)

// outsideAddrs are the addresses of the world's outside (RFC 5737, RFC 3849).
func outsideAddrs() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:f00::10")}
}

// shapes are all of them, IPv4 and IPv6, those of the incident last.
func shapes() []shape {
	const often, calm, rare = 200 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second
	ok := []string{"ok"}
	both := []shape{
		{name: "tcp-short", kind: tcpShort, from: frontend, to: apiB, server: 7001, every: often, want: ok},
		{name: "tcp-long", kind: tcpLong, from: frontend, to: db, server: 7002, every: often, want: ok},
		{name: "tcp-service", kind: tcpShort, from: frontend, to: "svc/api", port: 80, server: 8080, every: often, want: ok},
		{name: "tcp-refused", kind: tcpAttempt, from: cart, to: apiB, server: 7006, every: rare, want: []string{"refused"}, by: "dst"},
		{name: "tcp-dropped", kind: tcpAttempt, from: cart, to: db, server: portDropped, every: rare, want: []string{"denied"}},
		{name: "tcp-external", kind: tcpShort, from: frontend, to: outside, server: 443, every: calm, want: ok, named: "payments.example by cidr"},
		{name: "udp-echo", kind: udpEcho, from: frontend, to: apiC, server: 7101, every: calm, want: ok},
		{name: "udp-service", kind: udpDNS, from: cart, to: "svc/dns", port: 53, server: 5353, every: calm, want: ok, named: "api.example.com noerror"},
		{name: "icmp-echo", kind: icmpEcho, from: frontend, to: apiB, every: rare, want: ok},
	}
	list := make([]shape, 0, 32)
	for _, s := range both {
		s4, s6 := s, s
		s4.family, s6.family = 4, 6
		s6.name += "-v6"
		list = append(list, s4, s6)
	}
	for _, s := range []shape{
		{name: "tcp-same-node", kind: tcpShort, from: frontend, to: cart, server: 7003, every: calm, want: ok},
		{name: "tcp-slow", kind: tcpSlow, from: cart, to: db, server: 7004, every: 700 * time.Millisecond, want: ok},
		{name: "tcp-lossy", kind: tcpShort, from: frontend, to: db, server: portLossy, every: calm, want: ok},
		{name: "tcp-host-pod", kind: tcpShort, from: frontend, to: hostPod, server: 9100, every: calm, want: ok},
		{name: "tcp-nodeport", kind: tcpShort, from: outside, to: "nodeport/web", port: 30081, server: 8081, every: calm, want: ok},
		{name: "tcp-reset", kind: tcpReset, from: frontend, to: apiC, server: 7011, every: calm, want: []string{"reset"}, by: "src"},
		{name: "tcp-vanished", kind: tcpVanish, from: cart, to: apiC, server: 7012, every: rare, want: []string{"timed_out"}},
		{name: "tcp-rejected", kind: tcpAttempt, from: cart, to: db, server: portRejected, every: rare, want: []string{"refused"}, by: "path"},
		{name: "tcp-rejected-rst", kind: tcpAttempt, from: cart, to: db, server: portRejectRST, every: rare, want: []string{"refused"}, by: "path"},
		{name: "tcp-half-open", kind: tcpAttempt, from: cart, to: apiC, server: portLostReply, every: rare, want: []string{"path_loss"}},
		{name: "udp-unanswered", kind: udpSilent, from: frontend, to: db, server: 7102, every: calm, want: []string{"unanswered"}},
		{name: "udp-external", kind: udpEcho, from: cart, to: outside, server: 123, every: calm, want: ok, named: "api.example.com by dns"},
		{name: "tcp-denied-at-source", kind: tcpAttempt, from: cart, to: apiC, server: portDenied, every: rare, want: []string{"denied"}, noEntry: true},
	} {
		s.family = 4
		list = append(list, s)
	}
	list = append(list, incidentShapes()...)
	for i := range list {
		if list[i].port == 0 {
			list[i].port = list[i].server
		}
	}
	return list
}

// incidentShapes are those that the incident breaks, and one beside them that it spares.
func incidentShapes() []shape {
	const calm, slow = 500 * time.Millisecond, time.Second
	ok := []string{"ok"}
	return []shape{
		{name: "checkout-pays", kind: tcpShort, from: checkout, to: "svc/payments", family: 4, port: 443, server: portPayments, every: calm, want: ok, phase: before},
		{name: "checkout-refused", kind: tcpAttempt, from: checkout, to: "svc/payments", family: 4, port: 443, server: portPayments, every: slow, want: []string{"refused"}, by: "dst", phase: after},
		{name: "cart-cache", kind: tcpShort, from: cart, to: cache, family: 4, server: portCache, every: calm, want: ok, phase: before, evals: "allowed"},
		{name: "cart-denied", kind: tcpAttempt, from: cart, to: cache, family: 4, server: portCache, every: slow, want: []string{"denied"}, phase: after, evals: "denied"},
		{name: "frontend-cache-v6", kind: tcpShort, from: frontend, to: cache, family: 6, server: portCache, every: calm, want: ok, evals: "allowed"},
	}
}

// shapesOf are those that a demo makes with the incident or without it.
func shapesOf(incident bool) []shape {
	return slices.DeleteFunc(shapes(), func(s shape) bool { return s.phase == after && !incident })
}

func (k kind) proto() string {
	switch k {
	case udpEcho, udpSilent, udpDNS:
		return "udp"
	case icmpEcho:
		return "icmp"
	default:
		return "tcp"
	}
}

// key tells shapes apart by what a record of their flows has. Two may have one key,
// if one is made before the incident and the other after it.
func (s *shape) key() string {
	return fmt.Sprintf("%s/%d/%d", s.kind.proto(), s.family, s.server)
}
