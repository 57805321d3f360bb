package correlate

import "github.com/weirnet/weir/api/flow"

// Window is how many records Look looks ahead at: enough for their loads to overlap,
// few enough for what they load to stay in the first cache.
const Window = 16

// looked is what Look has worked out of a record.
type looked struct {
	key   flow.Tuple
	hash  uint32
	entry uint32 // only a hint: another's, or moved since
	side  uint8
}

// Look prepares up to Window records for ObserveLooked. Of a table that is larger
// than the caches nearly every line of a connection has to come from memory; read
// for one record after the other, each waits for the one before it. Here they are
// asked for together, each loop as short as can be, so that the processor has many
// loads under way at once: the records, the index, the entries, the names.
func (c *Correlator) Look(recs []*flow.Record) {
	ahead := c.ahead[:len(recs)]
	var sum uint64
	for _, r := range recs { // every line that Antrea's template fills
		sum += r.Has[0] + uint64(r.DstPort) + r.RevPackets +
			uint64(len(r.SrcNode)+len(r.SvcPortName)+len(r.IngressRule)+len(r.EgressRule)+len(r.EgressName))
	}
	for k, r := range recs {
		normalize(r)
		l := &ahead[k]
		l.side = uint8(sideOf(r))
		l.key = KeyOf(r)
		l.hash = hashTuple(&l.key)
	}
	slots := c.index.slots
	for k := range ahead {
		ahead[k].entry = uint32(slots[int(ahead[k].hash)&(len(slots)-1)])
	}
	var idents [Window]uint32
	for k := range ahead {
		i := ahead[k].entry
		if i == 0 {
			continue
		}
		e := c.slab.at(i)
		o, p := &e.ends[0], &e.ends[1]
		sum += uint64(e.next) + o.base[0] + p.total[0] + p.base[3] + e.connID + uint64(e.ctMark)
		idents[k] = e.ends[ahead[k].side].ident
	}
	for _, i := range idents[:len(recs)] {
		d := &c.ids.list[i]
		sum += d.hash
		if len(d.strs) > 0 {
			sum += uint64(len(d.strs[0]))
		}
		if len(d.nums) > 0 {
			sum += uint64(d.nums[0])
		}
	}
	c.warmth += sum
}

// ObserveLooked is Observe of the record that stood at place k when Look was called.
func (c *Correlator) ObserveLooked(nowMs int64, k int, r *flow.Record, emit func(*flow.Record)) Sight {
	l := &c.ahead[k]
	return c.observe(nowMs, r, l, emit)
}
