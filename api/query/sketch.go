package query

import (
	"math"
	"slices"
)

// SketchError is the relative error of a quantile: the answer is within 1 % of a value
// of that rank.
const SketchError = 0.01

// sketchGamma is the ratio of the bounds of a bin (Masson, Rim, Lee: DDSketch, VLDB 2019).
const sketchGamma = (1 + SketchError) / (1 - SketchError)

// maxBin is above the bin of every number of 128 bits.
const maxBin = 4500

// Sketch counts numbers in bins whose width grows with the number, so that quantiles
// have a bounded relative error and sketches merge exactly. Whole numbers of 64 bits
// need at most 2,219 bins a sign.
type Sketch struct {
	Zero     uint64           `json:"zero,omitempty"`
	Positive map[int32]uint64 `json:"positive,omitempty"`
	Negative map[int32]uint64 `json:"negative,omitempty"`
}

// Add counts a number.
func (s *Sketch) Add(v float64) {
	switch {
	case v == 0:
		s.Zero++
	case v > 0:
		if s.Positive == nil {
			s.Positive = map[int32]uint64{}
		}
		s.Positive[bin(v)]++
	default:
		if s.Negative == nil {
			s.Negative = map[int32]uint64{}
		}
		s.Negative[bin(-v)]++
	}
}

func bin(v float64) int32 { return int32(math.Ceil(math.Log(v) / math.Log(sketchGamma))) }

// middle is the value of a bin that is nearest, relatively, to all in it.
func middle(bin int32) float64 {
	bin = max(0, min(bin, maxBin)) // from another aggregator it may be anything
	return 2 * math.Pow(sketchGamma, float64(bin)) / (sketchGamma + 1)
}

// Merge adds the numbers of another sketch.
func (s *Sketch) Merge(o *Sketch) {
	s.Zero += o.Zero
	s.Positive = mergeBins(s.Positive, o.Positive)
	s.Negative = mergeBins(s.Negative, o.Negative)
}

func mergeBins(a, b map[int32]uint64) map[int32]uint64 {
	if a == nil && len(b) > 0 {
		a = make(map[int32]uint64, len(b))
	}
	for k, n := range b {
		a[k] += n
	}
	return a
}

// Count is how many numbers were added.
func (s *Sketch) Count() uint64 {
	n := s.Zero
	for _, c := range s.Positive {
		n += c
	}
	for _, c := range s.Negative {
		n += c
	}
	return n
}

// Quantile gives the number of rank q (0 to 1), the smallest of which at least the
// share q of all numbers is not above. It reports false where there are none.
func (s *Sketch) Quantile(q float64) (float64, bool) {
	n := s.Count()
	if n == 0 {
		return 0, false
	}
	rank := max(uint64(math.Ceil(q*float64(n))), 1)
	var seen uint64
	neg := keys(s.Negative)
	slices.Reverse(neg)
	for _, k := range neg {
		if seen += s.Negative[k]; seen >= rank {
			return -middle(k), true
		}
	}
	if seen += s.Zero; seen >= rank {
		return 0, true
	}
	last := 0.0
	for _, k := range keys(s.Positive) {
		last = middle(k)
		if seen += s.Positive[k]; seen >= rank {
			break
		}
	}
	return last, true
}

func keys(m map[int32]uint64) []int32 {
	out := make([]int32, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
