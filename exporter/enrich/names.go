package enrich

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxName is the longest name of a network, in bytes.
const maxName = 255

// Names gives names to networks outside the cluster. It never changes.
type Names struct {
	bits []int // prefix lengths in use, of the 16-byte form, longest first
	m    map[netip.Prefix]string
}

// ParseNames reads a file of networks, one a line: a CIDR (or a single address),
// blanks, and the name, which runs to the end of the line. Empty lines and lines
// that begin with # are skipped. file names the source in errors.
//
//	203.0.113.0/24   office berlin
//	2001:db8:77::/48 partner
func ParseNames(file string, data []byte) (*Names, error) {
	n := &Names{m: map[netip.Prefix]string{}}
	at := map[netip.Prefix]int{}
	sc := bufio.NewScanner(bytes.NewReader(data))
	line := 0
	for sc.Scan() {
		line++
		text := strings.TrimSpace(sc.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		p, name, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, line, err)
		}
		if first, ok := at[p]; ok {
			return nil, fmt.Errorf("%s:%d: network named twice: line %d names it %q", file, line, first, n.m[p])
		}
		at[p], n.m[p] = line, name
		if !slices.Contains(n.bits, p.Bits()) {
			n.bits = append(n.bits, p.Bits())
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w: lines are at most %d bytes", file, line+1, err, bufio.MaxScanTokenSize)
	}
	slices.Sort(n.bits)
	slices.Reverse(n.bits)
	return n, nil
}

func parseLine(text string) (netip.Prefix, string, error) {
	var none netip.Prefix
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return none, "", fmt.Errorf("%q has no name: write CIDR, a blank and the name", text)
	}
	cidr, name := text[:i], strings.TrimSpace(text[i:])
	switch {
	case len(name) > maxName:
		return none, "", fmt.Errorf("name of %s has %d bytes: at most %d", cidr, len(name), maxName)
	case !utf8.ValidString(name):
		return none, "", fmt.Errorf("name of %s is not UTF-8", cidr)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return none, "", fmt.Errorf("name of %s has a control character", cidr)
	}
	var p netip.Prefix
	if strings.Contains(cidr, "/") {
		var err error
		if p, err = netip.ParsePrefix(cidr); err != nil {
			return none, "", fmt.Errorf("%q is no CIDR: write 203.0.113.0/24 or 2001:db8::/32", cidr)
		}
	} else {
		a, err := netip.ParseAddr(cidr)
		if err != nil || a.Zone() != "" {
			return none, "", fmt.Errorf("%q is no address and no CIDR: write 203.0.113.0/24 or 2001:db8::/32", cidr)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return none, "", fmt.Errorf("%s is an IPv4 address in IPv6 form: write %s", cidr, p.Addr().Unmap())
	}
	if m := p.Masked(); m != p {
		return none, "", fmt.Errorf("%s has bits behind the prefix: write %s", cidr, m)
	}
	if p.Addr().Is4() {
		p = netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), p.Bits()+96)
	}
	return p, name, nil
}

// Len is the number of networks.
func (n *Names) Len() int {
	if n == nil {
		return 0
	}
	return len(n.m)
}

// Of gives the name of the smallest network that holds the address, "" for none.
func (n *Names) Of(addr [16]byte) string {
	if n == nil {
		return ""
	}
	a := netip.AddrFrom16(addr)
	for _, b := range n.bits {
		if b < 96 && a.Is4In6() {
			return "" // an IPv6 network never names an IPv4 address
		}
		if p, err := a.Prefix(b); err == nil {
			if s, ok := n.m[p]; ok {
				return s
			}
		}
	}
	return ""
}
