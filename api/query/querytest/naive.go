package querytest

import (
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Holds says whether a condition holds for a row. It works on the text forms of fields
// and shares nothing with the compiler.
func Holds(e query.Expr, r *flow.Record) bool {
	switch e := e.(type) {
	case nil:
		return true
	case *query.And:
		return !slices.ContainsFunc(e.List, func(x query.Expr) bool { return !Holds(x, r) })
	case *query.Or:
		return slices.ContainsFunc(e.List, func(x query.Expr) bool { return Holds(x, r) })
	case *query.Not:
		return !Holds(e.Expr, r)
	case *query.Has:
		return len(values(e.Field, r)) > 0
	case *query.Word:
		for _, name := range []string{"workload", "pod", "service", "ns", "src.name", "dst.name"} {
			if Holds(&query.Cmp{Field: field(name), Op: query.Eq, Values: []query.Value{e.Value}}, r) {
				return true
			}
		}
		return false
	case *query.Cmp:
		vs := values(e.Field, r)
		hit := slices.ContainsFunc(vs, func(v value) bool {
			return slices.ContainsFunc(e.Values, func(w query.Value) bool { return fits(v, e.Op, w) })
		})
		if e.Op == query.Ne || e.Op == query.NoMatch || e.Op == query.NotIn {
			return len(vs) > 0 && !hit
		}
		return hit
	}
	panic("querytest: no condition")
}

// value is one value of a field: of a bare field there may be two.
type value struct {
	name, text, space string // space: the namespace of a pod or a policy
	spaced            bool
}

// values gives the values that a field has.
func values(f query.Field, r *flow.Record) (out []value) {
	if f.Name == "verdict" {
		in, eg := r.Text(flow.FIngressAction), r.Text(flow.FEgressAction)
		switch {
		case r.Text(flow.FOutcome) == "denied", in == "drop", in == "reject", eg == "drop", eg == "reject":
			return []value{{name: "verdict", text: "denied"}}
		case in == "allow", eg == "allow":
			return []value{{name: "verdict", text: "allowed"}}
		}
		return nil
	}
	for _, id := range f.IDs {
		s, ok := query.Text(r, query.Field{IDs: []flow.FieldID{id}, Label: f.Label})
		if !ok {
			continue
		}
		v := value{name: flow.Fields[id].Name, text: s}
		if f.Label != "" {
			v.name = "label"
		}
		switch v.name {
		case "src.pod":
			v.space, v.spaced = r.Text(flow.FSrcNS), true
		case "dst.pod":
			v.space, v.spaced = r.Text(flow.FDstNS), true
		case "ingress.policy":
			v.space, v.spaced = r.Text(flow.FIngressPolicyNS), true
		case "egress.policy":
			v.space, v.spaced = r.Text(flow.FEgressPolicyNS), true
		}
		out = append(out, v)
	}
	return out
}

func fits(v value, op query.Op, w query.Value) bool {
	switch v.name {
	case "bytes", "reverse.bytes", "packets", "rtt", "loss.packets", "dst.port", "src.port", "service.port", "proto", "start", "end":
		have, ok := new(big.Rat).SetString(v.text)
		if t, err := time.Parse(time.RFC3339Nano, v.text); err == nil {
			have, ok = big.NewRat(t.UnixMilli(), 1), true
		}
		if !ok {
			panic("querytest: no number: " + v.text)
		}
		c := have.Cmp(amount(v.name, w.Text))
		switch op {
		case query.Lt:
			return c < 0
		case query.Le:
			return c <= 0
		case query.Gt:
			return c > 0
		case query.Ge:
			return c >= 0
		default:
			return c == 0
		}
	case "src.ip", "dst.ip":
		a := netip.MustParseAddr(v.text)
		if p, err := netip.ParsePrefix(w.Text); err == nil {
			return p.Contains(a)
		}
		return a == netip.MustParseAddr(w.Text)
	case "evidence":
		return slices.Contains(strings.Split(v.text, "|"), w.Text)
	case "src.workload", "dst.workload":
		kind, name, _ := strings.Cut(v.text, "/")
		return owner(kind, name, op, w)
	case "service":
		return service(v.text, op, w)
	}
	if op == query.Match || op == query.NoMatch {
		return whole(w.Text, v.text)
	}
	want := w.Text
	if flow.EnumWords[must(v.name)] != nil || v.name == "verdict" {
		want = strings.ReplaceAll(strings.ToLower(want), "-", "_")
	}
	if ns, name, ok := strings.Cut(want, "/"); ok && v.spaced {
		return v.space != "" && same(ns, w.Glob, v.space) && same(name, w.Glob, v.text)
	}
	return same(want, w.Glob, v.text)
}

func must(name string) flow.FieldID {
	id, ok := flow.FieldByName(name)
	if !ok {
		return flow.FSrcPod // a label, or verdict
	}
	return id
}

func owner(kind, name string, op query.Op, w query.Value) bool {
	if op == query.Match || op == query.NoMatch {
		return whole(w.Text, name) || whole(w.Text, kind+"/"+name)
	}
	k, n, ok := strings.Cut(w.Text, "/")
	if !ok {
		return same(w.Text, w.Glob, name)
	}
	return same(strings.ToLower(k), w.Glob, strings.ToLower(kind)) && same(n, w.Glob, name)
}

func service(have string, op query.Op, w query.Value) bool {
	ns, rest, _ := strings.Cut(have, "/")
	name, _, _ := strings.Cut(rest, ":")
	if op == query.Match || op == query.NoMatch {
		return whole(w.Text, have) || whole(w.Text, rest) || whole(w.Text, name)
	}
	switch slash, colon := strings.Contains(w.Text, "/"), strings.Contains(w.Text, ":"); {
	case slash && colon:
		return same(w.Text, w.Glob, have)
	case slash:
		return same(w.Text, w.Glob, ns+"/"+name)
	case colon:
		return same(w.Text, w.Glob, rest)
	default:
		return same(w.Text, w.Glob, name)
	}
}

func whole(re, s string) bool { return regexp.MustCompile(`\A(?:` + re + `)\z`).MatchString(s) }

func same(pattern string, glob bool, s string) bool {
	if !glob {
		return pattern == s
	}
	return whole("(?s)"+strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*"), s)
}

// amount reads a number in the field's own unit.
func amount(name, text string) *big.Rat {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return big.NewRat(t.UnixMilli(), 1)
	}
	switch strings.ToLower(text) {
	case "tcp":
		return big.NewRat(6, 1)
	case "udp":
		return big.NewRat(17, 1)
	}
	factors := []struct {
		suffix   string
		num, den int64
	}{
		{"KiB", 1024, 1}, {"MiB", 1 << 20, 1}, {"kB", 1000, 1}, {"GB", 1e9, 1}, {"ns", 1, 1000}, {"ms", 1000, 1}, {"s", 1e6, 1}, {"k", 1000, 1}, {"", 1, 1},
	}
	for _, f := range factors {
		if digits, ok := strings.CutSuffix(text, f.suffix); ok {
			v, ok := new(big.Rat).SetString(digits)
			if !ok {
				panic("querytest: " + name + ": no number: " + text)
			}
			return v.Mul(v, big.NewRat(f.num, f.den))
		}
	}
	panic("unreachable")
}
