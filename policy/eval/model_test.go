package eval_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

func word(v flow.PolicyEval) string { return flow.PolicyEvalWords[v] }

// This is a second answer to the same question, from the other end: instead of
// asking a rule about a packet, each pod gets the list of all packets that it may
// send and receive in a small world, and a packet is allowed if it is on both lists.

// packetID names a packet of the small world.
type packetID struct {
	src, dst string
	proto    uint8
	port     uint16
}

// world is a random cluster with few names, so that everything meets.
type world struct {
	ends     []eval.Side
	policies map[string][]*cluster.NetworkPolicy
}

var (
	worldPorts  = []uint16{79, 80, 81, 443}
	worldProtos = []uint8{cluster.ProtoTCP, cluster.ProtoUDP, cluster.ProtoSCTP, 1}
)

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func randomLabels(r *rand.Rand) map[string]string {
	m := map[string]string{}
	for _, k := range []string{"app", "tier"} {
		if r.IntN(3) > 0 {
			m[k] = pick(r, "a", "b", "c")
		}
	}
	return m
}

func randomSelector(r *rand.Rand) cluster.Selector {
	var s cluster.Selector
	for range r.IntN(3) {
		q := cluster.Requirement{Key: pick(r, "app", "tier"), Op: pick(r, cluster.In, cluster.NotIn, cluster.Exists, cluster.DoesNotExist)}
		if q.Op == cluster.In || q.Op == cluster.NotIn {
			q.Values = []string{pick(r, "a", "b", "c")}
			if r.IntN(3) == 0 {
				q.Values = append(q.Values, pick(r, "a", "b", "c"))
			}
		}
		s = append(s, q)
	}
	return s
}

func randomRule(r *rand.Rand) cluster.PolicyRule {
	var rule cluster.PolicyRule
	for range r.IntN(3) {
		var p cluster.PolicyPeer
		switch r.IntN(4) {
		case 0:
			p.Block = netip.MustParsePrefix(pick(r, "0.0.0.0/0", "10.0.0.0/24", "10.0.1.0/24", "203.0.113.0/24", "10.0.0.1/32", "::/0", "fd00::/64", "fd00:0:0:1::/64", "fd00::2/128"))
			switch {
			case p.Block.Bits() >= 24:
			case p.Block.Addr().Is4():
				p.Except = []netip.Prefix{netip.MustParsePrefix(pick(r, "10.0.0.0/24", "203.0.113.9/32"))}
			case r.IntN(2) == 0:
				p.Except = []netip.Prefix{netip.MustParsePrefix(pick(r, "fd00::/64", "2001:db8::9/128"))}
			}
		case 1:
			s := randomSelector(r)
			p.Pods = &s
		case 2:
			s := randomSelector(r)
			p.Namespaces = &s
		case 3:
			a, b := randomSelector(r), randomSelector(r)
			p.Pods, p.Namespaces = &a, &b
		}
		rule.Peers = append(rule.Peers, p)
	}
	for range r.IntN(3) {
		p := cluster.PolicyPort{Proto: pick(r, worldProtos[:3]...)}
		switch r.IntN(4) {
		case 0:
			p.From = pick(r, worldPorts...)
			p.To = p.From
		case 1:
			p.From, p.To = 80, 100
		case 2:
			p.Name = pick(r, "web", "adm")
		}
		rule.Ports = append(rule.Ports, p)
	}
	return rule
}

func randomWorld(r *rand.Rand) *world {
	w := &world{policies: map[string][]*cluster.NetworkPolicy{}}
	nsLabels := map[string]map[string]string{"x": randomLabels(r), "y": randomLabels(r)}
	for i := range 5 {
		ns := pick(r, "x", "y")
		s := eval.Side{
			Addr: netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(i + 1)}), Selectable: r.IntN(6) > 0, Namespace: ns, Name: fmt.Sprintf("p%d", i),
			Node: pick(r, "n1", "n2"), Labels: randomLabels(r), NamespaceLabels: nsLabels[ns],
			Ports: []cluster.Port{{Name: "web", Proto: cluster.ProtoTCP, Number: pick(r, worldPorts...)}, {Name: "adm", Proto: cluster.ProtoUDP, Number: 443}},
		}
		s.IsNode = !s.Selectable
		w.ends = append(w.ends, s)
		if r.IntN(3) == 0 { // of two families
			s.Addr = netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::%d", r.IntN(2), i+1))
			w.ends = append(w.ends, s)
		}
	}
	w.ends = append(w.ends,
		eval.Side{Addr: netip.MustParseAddr("192.0.2.1"), Node: "n1", IsNode: true},
		eval.Side{Addr: netip.MustParseAddr("203.0.113.9")}, eval.Side{Addr: netip.MustParseAddr("2001:db8::9")})
	for i := range r.IntN(6) {
		np := randomPolicy(r, fmt.Sprintf("np%d", i))
		w.policies[np.Namespace] = append(w.policies[np.Namespace], np)
	}
	return w
}

func randomPolicy(r *rand.Rand, name string) *cluster.NetworkPolicy {
	np := &cluster.NetworkPolicy{Namespace: pick(r, "x", "y"), Name: name, Pods: randomSelector(r), Ingress: r.IntN(3) > 0, Egress: r.IntN(3) > 0}
	for range r.IntN(3) {
		np.IngressRules = append(np.IngressRules, randomRule(r))
	}
	for range r.IntN(3) {
		np.EgressRules = append(np.EgressRules, randomRule(r))
	}
	return np
}

func endID(s *eval.Side) string { return s.Namespace + "/" + s.Name + "@" + s.Addr.String() }

// wants says whether labels satisfy a selector, by counting what fails.
func wants(s cluster.Selector, l map[string]string) bool {
	failed := 0
	for _, q := range s {
		v, there := l[q.Key]
		listed := there && slices.Index(q.Values, v) >= 0
		if q.Op == cluster.In && !listed || q.Op == cluster.NotIn && listed || q.Op == cluster.Exists && !there || q.Op == cluster.DoesNotExist && there {
			failed++
		}
	}
	return failed == 0
}

// lists gives what each end may send (out) or receive (in); no list is no limit.
func (w *world) lists(out bool) map[string]map[packetID]bool {
	lists := map[string]map[packetID]bool{}
	for _, policies := range w.policies {
		for _, np := range policies {
			rules := np.IngressRules
			if out {
				rules = np.EgressRules
			}
			if out && !np.Egress || !out && !np.Ingress {
				continue
			}
			for i := range w.ends {
				self := &w.ends[i]
				if !self.Selectable || self.Namespace != np.Namespace || !wants(np.Pods, self.Labels) {
					continue
				}
				if lists[endID(self)] == nil {
					lists[endID(self)] = map[packetID]bool{}
				}
				for k := range rules {
					w.write(lists[endID(self)], np, &rules[k], self, out)
				}
			}
		}
	}
	return lists
}

// write adds every packet of a rule to a list.
func (w *world) write(list map[packetID]bool, np *cluster.NetworkPolicy, rule *cluster.PolicyRule, self *eval.Side, out bool) {
	for i := range w.ends {
		peer := &w.ends[i]
		in := len(rule.Peers) == 0
		for _, p := range rule.Peers {
			if p.Block.IsValid() {
				hole := slices.ContainsFunc(p.Except, func(e netip.Prefix) bool { return e.Contains(peer.Addr) })
				in = in || p.Block.Contains(peer.Addr) && !hole
				continue
			}
			inNS := peer.Namespace == np.Namespace
			if p.Namespaces != nil {
				inNS = wants(*p.Namespaces, peer.NamespaceLabels)
			}
			in = in || peer.Selectable && inNS && (p.Pods == nil || wants(*p.Pods, peer.Labels))
		}
		if !in {
			continue
		}
		src, dst := peer, self
		if out {
			src, dst = self, peer
		}
		for _, proto := range worldProtos {
			for _, port := range worldPorts {
				ok := len(rule.Ports) == 0
				for _, p := range rule.Ports {
					from, to := p.From, p.To
					if p.Name != "" {
						from, to = 1, 0
						for _, c := range dst.Ports {
							if c.Name == p.Name && c.Proto == p.Proto {
								from, to = c.Number, c.Number
							}
						}
					} else if to == 0 {
						to = 65535
					}
					ok = ok || p.Proto == proto && from <= port && port <= to
				}
				if ok {
					list[packetID{endID(src), endID(dst), proto, port}] = true
				}
			}
		}
	}
}

// TestAgainstLists compares both answers on random clusters.
func TestAgainstLists(t *testing.T) {
	seen := map[flow.PolicyEval]int{}
	for seed := range uint64(2000) {
		w := randomWorld(rand.New(rand.NewPCG(seed, 7)))
		w.compare(t, fmt.Sprintf("seed %d", seed), func(ns string) []*cluster.NetworkPolicy { return w.policies[ns] }, seen)
	}
	for v := flow.PolicyEvalUnprotected; v <= flow.PolicyEvalUndefined; v++ {
		if seen[v] < 1000 {
			t.Errorf("%s came only %d times: the clusters are too tame", word(v), seen[v])
		}
	}
}

func (w *world) verdict(sends, receives map[packetID]bool, src, dst *eval.Side, id packetID) flow.PolicyEval {
	if sends == nil && receives == nil {
		return flow.PolicyEvalUnprotected
	}
	side := func(list map[packetID]bool, self, peer *eval.Side) flow.PolicyEval {
		itself := peer.Selectable && endID(self) == endID(peer)
		switch {
		case list == nil:
			return flow.PolicyEvalUnprotected
		case itself, peer.IsNode && peer.Node == self.Node, list[id]:
			return flow.PolicyEvalAllowed
		case id.proto == 1:
			return flow.PolicyEvalUndefined
		}
		return flow.PolicyEvalDenied
	}
	a, b := side(sends, src, dst), side(receives, dst, src)
	order := []flow.PolicyEval{flow.PolicyEvalUnprotected, flow.PolicyEvalAllowed, flow.PolicyEvalUndefined, flow.PolicyEvalDenied}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// compare has both answer for every packet of the world; inForce gives the policies to the
// one, the lists have those of w.
func (w *world) compare(t *testing.T, what string, inForce func(ns string) []*cluster.NetworkPolicy, seen map[flow.PolicyEval]int) {
	t.Helper()
	sends, receives := w.lists(true), w.lists(false)
	for i := range w.ends {
		for j := range w.ends {
			src, dst := &w.ends[i], &w.ends[j]
			if src.Addr.Is4() != dst.Addr.Is4() {
				continue // no packet has two families
			}
			for _, proto := range worldProtos {
				for _, port := range worldPorts {
					want := w.verdict(sends[endID(src)], receives[endID(dst)], src, dst, packetID{endID(src), endID(dst), proto, port})
					p := &eval.Packet{Src: *src, Dst: *dst, Proto: proto, Port: port}
					got := eval.Evaluate(inForce(src.Namespace), inForce(dst.Namespace), p)
					seen[want]++
					if got.Verdict != want {
						t.Fatalf("%s: %+v -> %+v %d/%d: %s, by lists %s\n%s", what, src, dst, port, proto, word(got.Verdict), word(want), got.String())
					}
					if err := agree(&got, eval.Trace(inForce(src.Namespace), inForce(dst.Namespace), p)); err != nil {
						t.Fatalf("%s: %+v -> %+v %d/%d: %v", what, src, dst, port, proto, err)
					}
				}
			}
		}
	}
}

// TestAgainstListsOverTime: policies come, change and go; a packet of any moment, asked
// about afterwards, is judged by those in force then.
func TestAgainstListsOverTime(t *testing.T) {
	seen := map[flow.PolicyEval]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		w := randomWorld(r)
		m := cluster.NewModel(cluster.DefaultLimits())
		inForce := map[string]*cluster.NetworkPolicy{}
		history := make([]map[string][]*cluster.NetworkPolicy, 12)
		for step := range history {
			now := int64(1000 * (step + 1))
			np := randomPolicy(r, pick(r, "np0", "np1", "np2", "np3"))
			key := np.Namespace + "/" + np.Name
			old := inForce[key]
			np.UID, np.StartMs = cluster.UID{byte(seed), byte(step)}, now
			if old != nil { // changed, or gone
				np.UID, np.StartMs = old.UID, old.StartMs
			}
			gone := old != nil && r.IntN(3) == 0
			if inForce[key] = np; gone {
				delete(inForce, key)
			}
			m.Apply(now, cluster.Event{Delete: gone, NetworkPolicy: np})
			history[step] = map[string][]*cluster.NetworkPolicy{}
			for _, p := range inForce {
				history[step][p.Namespace] = append(history[step][p.Namespace], p)
			}
		}
		for step := range history {
			w.policies = history[step]
			for _, ms := range []int64{int64(1000 * (step + 1)), int64(1000*(step+1) + 999)} {
				w.compare(t, fmt.Sprintf("seed %d at %d", seed, ms), func(ns string) []*cluster.NetworkPolicy {
					if s := m.Index().Policies(ns, ms); s != nil {
						return s.Policies
					}
					return nil
				}, seen)
			}
		}
	}
	if seen[flow.PolicyEvalDenied] < 1000 || seen[flow.PolicyEvalAllowed] < 1000 {
		t.Errorf("the clusters are too tame: %v", seen)
	}
}
