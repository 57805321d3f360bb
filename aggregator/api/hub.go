package api

import (
	"sync"

	"github.com/weirnet/weir/api/flow"
)

// Hub keeps the newest records in one ring that all live streams read, each at
// its own place. A publisher never waits for a reader and a reader costs the
// publisher nothing: one that is overtaken is told how many records went by.
type Hub struct {
	mu   sync.RWMutex
	ring []flow.Record
	seq  uint64        // number of records ever published; record n lies at n % len(ring)
	wake chan struct{} // closed at the next publication, if somebody waits

	pairs map[pair]uint64 // records published, by the namespaces of their ends
}

// NewHub makes a hub that keeps n records.
func NewHub(n int) *Hub {
	return &Hub{ring: make([]flow.Record, n), wake: make(chan struct{}), pairs: map[pair]uint64{}}
}

// Publish copies recs into the ring.
func (h *Hub) Publish(recs []flow.Record) {
	if len(recs) == 0 {
		return
	}
	h.mu.Lock()
	for i := range recs {
		h.ring[h.seq%uint64(len(h.ring))] = recs[i]
		h.count(&recs[i])
		h.seq++
	}
	wake := h.wake
	h.wake = make(chan struct{})
	h.mu.Unlock()
	close(wake)
}

// Seq is the number of records ever published.
func (h *Hub) Seq() uint64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.seq
}

// Oldest is the number of the oldest record that is still there.
func (h *Hub) Oldest() uint64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.oldest()
}

func (h *Hub) oldest() uint64 {
	if n := uint64(len(h.ring)); h.seq > n {
		return h.seq - n
	}
	return 0
}

// Read copies records from number at on into buf. It gives how many it copied, how
// many were overwritten before they could be read, the number to read next, and
// a channel that is closed when there is more.
func (h *Hub) Read(at uint64, buf []flow.Record) (n int, lost, next uint64, more <-chan struct{}) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.read(at, buf)
}

func (h *Hub) read(at uint64, buf []flow.Record) (n int, lost, next uint64, more <-chan struct{}) {
	if o := h.oldest(); at < o {
		lost, at = o-at, o
	}
	for n < len(buf) && at < h.seq {
		buf[n] = h.ring[at%uint64(len(h.ring))]
		n++
		at++
	}
	return n, lost, at, h.wake
}

// last finds the newest want connections (all records where want is 0) that match
// between the oldest record and number end, and gives the records' numbers in
// ascending order. Of a connection it takes the newest record.
func (h *Hub) last(end uint64, want int, sinceMs int64, match func(*flow.Record) bool) []uint64 {
	type conn struct {
		id  uint64
		obs string
	}
	seen := map[conn]bool{}
	var nums []uint64
	// The lock is taken for a slice of the ring at a time, so that publishers get through.
	const slice = 256
	at := end
	for at > 0 {
		h.mu.RLock()
		o := h.oldest()
		for i := 0; i < slice && at > o; i++ {
			at--
			r := &h.ring[at%uint64(len(h.ring))]
			if sinceMs > 0 && r.End < sinceMs || !match(r) {
				continue
			}
			if r.Has.Has(flow.FConnID) {
				k := conn{r.ConnID, r.Observer}
				if seen[k] {
					continue
				}
				seen[k] = true
			}
			nums = append(nums, at)
			if want > 0 && len(nums) == want {
				o = at
			}
		}
		done := at <= o
		h.mu.RUnlock()
		if done {
			break
		}
	}
	for i, j := 0, len(nums)-1; i < j; i, j = i+1, j-1 {
		nums[i], nums[j] = nums[j], nums[i]
	}
	return nums
}

// one copies record number at; it reports false where that was overwritten.
func (h *Hub) one(at uint64, r *flow.Record) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if at < h.oldest() || at >= h.seq {
		return false
	}
	*r = h.ring[at%uint64(len(h.ring))]
	return true
}
