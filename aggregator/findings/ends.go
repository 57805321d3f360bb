package findings

import (
	"net/netip"
	"strconv"
	"strings"
)

// An end without a name is told by the network that it lies in, or by what it is. No
// other end is named so: names of hosts have no colon.
const (
	netEnd  = "net:"
	kindEnd = "kind:"
)

// EndName names one end of an edge by what its records say of it, "" for what they do not:
// namespace/Kind/name (or namespace/pod), "namespace/" of one that is hidden, the name of
// an external one, net:NETWORK of one without a name, or kind:node, kind:service and
// kind:external of what has none of these. "" is unknown.
func EndName(ns, what, name, network, kind string) string {
	switch {
	case what != "":
		return ns + "/" + what
	case ns != "":
		return ns + "/"
	case name != "":
		return name
	case network != "":
		return netEnd + network
	case kind != "" && kind != "unknown":
		return kindEnd + kind
	}
	return ""
}

// EndText is what a person reads for what EndName names.
func EndText(s string) string {
	if n, ok := strings.CutPrefix(s, netEnd); ok {
		return n
	}
	if n, ok := strings.CutPrefix(s, "name:"); ok {
		return n
	}
	switch s {
	case "":
		return "unknown"
	case kindEnd + "node":
		return "nodes"
	case kindEnd + "service":
		return "services without endpoints"
	case kindEnd + "external":
		return "outside"
	}
	return s
}

// Unnamed gives the condition of a side of connections that net:NETWORK and kind:KIND
// name; ok is false for other ends.
func Unnamed(side, s string) (cond string, ok bool) {
	if n, ok := strings.CutPrefix(s, netEnd); ok {
		return side + ".net = " + quote(n) + " not has " + side + ".name", true
	}
	if k, ok := strings.CutPrefix(s, kindEnd); ok {
		return side + ".kind = " + quote(k) + " " + noPart(side, "workload", "ns", "name", "net"), true
	}
	return "", false
}

// noPart asks for connections whose side has none of these fields.
func noPart(side string, fields ...string) string {
	return "not has " + side + "." + strings.Join(fields, " not has "+side+".")
}

// EndQuery gives the condition of a side of connections for what EndName names of a
// workload, or of what is none.
func EndQuery(side, s string) string {
	if s == "" {
		return noPart(side, "workload", "ns", "name", "net") + " not " + side + ".kind in (node, service, external)"
	}
	if cond, ok := Unnamed(side, s); ok {
		return cond
	}
	if ns, ok := strings.CutSuffix(s, "/"); ok { // of an end that is hidden, its namespace
		return side + ".ns = " + quote(ns) + " not has " + side + ".workload"
	}
	ns, rest, ok := strings.Cut(s, "/")
	if ok && strings.Contains(rest, "/") {
		return side + ".ns = " + quote(ns) + " " + side + ".workload = " + quote(rest)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return side + ".ip = " + s
	}
	return side + ".name = " + strconv.Quote(s)
}
