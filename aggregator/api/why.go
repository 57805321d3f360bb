package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/aggregator/why"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

// Why is the answer of /api/v1/why.
type Why struct {
	Src      string           `json:"src"`
	Dst      string           `json:"dst"`
	Port     uint16           `json:"port,omitempty"`
	Query    string           `json:"query"`    // what shows the connections
	Conns    int              `json:"conns"`    // that the findings rest on, the newest
	Outcomes map[string]int   `json:"outcomes"` // of those
	Findings []why.Finding    `json:"findings"` // the most telling first, never empty
	Changes  []cluster.Change `json:"changes"`  // that touch either end, from an hour before since
	// Policies are what decided, in the order in which it was asked.
	Policies []why.PolicyStep `json:"policies"`
	BothEnds *why.BothEnds    `json:"both_ends,omitempty"` // left out where no connection was counted at both ends
	Basis
}

// End is one end as a person names it: namespace/name, or a name.
type End struct {
	Namespace string // "" for any
	Name      string // of a workload, pod, Service or host
}

// parseEnd reads NAMESPACE/NAME or NAME, or what the map calls an end without a name.
func parseEnd(key, text string) (End, error) {
	e := End{Name: text}
	if _, ok := findings.Unnamed("src", text); ok && len(text) <= 253 {
		return e, nil
	}
	if ns, name, ok := strings.Cut(text, "/"); ok {
		e = End{ns, name}
		if !nsPattern.MatchString(ns) {
			return e, fmt.Errorf("%s: %q is no namespace: write NAMESPACE/NAME, as in shop/cart", key, ns)
		}
	}
	if e.Name == "" || len(e.Name) > 253 {
		return e, fmt.Errorf("%s: it names nothing: write NAMESPACE/NAME, as in shop/cart", key)
	}
	return e, nil
}

func (e End) String() string {
	if e.Namespace == "" {
		return findings.EndText(e.Name)
	}
	return e.Namespace + "/" + e.Name
}

// conds are the conditions that pick the connections of an end.
func (e End) conds(side string) string {
	if cond, ok := findings.Unnamed(side, e.Name); ok && e.Namespace == "" {
		return "(" + cond + ")"
	}
	n := strconv.Quote(e.Name)
	alt := fmt.Sprintf("%[1]s.workload = %[2]s or %[1]s.pod = %[2]s or %[1]s.name = %[2]s", side, n)
	if _, err := netip.ParseAddr(e.Name); err == nil {
		alt = side + ".ip = " + e.Name
	}
	if side == "dst" {
		svc := e.Name
		if e.Namespace != "" {
			svc = e.Namespace + "/" + e.Name
		}
		alt += " or service = " + strconv.Quote(svc)
	}
	if e.Namespace == "" {
		return "(" + alt + ")"
	}
	ns := fmt.Sprintf("%s.ns = %q ", side, e.Namespace)
	if side == "dst" { // a Service without endpoints has no server's namespace
		return fmt.Sprintf("(%s(%s) or service = %q)", ns, alt, e.Namespace+"/"+e.Name)
	}
	return ns + "(" + alt + ")"
}

const whyConns = 1000

var connPattern = regexp.MustCompile("^[0-9a-f]{16}$")

func (s *Server) why(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	src, err := parseEnd("src", v.Get("src"))
	dst, err2 := parseEnd("dst", v.Get("dst"))
	var port uint64
	if err = errors.Join(err, err2); err == nil && v.Get("port") != "" {
		if port, err = strconv.ParseUint(v.Get("port"), 10, 16); err != nil || port == 0 {
			err = fmt.Errorf("port: %q is no port from 1 to 65535", v.Get("port"))
		}
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	conn := v.Get("conn")
	if conn != "" && !connPattern.MatchString(conn) {
		fail(w, http.StatusBadRequest, fmt.Sprintf("conn: %q is no conn_id: write its 16 hexadecimal digits", conn))
		return
	}
	a, done, ok := s.inquire(w, r)
	if !ok {
		return
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Timeout)
	defer cancel()
	f := &why.Facts{Src: src.String(), Dst: dst.String(), Port: uint16(port), SrcQuery: src.conds("src"), DstQuery: dst.conds("dst")}
	f.FromMs, f.ToMs = a.period(false)
	text := f.SrcQuery + " " + f.DstQuery
	if port != 0 {
		text += fmt.Sprintf(" (service.port = %d or dst.port = %d)", port, port)
	}
	if conn != "" {
		text += " conn_id = " + conn
	}
	if err := a.pair(ctx, f, text, dst); err != nil {
		s.failAnswer(w, ctx, err)
		return
	}
	if conn != "" && len(f.Conns) > 0 { // the policies that it met
		f.PolicyMs = cmp.Or(f.Conns[0].Start, f.Conns[0].End)
	}
	if s.Gather != nil {
		s.Gather(f, src, dst, callerOf(r).Visible())
	}
	out := Why{
		Src: f.Src, Dst: f.Dst, Port: f.Port, Query: text, Conns: len(f.Conns), Outcomes: map[string]int{}, Findings: why.Why(f),
		Changes: f.Changes, Policies: why.Policies(f), BothEnds: why.Both(f.Conns), Basis: a.basis,
	}
	if out.Changes == nil {
		out.Changes = []cluster.Change{}
	}
	if out.Policies == nil {
		out.Policies = []why.PolicyStep{}
	}
	for i := range f.Conns {
		out.Outcomes[flow.OutcomeWords[f.Conns[i].Outcome]]++
	}
	reply(w, http.StatusOK, out)
}

// pair finds the connections of the pair and the source's questions to DNS.
func (a *asking) pair(ctx context.Context, f *why.Facts, text string, dst End) error {
	x, err := a.ask(ctx, fmt.Sprintf("%s | limit %d", text, whyConns), f.FromMs, f.ToMs)
	if err != nil {
		return err
	}
	f.Conns = x.Records()
	f.Listeners = listeners(f.Conns)
	if dst.Namespace == "" && !strings.Contains(dst.Name, ".") {
		return nil
	}
	f.Name = dst.Name
	cond := fmt.Sprintf("%s dns.query =~ %q", f.SrcQuery, regexpName(dst))
	if x, err = a.ask(ctx, cond+" | limit 100", f.FromMs, f.ToMs); err != nil {
		return err
	}
	f.DNS = x.Records()
	return nil
}

// regexpName matches the names under which an end is asked for.
func regexpName(dst End) string {
	quote := func(s string) string { return strings.ReplaceAll(s, ".", "[.]") }
	if dst.Namespace == "" {
		return quote(dst.Name) + "[.]?"
	}
	return quote(dst.Name) + "([.]" + quote(dst.Namespace) + "([.].*)?)?"
}

// listeners reads what agents saw of the server's sockets, from the newest connection
// that says so. Where the server listens is told as addresses without an end.
func listeners(conns []flow.Record) (l why.Listeners) {
	for i := range conns {
		r := &conns[i]
		if !r.Has.Has(flow.FDstListen) || r.DstListen == flow.ListenUnknown {
			continue
		}
		l.Known = true
		pod := cmp.Or(r.DstNS, "default") + "/" + r.DstPod
		switch r.DstListen {
		case flow.ListenOpen, flow.ListenFull:
			l.List = append(l.List, why.Listener{
				Pod: pod, Addr: netip.IPv6Unspecified(), Proto: r.Proto, Port: r.DstPort, Queue: r.DstBacklog, Limit: r.DstBacklogMax, Full: r.DstListen == flow.ListenFull,
			})
		case flow.ListenUnknown, flow.ListenNone: // not known ones were left out; none is an empty list
		case flow.ListenOther:
			l.Known = false // somebody does, elsewhere: that nobody does cannot be said
		case flow.ListenLoopback:
			l.List = append(l.List, why.Listener{Pod: pod, Addr: netip.IPv6Loopback(), Proto: r.Proto, Port: r.DstPort})
		}
		for word := range strings.SplitSeq(r.DstListens, ", ") {
			p := r.Proto
			if rest, ok := strings.CutSuffix(word, "/udp"); ok {
				word, p = rest, cluster.ProtoUDP
			}
			if n, err := strconv.ParseUint(word, 10, 16); err == nil {
				l.List = append(l.List, why.Listener{Pod: pod, Addr: netip.IPv6Unspecified(), Proto: p, Port: uint16(n)})
			}
		}
		return l
	}
	return l
}
