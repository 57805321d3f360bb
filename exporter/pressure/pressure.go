// Package pressure tells how full a conntrack table is and when it will be full.
//
// Idea: the kernel says nothing until it drops packets. The growth is the median of
// the slopes between all pairs of samples in a window (Theil-Sen), so that a burst
// or a dump that came late does not move it; the time to full is what is left over
// the growth. It is a straight line drawn on: entries that time out as fast as they
// come bend it, and the next samples say so.
//
// In: samples of the table's count and the kernel's own counts, and the addresses
// of its entries (Tally). Out: State. Both are bounded. It has no clock and does no
// I/O; if it dies, the next process begins a new window.
package pressure

import (
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// Sample is the table at one instant.
type Sample struct {
	AtMs       int64 // Unix ms
	Count, Max uint64
	// The kernel's counts since it started.
	Drop, EarlyDrop, InsertFailed uint64
}

// State is what is known now. GrowthPerSecond and the rest say nothing where Known
// is false: there are too few samples.
type State struct {
	AtMs            int64   `json:"at_ms"`
	Count           uint64  `json:"entries"`
	Max             uint64  `json:"max"`
	Known           bool    `json:"growth_known"`
	GrowthPerSecond float64 `json:"growth_per_second"`
	// FullInMs is when the table will be full at this growth, ms from AtMs; 0 where it
	// is full, -1 where it does not grow, or will not be full within a year.
	FullInMs int64 `json:"full_in_ms"`
	// Within the window.
	Drops        uint64  `json:"drops"`
	EarlyDrops   uint64  `json:"early_drops"`
	InsertFailed uint64  `json:"insert_failures"`
	WindowMs     int64   `json:"window_ms"` // how long the samples span
	Clients      []Owner `json:"clients,omitempty"`
	Servers      []Owner `json:"servers,omitempty"`
}

// Fill is the share of the table that is taken, 0 to 1; 0 where its size is unknown.
func (s *State) Fill() float64 {
	if s.Max == 0 {
		return 0
	}
	return float64(s.Count) / float64(s.Max)
}

const (
	// DefaultWindowMs is the time that a forecast rests on.
	DefaultWindowMs = 60_000
	maxSamples      = 64 // 2016 pairs
	minSamples      = 5
	yearMs          = 365 * 24 * 3600 * 1000
)

// Forecaster holds the samples of a window. The zero value is not ready: New.
type Forecaster struct {
	windowMs int64
	samples  []Sample
	slopes   []float64
}

// New makes a forecaster that looks back windowMs.
func New(windowMs int64) *Forecaster {
	if windowMs <= 0 {
		windowMs = DefaultWindowMs
	}
	return &Forecaster{windowMs: windowMs}
}

// Add takes a sample. Samples that come closer together than the window has room for
// are left out; one that is older than the last begins a new window.
func (f *Forecaster) Add(s Sample) {
	if n := len(f.samples); n > 0 {
		last := &f.samples[n-1]
		switch {
		case s.AtMs < last.AtMs:
			f.samples = f.samples[:0]
		case n > 1 && s.AtMs-f.samples[n-2].AtMs < f.windowMs/maxSamples:
			*last = s // the newest always counts
			return
		}
	}
	f.samples = append(f.samples, s)
	old := 0
	for old < len(f.samples) && (s.AtMs-f.samples[old].AtMs > f.windowMs || len(f.samples)-old > maxSamples) {
		old++
	}
	f.samples = slices.Delete(f.samples, 0, old)
}

// State gives the forecast as of the newest sample.
func (f *Forecaster) State() State {
	n := len(f.samples)
	if n == 0 {
		return State{FullInMs: -1}
	}
	first, last := &f.samples[0], &f.samples[n-1]
	s := State{
		AtMs: last.AtMs, Count: last.Count, Max: last.Max, FullInMs: -1, WindowMs: last.AtMs - first.AtMs,
		Drops: since(last.Drop, first.Drop), EarlyDrops: since(last.EarlyDrop, first.EarlyDrop), InsertFailed: since(last.InsertFailed, first.InsertFailed),
	}
	if s.Max > 0 && s.Count >= s.Max {
		s.FullInMs = 0
	}
	if n < minSamples || s.WindowMs == 0 {
		return s
	}
	s.Known, s.GrowthPerSecond = true, f.slope()
	if s.GrowthPerSecond > 0 && s.Count < s.Max {
		if ms := float64(s.Max-s.Count) / s.GrowthPerSecond * 1000; ms < yearMs {
			s.FullInMs = int64(ms)
		}
	}
	return s
}

func since(now, before uint64) uint64 {
	if now < before { // set back
		return now
	}
	return now - before
}

// slope is the median over all pairs, in entries a second.
func (f *Forecaster) slope() float64 {
	f.slopes = f.slopes[:0]
	for i := range f.samples {
		for j := i + 1; j < len(f.samples); j++ {
			a, b := &f.samples[i], &f.samples[j]
			if b.AtMs > a.AtMs {
				f.slopes = append(f.slopes, (float64(b.Count)-float64(a.Count))*1000/float64(b.AtMs-a.AtMs))
			}
		}
	}
	if len(f.slopes) == 0 {
		return 0
	}
	slices.Sort(f.slopes)
	n := len(f.slopes)
	return (f.slopes[n/2] + f.slopes[(n-1)/2]) / 2
}

// Owner is an address, named where it can be, and its share of the table.
type Owner struct {
	Name    string `json:"name"`
	Entries uint64 `json:"entries"`
}

// Tally counts entries by address: who opened them, who answers. Beyond maxAddresses
// an address that is not counted yet goes to others.
type Tally struct {
	clients, servers map[[16]byte]uint64
	others           [2]uint64
}

const maxAddresses = 8192

// Others is the name of what a bounded list leaves out.
const Others = "(others)"

// NewTally makes an empty tally.
func NewTally() *Tally {
	return &Tally{clients: map[[16]byte]uint64{}, servers: map[[16]byte]uint64{}}
}

// Reset empties it.
func (t *Tally) Reset() {
	clear(t.clients)
	clear(t.servers)
	t.others = [2]uint64{}
}

// Add counts one entry: orig and reply are its two tuples.
func (t *Tally) Add(orig, reply *flow.Tuple) {
	count(t.clients, orig.Src, &t.others[0])
	count(t.servers, reply.Src, &t.others[1])
}

func count(m map[[16]byte]uint64, a [16]byte, others *uint64) {
	n, ok := m[a]
	if !ok && len(m) >= maxAddresses {
		*others++
		return
	}
	m[a] = n + 1
}

// Top gives the n largest of clients and of servers, and the sum of the rest as
// Others. name turns an address into the owner's name; addresses of one name add up.
func (t *Tally) Top(n int, name func([16]byte) string) (clients, servers []Owner) {
	return top(t.clients, t.others[0], n, name), top(t.servers, t.others[1], n, name)
}

func top(m map[[16]byte]uint64, others uint64, n int, name func([16]byte) string) []Owner {
	byName := map[string]uint64{}
	for a, c := range m {
		byName[name(a)] += c
	}
	list := make([]Owner, 0, len(byName))
	for s, c := range byName {
		list = append(list, Owner{s, c})
	}
	slices.SortFunc(list, func(a, b Owner) int {
		switch {
		case a.Entries != b.Entries:
			return int(int64(b.Entries) - int64(a.Entries))
		case a.Name < b.Name:
			return -1
		}
		return 1
	})
	if len(list) > n {
		for _, o := range list[n:] {
			others += o.Entries
		}
		list = list[:n]
	}
	if others > 0 {
		list = append(list, Owner{Others, others})
	}
	return list
}
