package tap

import (
	"net"
	"time"

	"github.com/weirnet/weir/exporter/conntrack"
)

// Own knows the addresses of a network namespace. One goroutine uses it.
type Own struct {
	NetNS string // path; "" for the present one

	addrs map[[16]byte]bool
	read  time.Time
}

// Has says whether the namespace has the address. They are read again when one is not
// among them, at most once a second.
func (o *Own) Has(addr [16]byte) (bool, error) {
	if o.addrs[addr] {
		return true, nil
	}
	if o.addrs == nil || time.Since(o.read) > time.Second {
		own := map[[16]byte]bool{}
		err := conntrack.InNetNS(o.NetNS, func() error {
			list, err := net.InterfaceAddrs()
			for _, a := range list {
				if n, ok := a.(*net.IPNet); ok {
					own[[16]byte(n.IP.To16())] = true
				}
			}
			return err
		})
		if err != nil {
			return false, err
		}
		o.addrs, o.read = own, time.Now()
	}
	return o.addrs[addr], nil
}
