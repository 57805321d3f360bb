package cli

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weirnet/weir/api/flow"
)

// unsafeRune reports whether r could drive a terminal or reorder a line: C0 and C1
// controls, DEL, bidirectional and other format characters, line separators.
func unsafeRune(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// clean makes text that others chose safe to print: what could drive a terminal
// is written as \u escapes. Nothing is cut.
func clean(s string) string {
	ok := true
	for _, r := range s {
		if unsafeRune(r) || r == utf8.RuneError {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + hex(uint64(s[i]), 2))
		case unsafeRune(r) && r > 0xffff:
			b.WriteString(`\U` + hex(uint64(r), 8))
		case unsafeRune(r):
			b.WriteString(`\u` + hex(uint64(r), 4))
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func hex(v uint64, digits int) string {
	s := strconv.FormatUint(v, 16)
	return strings.Repeat("0", max(0, digits-len(s))) + s
}

// cleanJSON escapes inside JSON text what JSON lets pass and a terminal obeys.
func cleanJSON(line []byte) []byte {
	ok := true
	for _, r := range string(line) {
		if unsafeRune(r) {
			ok = false
			break
		}
	}
	if ok {
		return line
	}
	var b []byte
	for _, r := range string(line) {
		switch {
		case !unsafeRune(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			r -= 0x10000
			b = append(b, `\u`+hex(uint64(0xd800+r>>10), 4)+`\u`+hex(uint64(0xdc00+r&0x3ff), 4)...)
		default:
			b = append(b, `\u`+hex(uint64(r), 4)...)
		}
	}
	return b
}

// style is how text is printed.
type style struct {
	numeric, color bool
	loc            *time.Location
	now            time.Time
}

// when prints the end of a record: the time, and the date where it is not today.
func (st *style) when(r *flow.Record) string {
	if !r.Has.Has(flow.FEnd) {
		return "-"
	}
	t := time.UnixMilli(r.End).In(st.loc)
	if t.Format(time.DateOnly) != st.now.In(st.loc).Format(time.DateOnly) {
		return t.Format("2006-01-02 15:04:05")
	}
	return t.Format("15:04:05")
}

type endOf struct {
	ns, pod, node, name, ip string
	kind                    flow.EndKind
	port                    string
}

func source(r *flow.Record) endOf {
	e := endOf{ns: r.SrcNS, pod: r.SrcPod, node: r.SrcNode, name: r.SrcName, ip: r.Text(flow.FSrcIP), kind: r.SrcKind}
	if r.Has.Has(flow.FSrcPort) {
		e.port = strconv.Itoa(int(r.SrcPort))
	}
	return e
}

func destination(r *flow.Record) endOf {
	e := endOf{ns: r.DstNS, pod: r.DstPod, node: r.DstNode, name: r.DstName, ip: r.Text(flow.FDstIP), kind: r.DstKind}
	if r.Has.Has(flow.FDstPort) {
		e.port = strconv.Itoa(int(r.DstPort))
	}
	return e
}

// label is what an end is called: namespace/pod, node, name or address.
func (st *style) label(e endOf) string {
	switch {
	case st.numeric:
	case e.pod != "":
		return clean(e.ns + "/" + e.pod)
	case e.kind == flow.EndNode && e.node != "":
		return clean(e.node)
	case e.name != "":
		return clean(e.name)
	}
	if e.ip == "" {
		return "-"
	}
	return e.ip
}

// withPort joins a label and a port; an address of IPv6 gets brackets.
func withPort(label, port string) string {
	if port == "" || port == "0" {
		return label
	}
	if strings.Count(label, ":") > 1 {
		label = "[" + label + "]"
	}
	return label + ":" + port
}

// fromTo is "shop/cart-6f -> shop/payments:8443".
func (st *style) fromTo(r *flow.Record) (from, to string) {
	d := destination(r)
	return st.label(source(r)), withPort(st.label(d), d.port)
}

var colors = map[flow.Outcome]string{
	flow.OutcomeRefused: "31", flow.OutcomeReset: "31", flow.OutcomeTimedOut: "31", flow.OutcomePathLoss: "31",
	flow.OutcomeDenied: "35", flow.OutcomeUnanswered: "33",
}

// outcome is the word in capitals; a dash where nothing is proven.
func (st *style) outcome(r *flow.Record) string {
	if !r.Has.Has(flow.FOutcome) || r.Outcome == flow.OutcomeUnknown {
		return "-"
	}
	return strings.ToUpper(strings.ReplaceAll(r.Text(flow.FOutcome), "_", " "))
}

func (st *style) paint(r *flow.Record, s string) string {
	c := colors[r.Outcome]
	if !st.color || c == "" || !r.Has.Has(flow.FOutcome) {
		return s
	}
	return "\x1b[" + c + "m" + s + "\x1b[0m"
}

// both prints both directions of a counter, a dash for what is absent.
func both(r *flow.Record, fwd, rev flow.FieldID, unit func(uint64) string) string {
	a, okA := r.Uint(fwd)
	b, okB := r.Uint(rev)
	if !okA && !okB {
		return "-"
	}
	s := "-/"
	if okA {
		s = unit(a) + "/"
	}
	if okB {
		return s + unit(b)
	}
	return s + "-"
}

// size prints bytes in powers of 1000.
func size(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	f := float64(n)
	for _, u := range []string{"kB", "MB", "GB", "TB", "PB"} {
		f /= 1000
		if f < 999.5 {
			digits := 1
			if f >= 99.95 {
				digits = 0
			}
			return strconv.FormatFloat(f, 'f', digits, 64) + " " + u
		}
	}
	return strconv.FormatFloat(f/1000, 'f', 1, 64) + " EB"
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

// rtt prints microseconds as milliseconds.
func rtt(us uint32) string {
	return strconv.FormatFloat(float64(us)/1000, 'f', 1, 64) + " ms"
}

// proto is the protocol, for ICMP with type and code.
func proto(r *flow.Record) string {
	s := flow.ProtocolName(r.Proto)
	if r.Has.Has(flow.FICMP) {
		s += " " + strconv.Itoa(int(r.ICMP>>8)) + "/" + strconv.Itoa(int(r.ICMP&0xff))
	}
	return s
}

// asked says what a DNS connection asked, and what came of it.
func asked(r *flow.Record) string {
	s := "asked " + r.DNSQuery
	if r.Has.Has(flow.FDNSRcode) {
		s += ": " + strings.ToUpper(r.Text(flow.FDNSRcode))
	}
	if r.Has.Has(flow.FDNSTime) {
		s += " in " + rtt(r.DNSTime)
	}
	return s
}

// listens says who waits at the server's port, where that explains the outcome.
func listens(r *flow.Record) string {
	if r.Outcome == flow.OutcomeOK || r.Outcome == flow.OutcomeDenied {
		return ""
	}
	return r.ListenText()
}

// why lists what stands behind the outcome, and what else is worth a word. The compact
// line has said who listens already, and has no column for the round trip time.
func why(r *flow.Record, compact bool) string {
	var parts []string
	add := func(s string) { parts = append(parts, clean(s)) }
	if r.SvcPortName != "" {
		add("via " + r.SvcPortName)
	}
	if s := listens(r); s != "" && !compact {
		add(s)
	}
	if r.Outcome == flow.OutcomeDenied {
		for _, p := range []struct{ ns, policy, rule string }{
			{r.EgressPolicyNS, r.EgressPolicy, r.EgressRule}, {r.IngressPolicyNS, r.IngressPolicy, r.IngressRule},
		} {
			if p.policy != "" {
				add("by " + strings.Trim(p.ns+"/"+p.policy+" "+p.rule, "/ "))
			}
		}
	}
	if r.DNSQuery != "" {
		add(asked(r))
	}
	if r.LossPackets > 0 || r.LossRevPackets > 0 {
		add("lost between the ends: " + strconv.FormatInt(max(r.LossPackets, 0), 10) + "/" + strconv.FormatInt(max(r.LossRevPackets, 0), 10) + " packets")
	}
	if r.Half {
		add("one end only")
	}
	return strings.Join(parts, "  ")
}
