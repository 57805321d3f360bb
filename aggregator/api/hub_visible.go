package api

import "github.com/weirnet/weir/api/flow"

// maxPairs bounds the pairs of namespaces that a Hub counts.
const maxPairs = 1 << 16

// pair are the namespaces of a connection's ends.
type pair struct{ src, dst string }

// count counts a record for those who see some namespaces only: what they missed is told
// to them by what they could have seen, and nothing else. The Hub's lock is held.
func (h *Hub) count(r *flow.Record) {
	p := pair{r.SrcNS, r.DstNS}
	if _, ok := h.pairs[p]; !ok && len(h.pairs) >= maxPairs {
		return // of a pair beyond the bound nobody is told what he missed
	}
	h.pairs[p]++
}

// published is how many records that v sees were ever published. The lock is held.
func (h *Hub) published(v *flow.Visibility) (n uint64) {
	for p, c := range h.pairs {
		if v.Has(p.src) || v.Has(p.dst) {
			n += c
		}
	}
	return n
}

// Begin gives the number of the next record, and how many records that v sees were
// published before it.
func (h *Hub) Begin(v *flow.Visibility) (at, seen uint64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if v == nil {
		return h.seq, h.seq
	}
	return h.seq, h.published(v)
}

// before is how many records that v sees were published before number at, which is in
// the ring. The lock is held.
func (h *Hub) before(v *flow.Visibility, at uint64) uint64 {
	n := h.published(v)
	for ; at < h.seq; at++ {
		if v.Sees(&h.ring[at%uint64(len(h.ring))]) {
			n--
		}
	}
	return n
}

// readVisible is Read for one who sees v. Where records went by that he did not get, told
// is the number of those before that he sees, seen being what it was the last time and
// what came since; lost counts those that he would have seen.
func (h *Hub) readVisible(v *flow.Visibility, at, seen uint64, buf []flow.Record) (n int, lost, told, next uint64, more <-chan struct{}) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	n, missed, next, more := h.read(at, buf)
	if missed == 0 || v == nil {
		return n, missed, seen + missed, next, more
	}
	if told = h.before(v, next-uint64(n)); told < seen { // of a pair beyond maxPairs
		told = seen
	}
	return n, told - seen, told, next, more
}
