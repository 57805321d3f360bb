package track

import (
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// maxZones bounds the zones that are looked in.
const maxZones = 64

// zone notes that entries have a zone.
func (t *Tracker) zone(z uint16) {
	if len(t.zones) <= maxZones && !slices.Contains(t.zones, z) {
		t.zones = append(t.zones, z)
	}
}

// Zones are zero and those that entries had; nil where there were more than 64.
func (t *Tracker) Zones() []uint16 {
	if len(t.zones) > maxZones {
		return nil
	}
	return t.zones
}

// Knows tells whether a connection whose original direction is orig is in the table, in
// any of Zones.
func (t *Tracker) Knows(orig *flow.Tuple) bool { return t.named(orig) != none }

// Renew exports such a connection within FirstMs: another source has something to say of
// it, and its own next news may be long in coming.
func (t *Tracker) Renew(nowMs int64, orig *flow.Tuple) {
	if i := t.named(orig); i != none {
		e := t.at(i)
		e.flags |= flagNews
		t.sooner(i, e, nowMs+int64(e.hash>>32)%t.cfg.FirstMs)
	}
}

// named finds the entry of a tuple that a reading of the table did not miss.
func (t *Tracker) named(orig *flow.Tuple) int32 {
	for _, z := range t.zones {
		hash := hashKey(t.cfg.Seed, orig, z)
		for p := uint32(hash) & t.mask; t.slots[p].ref != 0; p = (p + 1) & t.mask {
			i := int32(t.slots[p].ref - 1)
			if e := t.at(i); t.slots[p].hash == uint32(hash) && e.flags&flagGone == 0 && e.conn.Zone == z && sameTuple(&e.conn.Orig, orig) {
				return i
			}
		}
	}
	return none
}
