package dns

import (
	"bytes"
	"errors"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// ErrMalformed is what bytes give that are no DNS message that a resolver would take.
var ErrMalformed = errors.New("malformed DNS message")

const (
	headLen    = 12
	maxRecords = 256 // of an answer; more are left unread
	maxChain   = 16  // CNAMEs that are followed
	maxName    = 255
)

// answered is one address of an answer.
type answered struct {
	owner dnsmessage.Name
	addr  [16]byte
	ttl   uint32
}

// alias is one CNAME of an answer.
type alias struct {
	owner, target dnsmessage.Name
	ttl           uint32
}

// message is one message as far as it matters. It is used again and again.
type message struct {
	id        uint16
	response  bool
	truncated bool // the rest is to be asked for over TCP
	rcode     uint8
	qtype     dnsmessage.Type
	name      []byte // the name asked for: lower case, no dot at the end; "." for the root
	addrs     []answered
	aliases   []alias
	buf       [maxName + 1]byte
}

// header reads what can be known before the message is parsed (RFC 1035 section 4.1.1).
func header(b []byte) (id uint16, response bool, err error) {
	if len(b) < headLen {
		return 0, false, ErrMalformed
	}
	return uint16(b[0])<<8 | uint16(b[1]), b[2]&0x80 != 0, nil
}

// parse reads a message with one question of class IN. A message of another kind
// (an update, a notify) gives ok false and no error.
func (m *message) parse(b []byte) (ok bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return false, ErrMalformed
	}
	*m = message{
		id: h.ID, response: h.Response, truncated: h.Truncated, rcode: uint8(h.RCode) & 0xf,
		addrs: m.addrs[:0], aliases: m.aliases[:0],
	}
	if h.OpCode != 0 {
		return false, nil
	}
	q, err := p.Question()
	if err != nil {
		return false, ErrMalformed
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return false, ErrMalformed // RFC 9619: exactly one
	}
	if q.Class != dnsmessage.ClassINET {
		return false, nil
	}
	m.qtype = q.Type
	if m.name, err = plain(m.buf[:0], &q.Name); err != nil {
		return false, err
	}
	if !m.response {
		return true, nil
	}
	return true, m.answers(&p)
}

// answers reads the answer section. A truncated message may end in the middle of it.
func (m *message) answers(p *dnsmessage.Parser) error {
	for range maxRecords {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		}
		if err != nil {
			return m.cut()
		}
		ttl := h.TTL
		if ttl > 1<<31-1 {
			ttl = 0 // RFC 2181 section 8
		}
		switch {
		case h.Class != dnsmessage.ClassINET:
			err = p.SkipAnswer()
		case h.Type == dnsmessage.TypeA:
			var r dnsmessage.AResource
			if r, err = p.AResource(); err == nil && h.Length == 4 {
				m.addrs = append(m.addrs, answered{h.Name, netip.AddrFrom4(r.A).As16(), ttl})
			}
		case h.Type == dnsmessage.TypeAAAA:
			var r dnsmessage.AAAAResource
			if r, err = p.AAAAResource(); err == nil && h.Length == 16 {
				m.addrs = append(m.addrs, answered{h.Name, r.AAAA, ttl})
			}
		case h.Type == dnsmessage.TypeCNAME:
			var r dnsmessage.CNAMEResource
			if r, err = p.CNAMEResource(); err == nil {
				m.aliases = append(m.aliases, alias{h.Name, r.CNAME, ttl})
			}
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return m.cut()
		}
	}
	return nil
}

func (m *message) cut() error {
	if m.truncated {
		return nil
	}
	return ErrMalformed
}

// reach gives each address to which the chain of CNAMEs from the asked name leads,
// with the smallest time to live on the way, in seconds. foreign is the number of
// addresses that nobody asked for.
func (m *message) reach(fn func(addr [16]byte, ttl uint32)) (foreign int) {
	if len(m.addrs) == 0 {
		return 0
	}
	var chain [maxChain + 1][]byte
	var least [maxChain + 1]uint32
	chain[0], least[0] = m.name, 1<<31-1
	n := 1
	for n <= maxChain {
		i := m.aliasOf(chain[n-1])
		if i < 0 {
			break
		}
		a := &m.aliases[i]
		chain[n], least[n] = trim(a.target.Data[:a.target.Length]), min(least[n-1], a.ttl)
		n++
	}
	for i := range m.addrs {
		a := &m.addrs[i]
		owner, found := trim(a.owner.Data[:a.owner.Length]), false
		for j := range n {
			if bytes.EqualFold(owner, chain[j]) {
				fn(a.addr, min(least[j], a.ttl))
				found = true
				break
			}
		}
		if !found {
			foreign++
		}
	}
	return foreign
}

func (m *message) aliasOf(name []byte) int {
	for i := range m.aliases {
		a := &m.aliases[i]
		if bytes.EqualFold(trim(a.owner.Data[:a.owner.Length]), name) {
			return i
		}
	}
	return -1
}

// trim cuts the dot at the end, except of the root.
func trim(b []byte) []byte {
	if n := len(b); n > 1 && b[n-1] == '.' {
		return b[:n-1]
	}
	return b
}

// plain writes a name in lower case. Names go into records, queries and pages, so
// only printable ASCII without quotes, backslashes and blanks passes; names of hosts
// have no other (RFC 1123 section 2.1), internationalized ones neither (RFC 5890).
func plain(to []byte, n *dnsmessage.Name) ([]byte, error) {
	for _, c := range trim(n.Data[:n.Length]) {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c <= ' ', c >= 0x7f, c == '"', c == '\'', c == '\\', c == '`', c == '<', c == '>':
			return nil, ErrMalformed
		}
		to = append(to, c)
	}
	if len(to) == 0 {
		return nil, ErrMalformed
	}
	return to, nil
}
