package findings

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Histogram counts connections by the values of one field.
type Histogram struct {
	Field         string
	Region, Rest  map[string]uint64 // value -> connections, in the region and in the rest
	RegionN       uint64            // connections of each side that have the field
	RestN         uint64
	RegionMissing uint64 // connections of the region without it
}

// Difference is a value that the region has more often than the rest.
type Difference struct {
	Field  string  `json:"field"`
	Value  string  `json:"value"`
	Region float64 `json:"region"` // share of the region's connections, 0 to 1
	Rest   float64 `json:"rest"`
	Score  float64 `json:"score"`
	Text   string  `json:"text"` // "dst.node = node-3: 97 % vs 31 %"
}

// minSupport is how many connections of the region must have a value for it to count.
const minSupport = 5

// Differences ranks the values of all fields by how over-represented they are in the
// region: by the signed root of the log-likelihood ratio (Dunning's G2), which weighs
// the distance of both shares by the evidence for it. At most one value of a field
// and limit in all.
func Differences(list []Histogram, limit int) []Difference {
	var out []Difference
	for i := range list {
		h := &list[i]
		var best *Difference
		for v, n := range h.Region {
			if n < minSupport {
				continue
			}
			d := Difference{Field: h.Field, Value: v, Region: share(n, h.RegionN), Rest: share(h.Rest[v], h.RestN)}
			d.Score = gain(n, h.RegionN, h.Rest[v], h.RestN)
			if d.Region <= d.Rest || d.Score < 3 {
				continue
			}
			if best == nil || d.Score > best.Score || d.Score == best.Score && v < best.Value {
				d.Text = fmt.Sprintf("%s = %s: %s vs %s", h.Field, quote(v), percent(d.Region), percent(d.Rest))
				best = &d
			}
		}
		if best != nil {
			out = append(out, *best)
		}
	}
	slices.SortFunc(out, func(a, b Difference) int {
		return cmp.Or(-cmp.Compare(a.Score, b.Score), cmp.Compare(a.Field, b.Field))
	})
	return out[:min(len(out), limit)]
}

// gain is the root of G2 for two binomial samples: a of n against b of m. 3 is about
// one chance in four hundred.
func gain(a, n, b, m uint64) float64 {
	if n == 0 || m == 0 {
		return 0
	}
	p := float64(a+b) / float64(n+m)
	g := 2 * (likely(a, n, share(a, n)) + likely(b, m, share(b, m)) - likely(a, n, p) - likely(b, m, p))
	return math.Sqrt(max(g, 0))
}

// likely is the log-likelihood of k of n at rate p.
func likely(k, n uint64, p float64) float64 {
	s := 0.0
	if k > 0 {
		s += float64(k) * math.Log(p)
	}
	if n > k {
		s += float64(n-k) * math.Log(1-p)
	}
	return s
}
