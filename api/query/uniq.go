package query

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// UniqExact is the number of distinct values up to which uniq is exact.
const UniqExact = 1024

// UniqError is the standard error of uniq above UniqExact: 1.04/sqrt(2^12), 1.6 %.
const UniqError = 0.01625

const uniqBits = 12

// UniqRegisters is the length of Distinct.Registers.
const UniqRegisters = 1 << uniqBits

// Distinct counts distinct values: exactly up to UniqExact, then by HyperLogLog (Flajolet
// et al. 2007, with the small-range correction). Counters merge, and in any order give
// the same.
type Distinct struct {
	Hashes    map[uint64]struct{} // while exact
	Registers []byte              // 2^12, after that
}

// Add counts the text form of a value.
func (u *Distinct) Add(value []byte) { u.AddHash(xxhash.Sum64(value)) }

// AddHash counts a value by its hash, which must be xxhash's of its text.
func (u *Distinct) AddHash(h uint64) {
	if u.Registers != nil {
		u.register(h)
		return
	}
	if u.Hashes == nil {
		u.Hashes = map[uint64]struct{}{}
	}
	u.Hashes[h] = struct{}{}
	if len(u.Hashes) > UniqExact {
		u.spill()
	}
}

func (u *Distinct) spill() {
	u.Registers = make([]byte, 1<<uniqBits)
	for h := range u.Hashes {
		u.register(h)
	}
	u.Hashes = nil
}

func (u *Distinct) register(h uint64) {
	i := h >> (64 - uniqBits)
	rank := byte(bits.LeadingZeros64(h<<uniqBits|1<<(uniqBits-1)) + 1)
	u.Registers[i] = max(u.Registers[i], rank)
}

// Merge adds the values of another counter.
func (u *Distinct) Merge(o *Distinct) {
	if o.Registers == nil {
		for h := range o.Hashes {
			u.AddHash(h)
		}
		return
	}
	if u.Registers == nil {
		u.spill()
	}
	for i, r := range o.Registers {
		u.Registers[i] = max(u.Registers[i], r)
	}
}

// Count is the number of distinct values, and whether it is exact.
func (u *Distinct) Count() (n uint64, exact bool) {
	if u.Registers == nil {
		return uint64(len(u.Hashes)), true
	}
	const m = 1 << uniqBits
	sum, zeros := 0.0, 0
	for _, r := range u.Registers {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zeros > 0 {
		e = m * math.Log(m/float64(zeros))
	}
	return uint64(e + 0.5), false
}

// distinctJSON is a Distinct on the wire.
type distinctJSON struct {
	Hashes    []uint64 `json:"hashes,omitempty"`
	Registers []byte   `json:"registers,omitempty"`
}

// MarshalJSON writes the hashes in order, so that equal counters are equal bytes.
func (u *Distinct) MarshalJSON() ([]byte, error) {
	d := distinctJSON{Registers: u.Registers}
	for h := range u.Hashes {
		d.Hashes = append(d.Hashes, h)
	}
	slices.Sort(d.Hashes)
	return json.Marshal(d)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (u *Distinct) UnmarshalJSON(b []byte) error {
	var d distinctJSON
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	if len(d.Registers) != 0 && len(d.Registers) != 1<<uniqBits {
		return fmt.Errorf("a counter of distinct values with %d registers: %d are expected", len(d.Registers), 1<<uniqBits)
	}
	*u = Distinct{}
	for _, h := range d.Hashes {
		u.AddHash(h)
	}
	if len(d.Registers) > 0 {
		u.Merge(&Distinct{Registers: d.Registers})
	}
	return nil
}
