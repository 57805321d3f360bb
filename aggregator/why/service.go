package why

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/cluster"
)

// nameMissing: the destination is a name, and asking for it failed.
func nameMissing(f *Facts, m *mix) *Finding {
	if f.Name == "" || len(f.DNS) == 0 {
		return nil
	}
	good := slices.ContainsFunc(f.DNS, func(r flow.Record) bool { return r.Has.Has(flow.FDNSRcode) && r.DNSRcode == 0 })
	if good || m.n > 0 {
		return nil
	}
	bad := map[string]int{}
	var first string
	for i := range f.DNS {
		w := "no answer"
		if r := &f.DNS[i]; r.Has.Has(flow.FDNSRcode) {
			w = strings.ToUpper(rcode(r.DNSRcode))
		}
		if bad[w]++; first == "" {
			first = w
		}
	}
	return &Finding{
		Cause: CauseNameMissing,
		Claim: fmt.Sprintf("%s cannot be resolved by %s: %s", f.Name, f.Src, first),
		Evidence: []string{
			fmt.Sprintf("%d DNS questions for it, last answer %s", len(f.DNS), first), "no connection followed",
		},
		Next: command("%s dns.query = %q", f.SrcQuery, f.Name),
	}
}

func rcode(c flow.Rcode) string {
	if int(c) < len(flow.RcodeWords) {
		return flow.RcodeWords[c]
	}
	return fmt.Sprint("rcode ", uint8(c))
}

// bare is the name without its namespace.
func bare(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// noEndpoint: the Service has nobody behind it.
func noEndpoint(f *Facts, m *mix) *Finding {
	s := f.Service
	if s == nil || s.Ready > 0 {
		return nil
	}
	x := &Finding{
		Cause: CauseNoEndpoint, Claim: fmt.Sprintf("Service %s has no ready endpoint", s.Name),
		Next: fmt.Sprintf("kubectl -n %s get endpointslices -l kubernetes.io/service-name=%s", namespace(s.Name), bare(s.Name)),
	}
	if s.Unready > 0 {
		x.Claim += fmt.Sprintf(" (%d are not ready)", s.Unready)
	}
	x.Evidence = append(x.Evidence, fmt.Sprintf("endpoints: %d ready, %d not ready", s.Ready, s.Unready))
	for _, c := range f.Changes {
		if c.Kind == cluster.ChangeEndpoints && c.Bad && c.Object == "Service/"+bare(s.Name) {
			x.Evidence = append(x.Evidence, changeText(&c))
		}
	}
	if m.failed > 0 {
		x.Evidence = append(x.Evidence, "connections to its address: "+m.words())
	}
	return x
}

func namespace(s string) string {
	ns, _, ok := strings.Cut(s, "/")
	if !ok {
		return "default"
	}
	return ns
}

// at gives the listeners of a protocol that a peer could reach, by port.
func (l *Listeners) at(proto uint8, port uint16) (open, loopback []Listener) {
	for _, x := range l.List {
		if x.Proto != proto || x.Port != port {
			continue
		}
		if x.Addr.IsLoopback() {
			loopback = append(loopback, x)
		} else {
			open = append(open, x)
		}
	}
	return open, loopback
}

// others are the ports at which the destination listens, as text.
func (l *Listeners) others(proto uint8) string {
	var ports []uint16
	for _, x := range l.List {
		if x.Proto == proto && !x.Addr.IsLoopback() && !slices.Contains(ports, x.Port) {
			ports = append(ports, x.Port)
		}
	}
	slices.Sort(ports)
	var text []string
	for i, p := range ports {
		if i == 6 {
			text = append(text, fmt.Sprintf("%d more", len(ports)-i))
			break
		}
		text = append(text, fmt.Sprint(p))
	}
	return strings.Join(text, ", ")
}

// target is the port at the server, after translation, and its protocol.
func (f *Facts) target(m *mix) (proto uint8, port uint16) {
	if r := m.last; r != nil {
		return r.Proto, r.DstPort
	}
	proto = cluster.ProtoTCP
	if s := f.Service; s != nil {
		for _, p := range s.Ports {
			if p.Number == f.Port {
				proto, port = p.Proto, p.Target
			}
		}
		if port == 0 && len(s.EndpointPorts) == 1 {
			port = s.EndpointPorts[0]
		}
		return proto, port
	}
	return proto, f.Port
}

// throughService says whether the port that was asked for is the server's, which
// connections reached through another port of the Service.
func throughService(f *Facts) bool {
	return judged(f.Conns, func(r *flow.Record) bool {
		return r.DstPort == f.Port && r.Has.Has(flow.FSvcPort) && r.SvcPort != f.Port
	}) != nil
}

// wrongPort: what was dialled is no port of the Service, or the Service sends it to
// a port at which nobody listens while the server listens elsewhere.
func wrongPort(f *Facts, m *mix) *Finding {
	if s := f.Service; s != nil && f.Port != 0 && len(s.Ports) > 0 && !throughService(f) && !slices.ContainsFunc(s.Ports, func(p cluster.Port) bool { return p.Number == f.Port }) {
		var have []string
		for _, p := range s.Ports {
			have = append(have, fmt.Sprint(p.Number))
		}
		return &Finding{
			Cause: CauseWrongPort, Claim: fmt.Sprintf("Service %s has no port %d: it has %s", s.Name, f.Port, strings.Join(have, ", ")),
			Evidence: []string{"ports of the Service: " + strings.Join(have, ", ")},
			Next:     fmt.Sprintf("dial %s:%s, or add the port to the Service", bare(s.Name), have[0]),
		}
	}
	proto, port := f.target(m)
	open, loopback := f.Listeners.at(proto, port)
	others := f.Listeners.others(proto)
	if !f.Listeners.Known || port == 0 || m.failed == 0 || len(open)+len(loopback) > 0 || others == "" {
		return nil
	}
	x := &Finding{
		Cause: CauseWrongPort,
		Claim: fmt.Sprintf("nobody listens on port %d of %s: it listens on %s", port, f.Dst, others),
		Evidence: []string{
			fmt.Sprintf("listening sockets in its pods: %s", others), m.text(m.failed) + " failed: " + m.words(),
		},
		Next: fmt.Sprintf("make the server listen on %d, or send clients to %s", port, others),
	}
	if f.Service != nil {
		x.Next = fmt.Sprintf("set targetPort of Service %s to where it listens (%s)", f.Service.Name, others)
	}
	for _, c := range f.Changes {
		if c.Kind == cluster.ChangeRollout {
			x.Evidence = append(x.Evidence, changeText(&c))
		}
	}
	return x
}

// loopbackOnly: the server listens, but only for itself.
func loopbackOnly(f *Facts, m *mix) *Finding {
	proto, port := f.target(m)
	open, loopback := f.Listeners.at(proto, port)
	if len(open) > 0 || len(loopback) == 0 || m.failed == 0 {
		return nil
	}
	return &Finding{
		Cause: CauseLoopbackOnly,
		Claim: fmt.Sprintf("%s listens on port %d for itself only", f.Dst, port),
		Evidence: []string{
			fmt.Sprintf("listening socket in %s is bound to loopback", loopback[0].Pod), m.text(m.failed) + " failed: " + m.words(),
		},
		Next: "bind the server to 0.0.0.0 or [::] instead of loopback",
	}
}

// nothingListens: both ends saw the refusal, and no socket waits.
func nothingListens(f *Facts, m *mix) *Finding {
	proto, port := f.target(m)
	r := judged(f.Conns, func(r *flow.Record) bool { return r.Outcome == flow.OutcomeRefused && r.ResetBy != flow.ResetByPath })
	if r == nil {
		return nil
	}
	open, loopback := f.Listeners.at(proto, port)
	if f.Listeners.Known && (len(open)+len(loopback) > 0 || f.Listeners.others(proto) != "") {
		return nil // another rule's
	}
	if !f.Listeners.Known && r.SeenBy != flow.SeenByBoth {
		return nil
	}
	x := &Finding{
		Cause: CauseNothingListens, Claim: fmt.Sprintf("nobody listens on port %d of %s", port, f.Dst),
		Evidence: []string{m.text(m.of(flow.OutcomeRefused)) + " refused"},
		Next:     "look whether the server runs: kubectl get pods, and its logs",
	}
	if r.DstPod != "" {
		x.Next = fmt.Sprintf("look whether the server runs: kubectl -n %s logs %s", r.DstNS, r.DstPod)
	}
	if r.SeenBy == flow.SeenByBoth {
		x.Evidence[0] += " by the server's own node"
	}
	if f.Listeners.Known {
		x.Evidence = append(x.Evidence, "its pods have no listening socket at all")
	} else {
		x.Evidence = append(x.Evidence, "both nodes saw the refusal, so nothing on the way made it; where it listens instead was not looked at")
	}
	return x
}

// backlogFull: somebody listens and does not accept.
func backlogFull(f *Facts, m *mix) *Finding {
	proto, port := f.target(m)
	open, _ := f.Listeners.at(proto, port)
	for _, l := range open {
		// The kernel lets one more wait than listen(2) asked for (sk_acceptq_is_full).
		full := l.Full || l.Proto == cluster.ProtoTCP && l.Queue > l.Limit
		if !full && l.Drops == 0 || m.failed == 0 {
			continue
		}
		x := &Finding{
			Cause:    CauseBacklogFull,
			Claim:    fmt.Sprintf("the accept queue of %s:%d is full: the server does not keep up", l.Pod, l.Port),
			Evidence: []string{fmt.Sprintf("%d connections wait, %d may", l.Queue, l.Limit), m.text(m.failed) + " failed: " + m.words()},
			Next:     "look at the server's load, or raise its backlog (listen(2), net.core.somaxconn)",
		}
		if l.Drops > 0 {
			x.Evidence = append(x.Evidence, fmt.Sprintf("%d connections were dropped at it in this time", l.Drops))
		}
		return x
	}
	return nil
}

// command is the line of a shell that asks a query. Names that a query holds may come from
// the network: none ends the word that it stands in.
func command(format string, args ...any) string {
	return "weirctl query " + query.ShellWord(fmt.Sprintf(format, args...))
}
