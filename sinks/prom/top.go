package prom

import (
	"cmp"
	"slices"
	"strings"
)

// top keeps the largest series of one metric. Sums are exact; who is a member is a
// matter of recent traffic.
type top struct {
	max            int
	members        map[string]*series
	candidates     map[string]uint64 // recent traffic of those that are no members
	other, retired uint64
}

type series struct{ total, recent uint64 }

func newTop(n int) top {
	return top{max: n, members: map[string]*series{}, candidates: map[string]uint64{}}
}

// reserved says whether a key would look like one of the two series that are no members.
func reserved(key []byte) bool {
	for _, name := range []string{otherSeries, retiredSeries} {
		if same := strings.Split(string(key), "\xff"); !slices.ContainsFunc(same, func(p string) bool { return p != name }) {
			return true
		}
	}
	return false
}

func (t *top) add(key []byte, v uint64) {
	if m := t.members[string(key)]; m != nil {
		m.total += v
		m.recent += v
		return
	}
	if len(t.members) < t.max && !reserved(key) {
		t.members[string(key)] = &series{v, v}
		return
	}
	t.other += v
	if n, ok := t.candidates[string(key)]; ok {
		t.candidates[string(key)] = n + v
		return
	}
	if len(t.candidates) >= 4*t.max+16 {
		t.fade()
	}
	if !reserved(key) {
		t.candidates[string(key)] = v
	}
}

// fade halves what is known of the candidates and forgets the least half of them, so
// that there is room: a busy one stays whatever passes by.
func (t *top) fade() {
	sizes := make([]uint64, 0, len(t.candidates))
	for _, n := range t.candidates {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	mid := sizes[len(sizes)/2]
	for k, n := range t.candidates {
		if n <= mid {
			delete(t.candidates, k)
		} else {
			t.candidates[k] = n / 2
		}
	}
}

// rebalance lets candidates that are twice as busy as the least busy members take
// their places, at most a tenth of them at a time.
func (t *top) rebalance() {
	type entry struct {
		key string
		n   uint64
	}
	var in, out []entry
	for k, n := range t.candidates {
		in = append(in, entry{k, n})
	}
	for k, m := range t.members {
		out = append(out, entry{k, m.recent})
	}
	slices.SortFunc(in, func(a, b entry) int { return cmp.Or(-cmp.Compare(a.n, b.n), cmp.Compare(a.key, b.key)) })
	slices.SortFunc(out, func(a, b entry) int { return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(a.key, b.key)) })
	for i := range min(len(in), len(out), t.max/10+1) {
		if len(out) < t.max || in[i].n <= 2*out[i].n {
			break
		}
		t.retired += t.members[out[i].key].total
		delete(t.members, out[i].key)
		t.members[in[i].key] = &series{0, in[i].n}
		delete(t.candidates, in[i].key)
	}
	for _, m := range t.members {
		m.recent /= 2
	}
	for k, n := range t.candidates {
		if n /= 2; n == 0 {
			delete(t.candidates, k)
		} else {
			t.candidates[k] = n
		}
	}
}

func (t *top) sum() uint64 {
	n := t.other + t.retired
	for _, m := range t.members {
		n += m.total
	}
	return n
}
