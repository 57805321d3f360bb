package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
	"github.com/weirnet/weir/policy/simulate"
)

// Cluster is what is known of the cluster beside the flows, as it is now.
type Cluster interface {
	// Unknown says why nothing is known, "" where it is.
	Unknown() string
	// ReadPolicies reads NetworkPolicies from YAML; an error says line and key. Those
	// without a namespace are namespace's.
	ReadPolicies(text []byte, namespace string) ([]*cluster.NetworkPolicy, error)
	// InForce are the NetworkPolicies of a namespace.
	InForce(namespace string) []*cluster.NetworkPolicy
	// NamespaceLabels are those of a namespace; nil where there is none.
	NamespaceLabels(namespace string) map[string]string
	// Pods are those of a namespace.
	Pods(namespace string) []*cluster.PodState
}

// Simulation is the answer of /api/v1/simulate: what a change of NetworkPolicies would
// do to the connections of the range.
type Simulation struct {
	// Policies are those of the change.
	Policies []SimulatedPolicy `json:"policies"`
	// Changed are the connections whose verdict would be another, by the owners of both
	// ends: those that would be denied first, then by number.
	Changed []SimulatedGroup `json:"changed"`
	More    int              `json:"more"` // groups beyond the limit
	// Judged and Unjudged together are all connections of the range that satisfy q.
	Judged    uint64 `json:"judged"`
	Unchanged uint64 `json:"unchanged"`
	Denied    uint64 `json:"newly_denied"`  // connections that are not denied now and would be
	Allowed   uint64 `json:"newly_allowed"` // the other way round
	// Unjudged connections, by what is not known of them.
	Unjudged map[string]uint64 `json:"unjudged"`
	Basis
}

// PolicyChange says what a simulation does to a policy.
type PolicyChange string

// The changes.
const (
	PolicyAdded    PolicyChange = "added"
	PolicyReplaced PolicyChange = "replaced"
	PolicyRemoved  PolicyChange = "removed"
)

// SimulatedPolicy is a policy of a simulation.
type SimulatedPolicy struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Change    PolicyChange `json:"change"`
}

// SimulatedGroup are the connections between two owners whose verdict would change alike.
type SimulatedGroup struct {
	simulate.Group
	Query string `json:"query"` // what shows them
}

const (
	simulateGroups = 1000
	maxPolicyText  = 1 << 20
	maxRemoved     = 100
)

// wish is the change that is simulated.
type wish struct {
	apply, remove []*cluster.NetworkPolicy
	namespaces    []string // that the change touches, sorted
	told          []SimulatedPolicy
}

// readWish reads the body and the parameters remove and namespace.
func (s *Server) readWish(r *http.Request, v url.Values) (*wish, error) {
	text, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxPolicyText))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w: YAML of at most %d bytes is expected", err, maxPolicyText)
	}
	x := &wish{}
	if ns := v.Get("namespace"); ns != "" && !nsPattern.MatchString(ns) {
		return nil, fmt.Errorf("namespace: %q is no name of a namespace", ns)
	}
	if len(strings.TrimSpace(string(text))) > 0 || len(v["remove"]) == 0 {
		if x.apply, err = s.Cluster.ReadPolicies(text, v.Get("namespace")); err != nil {
			return nil, err
		}
	}
	if len(v["remove"]) > maxRemoved {
		return nil, fmt.Errorf("remove: %d policies are too many: give at most %d", len(v["remove"]), maxRemoved)
	}
	for _, name := range v["remove"] {
		ns, name, ok := strings.Cut(name, "/")
		if !ok || !nsPattern.MatchString(ns) || name == "" {
			return nil, fmt.Errorf("remove: %q names no policy: write NAMESPACE/NAME", name)
		}
		x.remove = append(x.remove, &cluster.NetworkPolicy{Namespace: ns, Name: name})
	}
	return x, nil
}

// place compares the change with what is in force. Who does not see a namespace is not
// told of its policies.
func (x *wish) place(c Cluster, who *Caller) error {
	have := func(np *cluster.NetworkPolicy) bool {
		return slices.ContainsFunc(c.InForce(np.Namespace), func(o *cluster.NetworkPolicy) bool { return o.Name == np.Name })
	}
	visible := who.Visible()
	for i, list := range [][]*cluster.NetworkPolicy{x.apply, x.remove} {
		for _, np := range list {
			if !visible.Has(np.Namespace) {
				return fmt.Errorf("%w: %s/%s is in a namespace that %s does not see", errForeign, np.Namespace, np.Name, who.Name)
			}
			p := SimulatedPolicy{np.Namespace, np.Name, PolicyRemoved}
			switch {
			case i == 1 && !have(np):
				return fmt.Errorf("remove: there is no NetworkPolicy %s in namespace %s", np.Name, np.Namespace)
			case i == 1 && slices.ContainsFunc(x.apply, func(o *cluster.NetworkPolicy) bool { return o.Namespace == np.Namespace && o.Name == np.Name }):
				return fmt.Errorf("remove: %s/%s is in the text too: take one away", np.Namespace, np.Name)
			case i == 1:
			case have(np):
				p.Change = PolicyReplaced
			default:
				p.Change = PolicyAdded
			}
			x.told = append(x.told, p)
			x.namespaces = append(x.namespaces, np.Namespace)
		}
	}
	slices.Sort(x.namespaces)
	x.namespaces = slices.Compact(x.namespaces)
	return nil
}

// errForeign is of a change in a namespace that the caller does not see.
var errForeign = errors.New("not for this caller")

func (s *Server) simulate(w http.ResponseWriter, r *http.Request) {
	if s.Cluster == nil {
		fail(w, http.StatusNotFound, "this aggregator knows no cluster: set cluster.kubeconfig or cluster.manifests")
		return
	}
	if why := s.Cluster.Unknown(); why != "" {
		fail(w, http.StatusServiceUnavailable, "the policies in force are not known: "+why)
		return
	}
	v := r.URL.Query()
	cond, err := condition(v)
	if err != nil {
		failQuery(w, err)
		return
	}
	x, err := s.readWish(r, v)
	if err == nil {
		err = x.place(s.Cluster, callerOf(r))
	}
	if err != nil {
		code := http.StatusBadRequest
		if errors.Is(err, errForeign) {
			code = http.StatusForbidden
		}
		fail(w, code, err.Error())
		return
	}
	a, done, ok := s.inquire(w, r)
	if !ok {
		return
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Timeout)
	defer cancel()
	out, err := a.simulate(ctx, x, cond)
	if err != nil {
		s.failAnswer(w, ctx, err)
		return
	}
	reply(w, http.StatusOK, out)
}

// simulate judges the connections that have an end in the namespaces of the change. Of
// all others no verdict can change.
func (a *asking) simulate(ctx context.Context, x *wish, cond string) (*Simulation, error) {
	j := &judging{c: a.s.Cluster, visible: callerOf(a.r).Visible(), conds: map[string]string{}, pods: map[string]map[string]*cluster.PodState{}, since: a.basis.Since.UnixMilli()}
	var names []string
	for _, ns := range x.namespaces {
		names = append(names, strconv.Quote(ns))
	}
	touched := "ns in (" + strings.Join(names, ", ") + ")"
	const real = " not canary = true" // the probe's connections are nobody's
	since, until := a.period(false)
	rest, err := a.ask(ctx, cond+real+" not "+touched+" | stats active", since, until)
	if err != nil {
		return nil, err
	}
	all, err := a.ask(ctx, cond+real+" "+touched+" | stats active, min(start), max(end) by "+j.keys(x), since, until)
	if err != nil {
		return nil, err
	}
	groups := all.Table().Groups()
	before := j.policies(groups)
	report := simulate.Run(before, before.With(x.apply, x.remove), func(yield func(*simulate.Conns) bool) {
		for i, g := range groups {
			if i%1024 == 0 && ctx.Err() != nil {
				return
			}
			if g.Accs[0].N > 0 && !yield(j.conns(g)) {
				return
			}
		}
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, g := range rest.Table().Groups() {
		report.Judged += g.Accs[0].N
		report.Unchanged += g.Accs[0].N
	}
	out := &Simulation{
		Policies: x.told, Changed: []SimulatedGroup{}, Judged: report.Judged, Unchanged: report.Unchanged, Denied: report.Denied, Allowed: report.Allowed,
		Unjudged: report.Unjudged, Basis: a.basis,
	}
	out.More = max(len(report.Changed)-simulateGroups, 0)
	for _, g := range report.Changed[:len(report.Changed)-out.More] {
		q := []string{j.conds["src "+g.Src], j.conds["dst "+g.Dst], fmt.Sprintf("proto = %d", g.Proto)}
		if g.Port != 0 {
			q = append(q, fmt.Sprintf("dst.port = %d", g.Port))
		}
		out.Changed = append(out.Changed, SimulatedGroup{g, strings.Join(slices.DeleteFunc(q, func(s string) bool { return s == "" }), " ")})
	}
	return out, nil
}

// judging makes of groups of connections what policies see of them.
type judging struct {
	pods    map[string]map[string]*cluster.PodState // by namespace, and name or workload
	c       Cluster
	visible *flow.Visibility
	conds   map[string]string // what picks an owner's connections, by side and owner
	since   int64
	byAddr  bool // addresses are in the keys
}

// endKeys are the fields that tell an end to policies.
var endKeys = []string{"ns", "pod", "kind", "workload", "node", "labels", "name"}

// keys are the fields by which connections are grouped. Addresses make many groups: they
// are asked for only where a policy looks at them.
func (j *judging) keys(x *wish) string {
	for _, ns := range x.namespaces {
		j.byAddr = j.byAddr || slices.ContainsFunc(j.c.InForce(ns), hasBlock)
	}
	j.byAddr = j.byAddr || slices.ContainsFunc(x.apply, hasBlock)
	var out []string
	for _, side := range []string{"src.", "dst."} {
		for _, k := range endKeys {
			out = append(out, side+k)
		}
		if j.byAddr {
			out = append(out, side+"ip")
		}
	}
	return strings.Join(append(out, "proto", "dst.port", "service.port"), ", ")
}

func hasBlock(np *cluster.NetworkPolicy) bool {
	for _, rules := range [][]cluster.PolicyRule{np.IngressRules, np.EgressRules} {
		for i := range rules {
			if slices.ContainsFunc(rules[i].Peers, func(p cluster.PolicyPeer) bool { return p.Block.IsValid() }) {
				return true
			}
		}
	}
	return false
}

// policies are those in force in every namespace of the groups that the caller sees.
func (j *judging) policies(groups []*query.Group) simulate.Policies {
	out := simulate.Policies{}
	for _, g := range groups {
		for _, side := range j.sides(g) {
			ns := side[0].Text
			if _, have := out[ns]; !have && j.visible.Has(ns) && ns != "" {
				out[ns] = slices.Clone(j.c.InForce(ns))
			}
		}
	}
	return out
}

// sides gives the cells of either end.
func (j *judging) sides(g *query.Group) [2][]query.Cell {
	n := len(endKeys)
	if j.byAddr {
		n++
	}
	return [2][]query.Cell{g.Key[:n], g.Key[n : 2*n]}
}

// conns is what policies see of a group.
func (j *judging) conns(g *query.Group) *simulate.Conns {
	sides := j.sides(g)
	rest := g.Key[2*len(sides[0]):]
	port, _ := strconv.ParseUint(rest[1].Text, 10, 16) // 0 for none
	c := &simulate.Conns{
		Packet: eval.Packet{Proto: proto(rest[0].Text), Port: uint16(port)}, Count: g.Accs[0].N,
		FirstMs: millis(&g.Accs[1], query.Min, j.since), LastMs: millis(&g.Accs[2], query.Max, j.since),
	}
	var named bool
	c.Packet.Src, c.SrcOwner, c.Hidden.Src, _ = j.side("src", sides[0], c)
	c.Packet.Dst, c.DstOwner, c.Hidden.Dst, named = j.side("dst", sides[1], c)
	c.Hidden.Names = !named
	c.Hidden.Port = c.Hidden.Dst && rest[2].Present
	return c
}

// side is one end; named says that the names of its ports are known.
func (j *judging) side(which string, key []query.Cell, c *simulate.Conns) (s eval.Side, owner string, hidden, named bool) {
	ns, pod, kind, workload, node, labels, name := key[0], key[1], key[2].Text, key[3], key[4], key[5], key[6]
	s = eval.Side{
		Namespace: ns.Text, Name: pod.Text, Node: node.Text, Selectable: kind == flow.EndKindWords[flow.EndPod],
		IsNode: kind == flow.EndKindWords[flow.EndNode] || kind == flow.EndKindWords[flow.EndHostPod],
	}
	addr := ""
	if j.byAddr {
		addr = key[7].Text
		s.Addr, _ = netip.ParseAddr(addr) // absent: none
	}
	owner = cmp.Or(findings.EndName(ns.Text, workload.Text, name.Text, "", ""), addr, kind)
	if !workload.Present && pod.Present {
		owner = ns.Text + "/" + pod.Text
	}
	j.note(which, owner, key, addr)
	if j.visible != nil && !j.visible.Has(ns.Text) {
		return s, owner, true, false
	}
	if !s.Selectable {
		return s, owner, false, true
	}
	s.NamespaceLabels = j.c.NamespaceLabels(ns.Text)
	now := j.podsOf(ns.Text)
	p := now[pod.Text]
	switch {
	case labels.Present:
		s.Labels = cluster.ParseLabels(labels.Text)
	case p != nil:
		s.Labels = cluster.ParseLabels(p.Labels)
	default:
		c.Unknown = "a pod is gone, and its labels were not recorded"
	}
	if p == nil && workload.Present { // its siblings have the same ports
		p = now[workload.Text]
	}
	if p != nil {
		s.Ports = p.Ports
	}
	return s, owner, false, p != nil
}

// podsOf finds the pods of a namespace by name, and one of each workload by its name,
// which has a slash.
func (j *judging) podsOf(namespace string) map[string]*cluster.PodState {
	if have, ok := j.pods[namespace]; ok {
		return have
	}
	m := map[string]*cluster.PodState{}
	for _, p := range j.c.Pods(namespace) {
		m[p.Name] = p
		if p.Workload != "" {
			m[p.Workload] = p
		}
	}
	j.pods[namespace] = m
	return m
}

// note keeps the condition that picks an owner's connections.
func (j *judging) note(which, owner string, key []query.Cell, addr string) {
	k := which + " " + owner
	if _, have := j.conds[k]; have {
		return
	}
	var q []string
	add := func(field, text string) {
		if text != "" {
			q = append(q, fmt.Sprintf("%s.%s = %s", which, field, strconv.Quote(text)))
		}
	}
	add("ns", key[0].Text)
	switch {
	case key[3].Present:
		add("workload", key[3].Text)
	case key[1].Present:
		add("pod", key[1].Text)
	case key[6].Present:
		add("name", key[6].Text)
	case addr != "":
		q = append(q, fmt.Sprintf("%s.ip = %s", which, addr))
	case key[2].Present:
		q = append(q, fmt.Sprintf("%s.kind = %s", which, key[2].Text))
	}
	j.conds[k] = strings.Join(q, " ")
}

// millis is a time that an aggregate found, or, where no connection had one, another.
func millis(a *query.Acc, fn query.Func, or int64) int64 {
	switch v := a.Value(fn, 1).(type) {
	case int64:
		return v
	case uint64:
		return int64(v)
	}
	return or
}
