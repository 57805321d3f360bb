package store

import (
	"time"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
)

// head are the rows that are in memory only, those that are the only one of their
// connection apart from the rest.
type head struct {
	rows     [2]*column.Builder // by headKinds
	again    int                // see segment.Meta
	from, to uint64             // positions
	hour     time.Time          // in which it was begun
	born     time.Time
}

// headKinds are the kinds of rows of a head.
var headKinds = [2]segment.Kind{segment.Sole, segment.Rows}

// atOnce is how many records are looked for at a time: their places in memory are asked for
// together.
const atOnce = 64

// newHead makes a head for about as many rows as the one before it had, so that columns are
// not moved while they grow; nil for none.
func (s *Store) newHead(before *head) *head {
	h := &head{}
	for i := range h.rows {
		rows := 0
		if before != nil {
			rows = before.room(i, s.cfg.Memory/headShare)
		}
		h.rows[i] = column.NewBuilder(rows)
	}
	return h
}

// room is how many rows of a kind the next head should have room for: a few more than this
// one had, or half of them where that may be more than the memory for a head.
func (h *head) room(i int, memory int64) int {
	b := h.rows[i]
	n := b.Rows() + b.Rows()/16
	if b.Room() == 0 || h.bytes()/4*5 >= memory {
		n /= 2
	}
	return n
}

func (h *head) len() int { return h.rows[0].Rows() + h.rows[1].Rows() }

func (h *head) bytes() int64 { return h.rows[0].Bytes() + h.rows[1].Bytes() }

// add takes records in.
func (h *head) add(recs []flow.Record, seen *seen) {
	var lists [2][atOnce]*flow.Record
	for len(recs) > 0 {
		n := min(atOnce, len(recs))
		seen.ahead(recs[:n])
		var k [2]int
		for i := range recs[:n] {
			alone, again := seen.add(&recs[i])
			if again {
				h.again++
			}
			at := 1
			if alone {
				at = 0
			}
			lists[at][k[at]] = &recs[i]
			k[at]++
		}
		for i, b := range h.rows {
			b.AddAll(lists[i][:k[i]])
		}
		recs = recs[n:]
	}
}

// kindBlock are rows of one kind.
type kindBlock struct {
	*column.Block
	kind segment.Kind
}

// blocks are the rows so far, by their kind.
func (h *head) blocks() (list []kindBlock) {
	for i, b := range h.rows {
		if b.Rows() > 0 {
			list = append(list, kindBlock{b.Snapshot(), headKinds[i]})
		}
	}
	return list
}
