package demo

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// outsideName is the name by which pods of the demo's world know the outside, an
// alias of edgeName.
const (
	outsideName = "api.example.com."
	edgeName    = "edge.example.net."
)

// ask is one DNS question for the outside's name, and its answer.
func (g *generator) ask(s *shape, dst netip.AddrPort) {
	typ := dnsmessage.TypeA
	if s.family == 6 {
		typ = dnsmessage.TypeAAAA
	}
	port := 10000 + int(g.ports.Add(1)%20000)
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(port), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(outsideName), Type: typ, Class: dnsmessage.ClassINET}},
	}
	raw, err := q.Pack()
	if err != nil {
		return
	}
	d := net.Dialer{LocalAddr: &net.UDPAddr{Port: port}}
	c, err := d.Dial("udp", dst.String())
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(raw); err == nil {
		_, _ = c.Read(make([]byte, 512)) // an answer that is lost is the traffic's own business
	}
}

// resolve answers DNS questions: the outside's name with its addresses, any other
// with NXDOMAIN.
func resolve(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if raw, err := reply(buf[:n]); err == nil {
			_, _ = c.WriteTo(raw, from) // a lost answer is the client's to notice
		}
	}
}

var errNoQuestion = errors.New("no DNS message with one question")

func reply(b []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil || len(m.Questions) != 1 {
		return nil, errNoQuestion
	}
	m.Response, m.RecursionAvailable = true, true
	q := &m.Questions[0]
	if q.Name.String() != outsideName {
		m.RCode = dnsmessage.RCodeNameError
		return m.Pack()
	}
	head := func(name string, t dnsmessage.Type) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Type: t, Class: dnsmessage.ClassINET, TTL: 30}
	}
	m.Answers = []dnsmessage.Resource{{
		Header: head(outsideName, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(edgeName)},
	}}
	for _, a := range outsideAddrs() {
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head(edgeName, q.Type), Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head(edgeName, q.Type), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}
