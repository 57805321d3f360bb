// Package selector picks flow records the way `weirctl observe` and the filters of
// sinks say it: terms of a key and a value. Values of one key are alternatives,
// different keys must all hold, and a record that fits a negated term is out.
//
// In: terms as text. Out: a Set whose Match is called for each record; it allocates
// nothing for addresses, ports and names. It is no query language: no grouping, no
// comparison. It holds no state.
package selector

import (
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

type match func(*flow.Record) bool

// Key is one thing that a term can ask for.
type Key struct {
	Name string
	Doc  string
	make func(value string) (match, error)
}

// Keys are all keys; From and To forms stand for the client's and the server's end.
var Keys = makeKeys()

func makeKeys() []Key {
	ends := []struct {
		name, doc string
		make      func(value string, e end) (match, error)
	}{
		{"pod", "pod as [NAMESPACE/]PREFIX of its name, or NAMESPACE/ for all of it", podMatch},
		{"namespace", "namespace", nsMatch},
		{"workload", "owner of the pod as [Kind/]name", workloadMatch},
		{"ip", "address or CIDR", ipMatch},
		{"port", "port", portMatch},
		{"node", "node", nodeMatch},
		{"zone", "topology zone", zoneMatch},
		{"name", "name of an external end, or *.suffix", nameMatch},
		{"label", "label of the pod as key or key=value (needs labels from the agents)", labelMatch},
	}
	var keys []Key
	for _, e := range ends {
		mk := e.make
		keys = append(
			keys,
			Key{"from-" + e.name, "client's " + e.doc, func(v string) (match, error) { return mk(v, src) }},
			Key{"to-" + e.name, "server's " + e.doc, func(v string) (match, error) { return mk(v, dst) }},
			Key{e.name, "either end's " + e.doc, func(v string) (match, error) {
				a, err := mk(v, src)
				if err != nil {
					return nil, err
				}
				b, err := mk(v, dst)
				return func(r *flow.Record) bool { return a(r) || b(r) }, err
			}},
		)
	}
	return append(
		keys,
		Key{"service", "Service that was dialled, as [NAMESPACE/]NAME[:PORT-NAME]", serviceMatch},
		Key{"protocol", "tcp, udp, icmp, icmpv6, sctp or a number", protoMatch},
		Key{"node-name", "node of the observer or of either end", func(v string) (match, error) {
			return func(r *flow.Record) bool { return r.Observer == v || r.SrcNode == v || r.DstNode == v }, nonEmpty(v)
		}},
		enumKey("outcome", "outcome: ", flow.OutcomeWords, func(r *flow.Record) uint8 { return uint8(r.Outcome) }),
		enumKey("scope", "scope: ", flow.ScopeWords, func(r *flow.Record) uint8 { return uint8(r.Scope) }),
		enumKey("seen-by", "which ends observed it: ", flow.SeenByWords, func(r *flow.Record) uint8 { return uint8(r.SeenBy) }),
	)
}

// KeyByName finds a key.
func KeyByName(name string) (Key, bool) {
	for _, k := range Keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// Term is a key, a value and whether the term is negated.
type Term struct {
	Key, Value string
	Not        bool
}

// String is the form that ParseTerm reads: [!]key=value.
func (t Term) String() string {
	if t.Not {
		return "!" + t.Key + "=" + t.Value
	}
	return t.Key + "=" + t.Value
}

// ParseTerm reads [!]key=value.
func ParseTerm(s string) (Term, error) {
	rest, not := strings.CutPrefix(s, "!")
	k, v, ok := strings.Cut(rest, "=")
	if !ok {
		return Term{}, fmt.Errorf("%q is no term: write key=value", s)
	}
	return Term{k, v, not}, nil
}

// Set is a compiled list of terms. The zero value fits every record.
type Set struct {
	all   [][]match // each group must have one that fits
	none  []match
	terms []Term
}

// New compiles terms.
func New(terms []Term) (*Set, error) {
	s := &Set{terms: terms}
	group := map[string]int{}
	for _, t := range terms {
		k, ok := KeyByName(t.Key)
		if !ok {
			return nil, fmt.Errorf("unknown selector %q: the selectors are %s", t.Key, strings.Join(names(), ", "))
		}
		m, err := k.make(t.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Key, err)
		}
		if t.Not {
			s.none = append(s.none, m)
			continue
		}
		i, ok := group[t.Key]
		if !ok {
			i = len(s.all)
			group[t.Key] = i
			s.all = append(s.all, nil)
		}
		s.all[i] = append(s.all[i], m)
	}
	return s, nil
}

func names() []string {
	var n []string
	for _, k := range Keys {
		n = append(n, k.Name)
	}
	sort.Strings(n)
	return n
}

// Terms gives what the set was made of.
func (s *Set) Terms() []Term { return s.terms }

// Match reports whether r fits.
func (s *Set) Match(r *flow.Record) bool {
	if s == nil {
		return true
	}
	for _, m := range s.none {
		if m(r) {
			return false
		}
	}
	for _, alternatives := range s.all {
		ok := false
		for _, m := range alternatives {
			if m(r) {
				ok = true
				break
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// end reads one end of a record.
type end struct {
	pod, ns, workload, node, zone, name, labels func(*flow.Record) string
	ip                                          func(*flow.Record) netip.Addr
	port                                        func(*flow.Record, uint16) bool
	extra                                       func(*flow.Record, func(netip.Addr) bool) bool // translated addresses
}

var src = end{
	pod:      func(r *flow.Record) string { return r.SrcPod },
	ns:       func(r *flow.Record) string { return r.SrcNS },
	workload: func(r *flow.Record) string { return r.SrcWorkload },
	node:     func(r *flow.Record) string { return r.SrcNode },
	zone:     func(r *flow.Record) string { return r.SrcZone },
	name:     func(r *flow.Record) string { return r.SrcName },
	labels:   func(r *flow.Record) string { return r.SrcLabels },
	ip:       func(r *flow.Record) netip.Addr { return r.SrcIP },
	port:     func(r *flow.Record, p uint16) bool { return r.Has.Has(flow.FSrcPort) && r.SrcPort == p },
	extra: func(r *flow.Record, in func(netip.Addr) bool) bool {
		return r.Has.Has(flow.FProxySNATIP) && in(r.ProxySNATIP)
	},
}

var dst = end{
	pod:      func(r *flow.Record) string { return r.DstPod },
	ns:       func(r *flow.Record) string { return r.DstNS },
	workload: func(r *flow.Record) string { return r.DstWorkload },
	node:     func(r *flow.Record) string { return r.DstNode },
	zone:     func(r *flow.Record) string { return r.DstZone },
	name:     func(r *flow.Record) string { return r.DstName },
	labels:   func(r *flow.Record) string { return r.DstLabels },
	ip:       func(r *flow.Record) netip.Addr { return r.DstIP },
	port: func(r *flow.Record, p uint16) bool {
		return r.Has.Has(flow.FDstPort) && r.DstPort == p || r.Has.Has(flow.FSvcPort) && r.SvcPort == p
	},
	extra: func(r *flow.Record, in func(netip.Addr) bool) bool {
		return r.Has.Has(flow.FSvcIP) && in(r.SvcIP) || r.Has.Has(flow.FClusterIP) && in(r.ClusterIP)
	},
}

func nonEmpty(v string) error {
	if v == "" {
		return fmt.Errorf("the value is empty: give one")
	}
	return nil
}

func podMatch(v string, e end) (match, error) {
	if err := nonEmpty(v); err != nil {
		return nil, err
	}
	ns, name, ok := strings.Cut(v, "/")
	if !ok {
		ns, name = "", v
	}
	return func(r *flow.Record) bool {
		p := e.pod(r)
		return p != "" && strings.HasPrefix(p, name) && (ns == "" || e.ns(r) == ns)
	}, nil
}

func nsMatch(v string, e end) (match, error) {
	return func(r *flow.Record) bool { return e.ns(r) == v }, nonEmpty(v)
}

func workloadMatch(v string, e end) (match, error) {
	if strings.Contains(v, "/") {
		return func(r *flow.Record) bool { return strings.EqualFold(e.workload(r), v) }, nil
	}
	return func(r *flow.Record) bool {
		_, name, ok := strings.Cut(e.workload(r), "/")
		return ok && name == v
	}, nonEmpty(v)
}

func nodeMatch(v string, e end) (match, error) {
	return func(r *flow.Record) bool { return e.node(r) == v }, nonEmpty(v)
}

func zoneMatch(v string, e end) (match, error) {
	return func(r *flow.Record) bool { return e.zone(r) == v }, nonEmpty(v)
}

func nameMatch(v string, e end) (match, error) {
	if suffix, ok := strings.CutPrefix(v, "*"); ok {
		return func(r *flow.Record) bool { n := e.name(r); return n != "" && strings.HasSuffix(n, suffix) }, nil
	}
	return func(r *flow.Record) bool { return e.name(r) == v }, nonEmpty(v)
}

func ipMatch(v string, e end) (match, error) {
	p, err := netip.ParsePrefix(v)
	if err != nil {
		a, err := netip.ParseAddr(v)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a CIDR: write it like 10.0.0.7 or 10.0.0.0/16", v)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	p = p.Masked()
	in := func(a netip.Addr) bool { return p.Contains(a.Unmap()) }
	return func(r *flow.Record) bool { return in(e.ip(r)) || e.extra(r, in) }, nil
}

func portMatch(v string, e end) (match, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no port: write a number from 0 to 65535", v)
	}
	return func(r *flow.Record) bool { return e.port(r, uint16(n)) }, nil
}

func serviceMatch(v string) (match, error) {
	ns, rest, ok := strings.Cut(v, "/")
	if !ok {
		ns, rest = "", v
	}
	name, port, hasPort := strings.Cut(rest, ":")
	return func(r *flow.Record) bool {
		gotNS, gotRest, ok := strings.Cut(r.SvcPortName, "/")
		if !ok {
			return false
		}
		gotName, gotPort, _ := strings.Cut(gotRest, ":")
		return gotName == name && (ns == "" || gotNS == ns) && (!hasPort || gotPort == port)
	}, nonEmpty(v)
}

func protoMatch(v string) (match, error) {
	for _, p := range flow.Protocols {
		if strings.EqualFold(p.Word, v) {
			return func(r *flow.Record) bool { return r.Proto == p.Number }, nil
		}
	}
	n, err := strconv.ParseUint(v, 10, 8)
	if err != nil {
		return nil, fmt.Errorf("%q is no protocol: use tcp, udp, icmp, icmpv6, sctp or a number up to 255", v)
	}
	return func(r *flow.Record) bool { return r.Proto == uint8(n) }, nil
}

func enumKey(name, doc string, words []string, get func(*flow.Record) uint8) Key {
	return Key{name, doc + strings.Join(words, ", "), func(v string) (match, error) {
		for i, w := range words {
			if strings.EqualFold(w, strings.ReplaceAll(v, "-", "_")) {
				return func(r *flow.Record) bool { return get(r) == uint8(i) }, nil
			}
		}
		return nil, fmt.Errorf("%q is unknown: use one of %s", v, strings.Join(words, ", "))
	}}
}

// labelMatch finds "key":"value" in the JSON of the labels: keys and values of
// labels have no character that JSON escapes.
func labelMatch(v string, e end) (match, error) {
	k, val, ok := strings.Cut(v, "=")
	if k == "" || strings.ContainsAny(v, `"\`) {
		return nil, fmt.Errorf("%q is no label: write key or key=value", v)
	}
	want := `"` + k + `":`
	if ok {
		want += `"` + val + `"`
	}
	return func(r *flow.Record) bool { return strings.Contains(e.labels(r), want) }, nil
}
