package conntrack

import (
	"slices"

	"github.com/weirnet/weir/exporter/track"
)

// Filter says which entries are wanted. The zero value wants all.
type Filter struct {
	Zones          []uint16 // any of these; empty for every zone
	Mark, MarkMask uint32   // mark & MarkMask == Mark; MarkMask 0 for every mark
}

// maxZoneDumps is the number of zones up to which each is dumped on its own: a
// scan costs an eighth of what an entry costs that is copied out and thrown away.
const maxZoneDumps = 8

// Match says whether c is wanted.
func (f *Filter) Match(c *track.Conn) bool {
	if f.MarkMask != 0 && c.Mark&f.MarkMask != f.Mark {
		return false
	}
	return len(f.Zones) == 0 || slices.Contains(f.Zones, c.Zone)
}

// requests makes the dump requests that give what f wants, each entry once.
func (f *Filter) requests() [][]byte {
	one := func(zone int) []byte {
		r := request(msgGet, nlmFDump, 0)
		if zone >= 0 {
			r.u16(ctaZone, uint16(zone))
		}
		if f.MarkMask != 0 {
			r.u32(ctaMark, f.Mark)
			r.u32(ctaMarkMask, f.MarkMask)
		}
		return r.finish(0)
	}
	zones := slices.Compact(slices.Sorted(slices.Values(f.Zones)))
	if len(zones) == 0 || len(zones) > maxZoneDumps {
		return [][]byte{one(-1)}
	}
	var list [][]byte
	for _, z := range zones {
		list = append(list, one(int(z)))
	}
	return list
}
