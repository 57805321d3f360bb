package sockets

import (
	"net"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/exporter/conntrack"
)

// Holders finds the network namespaces of pods by their addresses, among those that
// patterns name. Not for concurrent use.
type Holders struct {
	patterns []string
	known    map[netip.Addr]string
}

// NewHolders makes one; the patterns are those of Config.Netns.
func NewHolders(patterns []string) *Holders {
	return &Holders{patterns: patterns, known: map[netip.Addr]string{}}
}

// Find gives the path of the namespace that has the address; false where none has it.
// It enters every namespace that is new to it, which takes some 50 us each.
func (h *Holders) Find(addr netip.Addr) (string, bool) {
	if path, ok := h.known[addr]; ok && slices.Contains(addressesIn(path), addr) {
		return path, true
	}
	clear(h.known)
	spaces, _ := find(h.patterns)
	for _, path := range spaces {
		for _, a := range addressesIn(path) {
			if !a.IsLoopback() && !a.IsLinkLocalUnicast() { // every namespace has those
				h.known[a] = path
			}
		}
	}
	path, ok := h.known[addr]
	return path, ok
}

// addressesIn lists a namespace's addresses; none where it is gone or closed to us.
func addressesIn(path string) (out []netip.Addr) {
	_ = conntrack.InNetNS(path, func() error {
		list, err := net.InterfaceAddrs()
		for _, a := range list {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				out = append(out, p.Addr())
			}
		}
		return err
	})
	return out
}
