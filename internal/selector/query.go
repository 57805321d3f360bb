package selector

import (
	"regexp"
	"strings"

	"github.com/weirnet/weir/api/query"
)

// Query gives the condition of the query language that a Set of the terms stands for; nil
// for no terms.
func Query(terms []Term) (query.Expr, error) {
	if _, err := New(terms); err != nil {
		return nil, err
	}
	var groups [][]Term // alternatives, in the order of their first
	index := map[string]int{}
	for _, t := range terms {
		i, ok := index[t.Key]
		if !ok || t.Not {
			i = len(groups)
			groups = append(groups, nil)
			if !t.Not {
				index[t.Key] = i
			}
		}
		groups[i] = append(groups[i], t)
	}
	var texts []string
	for _, g := range groups {
		var alternatives []string
		for _, t := range g {
			alternatives = append(alternatives, condition(t.Key, t.Value)...)
		}
		text := strings.Join(alternatives, " or ")
		switch {
		case g[0].Not:
			text = "not (" + text + ")"
		case len(alternatives) > 1:
			text = "(" + text + ")"
		}
		texts = append(texts, text)
	}
	return query.ParseExpr(strings.Join(texts, " "))
}

// condition gives the alternatives that a term stands for.
func condition(key, v string) []string {
	is := func(field, value string) string { return field + " = " + query.Value{Text: value}.String() }
	side, what := "", key
	if rest, ok := strings.CutPrefix(key, "from-"); ok {
		side, what = "src.", rest
	} else if rest, ok := strings.CutPrefix(key, "to-"); ok {
		side, what = "dst.", rest
	}
	switch what {
	case "namespace":
		return []string{is(side+"ns", v)}
	case "pod":
		return []string{pod(side, v)}
	case "name":
		if suffix, ok := strings.CutPrefix(v, "*"); ok {
			return []string{pattern(side+"name", "", suffix)}
		}
		return []string{is(side+"name", v)}
	case "label":
		k, value, ok := strings.Cut(v, "=")
		if !ok {
			return []string{"has " + side + "label." + k}
		}
		return []string{is(side+"label."+k, value)}
	case "ip":
		return ends(side, []string{is("src.ip", v), is("proxy_snat.ip", v)}, []string{is("dst.ip", v), is("service.ip", v), is("cluster_ip", v)})
	case "port":
		return ends(side, []string{is("src.port", v)}, []string{is("dst.port", v), is("service.port", v)})
	case "protocol":
		return []string{is("proto", v)}
	case "node-name":
		return []string{is("observer", v), is("node", v)}
	case "outcome", "scope", "seen-by":
		field := strings.ReplaceAll(what, "-", "_")
		if strings.EqualFold(v, "unknown") {
			return []string{is(field, v), "not has " + field}
		}
		return []string{is(field, v)}
	default:
		return []string{is(side+what, v)}
	}
}

func ends(side string, src, dst []string) []string {
	switch side {
	case "src.":
		return src
	case "dst.":
		return dst
	default:
		return append(src, dst...)
	}
}

// pod says [NAMESPACE/]PREFIX.
func pod(side, v string) string {
	ns, prefix, ok := strings.Cut(v, "/")
	if !ok {
		return pattern(side+"pod", v, "")
	}
	if side == "" { // both of one end
		return "(" + pod("src.", v) + " or " + pod("dst.", v) + ")"
	}
	out := side + "ns = " + query.Value{Text: ns}.String() + " " + pattern(side+"pod", prefix, "")
	if ns == "" {
		return pattern(side+"pod", prefix, "")
	}
	return "(" + out + ")"
}

// pattern says that a name begins and ends so.
func pattern(field, prefix, suffix string) string {
	if (query.Value{Text: prefix + suffix + "x"}).String() == prefix+suffix+"x" {
		return field + " = " + prefix + "*" + suffix
	}
	return field + " =~ " + query.Value{Text: "(?s)" + regexp.QuoteMeta(prefix) + ".*" + regexp.QuoteMeta(suffix)}.String()
}
