package track

import (
	"encoding/binary"
	"math/bits"

	"github.com/weirnet/weir/api/flow"
)

const (
	mulA = 0x9E3779B97F4A7C15
	mulB = 0xD6E8FEB86659FD93
	mulC = 0xA0761D6478BD642F
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hashKey hashes a tuple and its zone. A secret seed keeps a peer that chooses
// addresses and ports from choosing collisions.
func hashKey(seed uint64, t *flow.Tuple, zone uint16) uint64 {
	le := binary.LittleEndian
	h := mix(le.Uint64(t.Src[0:])^seed^mulA, le.Uint64(t.Src[8:])^mulB)
	h ^= mix(le.Uint64(t.Dst[0:])^seed^mulC, le.Uint64(t.Dst[8:])^mulA)
	rest := uint64(t.SrcPort)<<48 | uint64(t.DstPort)<<32 | uint64(t.Proto)<<16 | uint64(zone)
	return mix(h^rest^mulB, seed|1) ^ mix(h^mulC, rest^mulA)
}

// ConnID is the number of a connection that is in no table.
func ConnID(c *Conn) uint64 { return connID(c, 0) }

// connID is the number of a connection, the same after a restart: a hash of
// tuple, zone and start. Where the kernel keeps no start its id stands in, and
// where there is no id either the time at which it was first seen.
func connID(c *Conn, firstMs int64) uint64 {
	h := hashKey(mulC, &c.Orig, c.Zone)
	switch {
	case c.Start != 0:
		return mix(h^mulA, uint64(c.Start)^mulB)
	case c.ID != 0:
		return mix(h^mulB, uint64(c.ID)^mulC)
	}
	return mix(h^mulC, uint64(firstMs)^mulA)
}
