package correlate

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// TestDNSOfBothEnds has both nodes see a DNS connection: the client's time counts, in
// either order, and times make no identities of their own.
func TestDNSOfBothEnds(t *testing.T) {
	for _, order := range [][2]int{{sideSrc, sideDst}, {sideDst, sideSrc}} {
		g := newRig(t)
		for i := range 50 {
			for _, e := range order {
				r := half{end: e, port: uint16(1 + i), start: int64(e * 3), last: 1000, total: 1000, delta: 1000}.rec()
				r.SetDNSQuery("api.example.com")
				r.SetDNSRcode(0)
				r.SetDNSTime(uint32(5000 + i - e*1000))
				g.seeRec(r)
			}
		}
		g.want(50)
		for i, r := range g.out {
			eq(t, "dns.query", r.DNSQuery, "api.example.com")
			eq(t, "dns.rcode is there", r.Has.Has(flow.FDNSRcode), true)
			eq(t, "dns.time", r.DNSTime, uint32(5000+i))
		}
		if n := g.c.Identities(); n > 2 {
			t.Errorf("%d identities of two ends", n)
		}
		g.drain()
	}
	g := newRig(t)
	r := half{end: sideSrc, port: 1, last: 1000}.rec()
	r.SetDNSQuery("slow.example")
	g.seeRec(r)
	g.drain()
	eq(t, "no answer has no time", g.out[0].Has.Has(flow.FDNSTime) || g.out[0].Has.Has(flow.FDNSRcode), false)
	eq(t, "dns.query", g.out[0].DNSQuery, "slow.example")
}
