package correlate

import "github.com/weirnet/weir/api/flow"

// Window is how many records Look looks ahead at: enough for their loads to overlap,
// few enough for what they load to stay in the first cache.
const Window = 16

// looked is what Look has worked out of a record.
type looked struct {
	key  flow.Tuple
	hash uint32
	slot uint64 // of the index: only a hint, it may have moved since
}

// Look prepares up to Window records for ObserveLooked. Of a table that is larger
// than the caches nearly every line of a connection has to come from memory; read
// for one record after the other, each waits for the one before it. Here they are
// asked for together: first the records and the index, then the entries, then the
// names, so that the processor waits once for many.
func (c *Correlator) Look(recs []*flow.Record) {
	mask := uint32(len(c.index.slots) - 1)
	ahead := c.ahead[:len(recs)]
	for k, r := range recs {
		normalize(r)
		l := &ahead[k]
		l.key = KeyOf(r)
		l.hash = hashTuple(&l.key)
		l.slot = c.index.slots[l.hash&mask]
	}
	var sum uint64
	var idents [2 * Window]uint32
	n := 0
	for k := range ahead {
		i := uint32(ahead[k].slot)
		if i == 0 {
			continue
		}
		e := c.slab.at(i)
		o, p := &e.ends[0], &e.ends[1]
		sum += uint64(e.next) + o.base[0] + p.total[0] + p.base[3] + e.connID + uint64(e.ctMark)
		idents[n], idents[n+1] = o.ident, p.ident
		n += 2
	}
	for _, id := range idents[:n] {
		sum += c.ids.list[id].hash
	}
	c.warmth += sum
}

// ObserveLooked is Observe of the record that stood at place k when Look was called.
func (c *Correlator) ObserveLooked(nowMs int64, k int, r *flow.Record, emit func(*flow.Record)) Sight {
	l := &c.ahead[k]
	return c.observe(nowMs, r, &l.key, l.hash, emit)
}
