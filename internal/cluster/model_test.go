package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }
func a16(s string) [16]byte  { return flow.Addr16(ip(s)) }
func uid(n int) (u UID)      { u[0], u[1], u[15] = byte(n), byte(n>>8), 1; return u }
func name(i *Identity) string {
	if i == nil {
		return "-"
	}
	return i.Name
}

// life is what really happened to one pod, to the millisecond.
type life struct {
	pod      *Pod
	addr     [16]byte
	from, to int64
	born, ko int64 // when the watch told of it
}

// churn lets n pods come and go over the addresses; the API rounds their start
// down to a second and tells of it late, of their end later still.
func churn(r *rand.Rand, n, addrs int) []life {
	var out []life
	free := make([]int64, addrs)
	for i := range n {
		a := r.IntN(addrs)
		from := free[a] + 200 + r.Int64N(3000)
		to := from + 1500 + r.Int64N(60_000)
		free[a] = to
		addr := netip.AddrFrom4([4]byte{10, 244, 1, byte(10 + a)})
		p := &Pod{
			Namespace: "default", Name: fmt.Sprintf("p%d", i), UID: uid(i), Node: "n1",
			IPs: []netip.Addr{addr}, StartMs: from / 1000 * 1000,
		}
		out = append(out, life{p, flow.Addr16(addr), from, to, from + r.Int64N(900), to + r.Int64N(190)})
	}
	return out
}

type happening struct {
	at int64
	e  Event
}

func happenings(ls []life) []happening {
	var hs []happening
	for _, l := range ls {
		hs = append(hs, happening{l.born, Event{Pod: l.pod}}, happening{l.ko, Event{Pod: l.pod, Delete: true}})
	}
	sortBy(hs)
	return hs
}

func sortBy(hs []happening) {
	for i := 1; i < len(hs); i++ {
		for j := i; j > 0 && hs[j-1].at > hs[j].at; j-- {
			hs[j-1], hs[j] = hs[j], hs[j-1]
		}
	}
}

// TestChurn names flows of 1,000 pods over 50 addresses up to 40 s after the
// flow: no wrong name, and none missing. A map of the present beside it.
func TestChurn(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 7))
		lives := churn(r, 1000, 50)
		m := NewModel(DefaultLimits())
		naive := map[[16]byte]string{}
		type probe struct {
			at, ms int64
			l      *life
		}
		hs := happenings(lives)
		var probes []probe
		for i := range lives {
			l := &lives[i]
			for range 5 {
				ms := l.from + r.Int64N(l.to-l.from)
				probes = append(probes, probe{max(ms, l.born) + 1 + r.Int64N(40_000), ms, l})
			}
		}
		wrong, missing, naiveWrong, naiveMissing := 0, 0, 0, 0
		at := 0
		// Probes in the order of their time, between the events.
		order := make([]happening, 0, len(probes))
		for i := range probes {
			order = append(order, happening{probes[i].at, Event{Delete: true, Namespace: &Namespace{Name: fmt.Sprint(i)}}})
		}
		sortBy(order)
		for _, o := range order {
			for at < len(hs) && hs[at].at <= o.at {
				e := hs[at].e
				m.Apply(hs[at].at, e)
				k := flow.Addr16(e.Pod.IPs[0])
				if !e.Delete {
					naive[k] = e.Pod.Name
				} else if naive[k] == e.Pod.Name {
					delete(naive, k)
				}
				at++
			}
			var i int
			if _, err := fmt.Sscan(o.e.Namespace.Name, &i); err != nil {
				t.Fatal(err)
			}
			p := probes[i]
			switch got := name(m.Index().Lookup(p.l.addr, 6, 80, p.ms)); got {
			case p.l.pod.Name:
			case "-":
				missing++
			default:
				wrong++
			}
			switch got := naive[p.l.addr]; got {
			case p.l.pod.Name:
			case "":
				naiveMissing++
			default:
				naiveWrong++
			}
		}
		t.Logf("seed %d, %d lookups: wrong %d, missing %d; a map of the present: wrong %d (%.1f%%), missing %d (%.1f%%)", seed, len(probes), wrong, missing,
			naiveWrong, 100*float64(naiveWrong)/float64(len(probes)), naiveMissing, 100*float64(naiveMissing)/float64(len(probes)))
		if wrong != 0 || missing != 0 {
			t.Errorf("seed %d: %d wrong and %d missing names of %d, want none", seed, wrong, missing, len(probes))
		}
		if naiveWrong == 0 {
			t.Error("the map of the present made no mistake: the test proves nothing")
		}
	}
}
