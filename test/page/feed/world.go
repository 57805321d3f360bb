package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// pod is one end: of the cluster; without a namespace a node itself; without a node one
// outside, whose name may be empty.
type pod struct {
	ns, workload, name string
	ip                 netip.Addr
	node               int
}

// pair is who calls whom.
type pair struct {
	from, to []pod
	port     uint16
	proto    uint8
	service  string
	weight   int
	// after is what becomes of its connections once the incident has begun.
	after flow.Outcome
}

// world is the cluster.
type world struct {
	o      *options
	agents []*agent
	pairs  []pair
	total  int // of the weights
	rng    *rand.Rand
	start  time.Time
	owed   float64 // connections that are due
	stay   []stayer
	at     int // of stay, whose turn it is
	n      uint32
}

// stayer is a connection that stays open.
type stayer struct {
	p        *pair
	src, dst pod
	port     uint16
	began    int64
	told     uint64 // how often
}

func (w *world) nodeName(i int) string {
	return "node-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
}

func newWorld(o *options) *world {
	w := &world{o: o, agents: make([]*agent, max(o.nodes, 1)), rng: rand.New(rand.NewPCG(1, 2)), start: time.Now()}
	set := func(ns, workload string, n int) (list []pod) {
		_, short, _ := strings.Cut(workload, "/")
		for i := range n {
			w.n++
			list = append(list, pod{ns, workload, fmt.Sprintf("%s-%05x", short, w.n*2654435761>>12), netip.AddrFrom4([4]byte{10, 64 + byte(w.n>>16), byte(w.n >> 8), byte(w.n)}), (int(w.n) + i) % len(w.agents)})
		}
		return list
	}
	front, cart, checkout := set("shop", "Deployment/frontend", 3), set("shop", "Deployment/cart", 2), set("shop", "Deployment/checkout", 2)
	pay, cache, db, dns, prom := set("shop", "Deployment/payments", 2), set("data", "StatefulSet/cache", 1), set("data", "StatefulSet/db", 2), set("data", "Deployment/dns", 2), set("ops", "Deployment/prometheus", 1)
	bank := []pod{{workload: "", name: "bank.example.com", ip: netip.MustParseAddr("203.0.113.7"), node: -1}}
	w.pairs = []pair{
		{front, cart, 8080, 6, "shop/cart:http", 30, flow.OutcomeOK},
		{front, checkout, 8080, 6, "shop/checkout:http", 12, flow.OutcomeOK},
		{checkout, pay, 8443, 6, "shop/payments:https", 8, flow.OutcomeRefused},
		{cart, cache, 6379, 6, "data/cache:redis", 20, flow.OutcomeDenied},
		{cart, db, 5432, 6, "data/db:sql", 10, flow.OutcomeOK},
		{pay, bank, 443, 6, "", 4, flow.OutcomeOK},
		{front, dns, 53, 17, "data/dns:dns", 10, flow.OutcomeOK},
		{cart, dns, 53, 17, "data/dns:dns", 6, flow.OutcomeOK},
		{prom, front, 9100, 6, "", 2, flow.OutcomeOK},
		{prom, pay, 9100, 6, "", 2, flow.OutcomeOK},
	}
	var apps [][]pod
	for i := range o.apps {
		apps = append(apps, set(fmt.Sprintf("team-%02d", i/20), fmt.Sprintf("Deployment/app-%03d", i), 5))
	}
	for i, a := range apps {
		for _, k := range []int{1, 7, 31} {
			if j := (i*k + k) % len(apps); j != i {
				w.pairs = append(w.pairs, pair{a, apps[j], 8080, 6, fmt.Sprintf("%s/app-%03d:http", apps[j][0].ns, j), 3, flow.OutcomeOK})
			}
		}
	}
	if o.hostile {
		w.pairs = append(w.pairs, hostile(set)...)
	}
	if o.outside {
		w.pairs = append(w.pairs, outside(front, cart, pay)...)
	}
	for _, p := range w.pairs {
		w.total += p.weight
	}
	return w
}

// outside are ends without a name: a legacy database in a private network, servers and
// clients on the internet, and a node whose kubelet probes pods.
func outside(front, cart, pay []pod) []pair {
	at := func(node int, addrs ...string) (list []pod) {
		for _, a := range addrs {
			list = append(list, pod{ip: netip.MustParseAddr(a), node: node})
		}
		return list
	}
	return []pair{
		{cart, at(-1, "10.200.3.4", "10.200.3.5"), 3306, 6, "", 6, flow.OutcomeUnanswered},
		{pay, at(-1, "198.51.100.7"), 443, 6, "", 4, flow.OutcomeOK},
		{at(-1, "192.0.2.11", "192.0.2.12", "2001:db8::7"), front, 8443, 6, "", 8, flow.OutcomeOK},
		{at(0, "172.18.0.2"), front, 8080, 6, "", 4, flow.OutcomeOK},
	}
}

// hostile are names that would act on a page that trusted them.
func hostile(set func(ns, workload string, n int) []pod) (out []pair) {
	target := set("shop", "Deployment/target", 1)
	for _, name := range []string{
		`<img src=x onerror="document.title='owned'">`, "evil\u202egnp.exe", "tab\tand\nline", `"quotes" and 'ticks'`, strings.Repeat("long-", 50) + "end", "zero\u200bwidth",
		"\u05e9\u05dc\u05d5\u05dd-\u05e2\u05d5\u05dc\u05dd", "\u2066isolate\u2069d", "bell\a\x1b[31mred\u0085next",
		"pile" + strings.Repeat("\u0335\u0321\u031b\u0353", 30), strings.Repeat("w", 253), "javascript:alert(1)//${7*7}{{7*7}}", "</script><script>document.title='owned'</script>",
	} {
		out = append(out, pair{set("shop", "Deployment/"+name, 1), target, 8080, 6, "", 4, flow.OutcomeRefused})
	}
	return out
}

// begin tells the history and what stays open.
func (w *world) begin(now time.Time) {
	if w.o.history > 0 {
		n := int(w.o.history.Seconds() * w.o.rate)
		for i := range n {
			w.short(now.Add(-w.o.history + time.Duration(float64(i)/w.o.rate*float64(time.Second))))
		}
	}
	for range w.o.live {
		p := w.pick()
		s := stayer{p: p, src: w.any(p.from), dst: w.any(p.to), port: w.ephemeral(), began: now.Add(-time.Minute).UnixMilli()}
		w.stay = append(w.stay, s)
		w.tellStay(len(w.stay)-1, now)
	}
}

// step does what is due.
func (w *world) step(now time.Time) {
	for w.owed += w.o.rate / 10; w.owed >= 1; w.owed-- {
		w.short(now)
	}
	// Each connection that stays tells once a minute.
	for range len(w.stay) / 600 {
		w.tellStay(w.at, now)
		w.at = (w.at + 1) % len(w.stay)
	}
}

func (w *world) pick() *pair {
	n := w.rng.IntN(w.total)
	for i := range w.pairs {
		if n -= w.pairs[i].weight; n < 0 {
			return &w.pairs[i]
		}
	}
	return &w.pairs[0]
}

func (w *world) any(list []pod) pod { return list[w.rng.IntN(len(list))] }

func (w *world) ephemeral() uint16 { return uint16(32768 + w.rng.IntN(28000)) }

func (w *world) broken(at time.Time) bool {
	return w.o.incident >= 0 && at.Sub(w.start) >= w.o.incident
}
