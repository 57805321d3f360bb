package flow

import (
	"net/netip"
	"strconv"
)

// The networks that are words.
const (
	NetworkInternet  = "internet"  // what is routed globally, or reserved
	NetworkMulticast = "multicast" // 224.0.0.0/4 (RFC 5771) and ff00::/8 (RFC 4291)
)

// Network names the network of an address outside the cluster, as src.net and dst.net
// have it. There are few, so that they can be drawn and counted: what is routed globally
// is one, and of networks that are not the part that is most often one site's: /16 of
// RFC 1918 and RFC 6598, /48 of RFC 4193, and the whole of loopback and link-local. ""
// for the zero Addr. It allocates for RFC 4193 only.
func Network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid(), a.IsUnspecified():
		return ""
	case a.IsMulticast():
		return NetworkMulticast
	case a.Is4():
		return network4(a.As4())
	case a.IsLoopback():
		return "::1/128"
	case a.IsLinkLocalUnicast():
		return "fe80::/10"
	case a.IsPrivate():
		p, _ := a.Prefix(48) // of a valid address
		return p.String()
	}
	return NetworkInternet
}

func network4(b [4]byte) string {
	switch {
	case b[0] == 10:
		return sites[0][b[1]]
	case b[0] == 172 && b[1]&0xf0 == 16:
		return sites[1][b[1]&0x0f]
	case b[0] == 100 && b[1]&0xc0 == 64:
		return sites[2][b[1]&0x3f]
	case b[0] == 192 && b[1] == 168:
		return "192.168.0.0/16"
	case b[0] == 169 && b[1] == 254:
		return "169.254.0.0/16"
	case b[0] == 127:
		return "127.0.0.0/8"
	}
	return NetworkInternet
}

// sites are the texts of the networks of 16 bits within 10.0.0.0/8, 172.16.0.0/12 and
// 100.64.0.0/10.
var sites = [3][]string{makeSites(10, 0, 256), makeSites(172, 16, 16), makeSites(100, 64, 64)}

func makeSites(first, second, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(first) + "." + strconv.Itoa(second+i) + ".0.0/16"
	}
	return list
}
