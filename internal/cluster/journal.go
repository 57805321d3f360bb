package cluster

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ChangeKind says what kind of thing changed.
type ChangeKind string

// The kinds. Agents, and the conntrack tables of their nodes, are told by whoever hears of
// them; the rest is the Journal's.
const (
	ChangeRollout   ChangeKind = "rollout"
	ChangePolicy    ChangeKind = "policy"
	ChangeEndpoints ChangeKind = "endpoints"
	ChangeNode      ChangeKind = "node"
	ChangeRestart   ChangeKind = "restart"
	ChangeAgent     ChangeKind = "agent"
	ChangeConntrack ChangeKind = "conntrack" // bad where connections suffered
)

// ChangeKinds are all of them.
var ChangeKinds = []ChangeKind{ChangeRollout, ChangePolicy, ChangeEndpoints, ChangeNode, ChangeRestart, ChangeAgent, ChangeConntrack}

// Change is one thing that happened in the cluster.
type Change struct {
	ID        ChangeID   `json:"id"`      // the same for the same change told again
	TimeMs    int64      `json:"time_ms"` // Unix milliseconds
	Kind      ChangeKind `json:"kind"`
	Namespace string     `json:"namespace,omitempty"`
	Object    string     `json:"object"` // Kind/name
	What      string     `json:"what"`   // a clause: "has no ready endpoint (had 2)"
	Bad       bool       `json:"bad,omitempty"`
}

// ChangeID is the number of a change, a hash. As text, and in JSON, it is 16 hexadecimal
// digits: JavaScript would round the number.
type ChangeID uint64

// MarshalText implements encoding.TextMarshaler.
func (id ChangeID) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(id)), nil }

// UnmarshalJSON reads the text, and the number that former versions wrote.
func (id *ChangeID) UnmarshalJSON(b []byte) error {
	base := 10
	if len(b) > 1 && b[0] == '"' {
		b, base = b[1:len(b)-1], 16
	}
	n, err := strconv.ParseUint(string(b), base, 64)
	if err != nil {
		return fmt.Errorf("id of a change: %w", err)
	}
	*id = ChangeID(n)
	return nil
}

// Identify fills ID from the other fields.
func (c *Change) Identify() {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d\x00%s\x00%s\x00%s\x00%s", c.TimeMs, c.Kind, c.Namespace, c.Object, c.What)
	c.ID = ChangeID(h.Sum64())
}

// recent is how old something found at the start may be to be told as a change:
// a restart of ours must not hide what happened shortly before it.
const recent = 3600_000

// Journal tells what changed, from the same events as a Model. What was there
// before it began is no change, unless its own time says that it is recent. One
// goroutine owns it.
type Journal struct {
	m      *Model // for the owners of pods
	synced bool
	out    []Change

	pods      map[string]podMark
	workloads map[string]*workloadMark
	policies  map[string]*NetworkPolicy
	nodes     map[string]*Node
	slices    map[string]*EndpointSlice
	services  map[string]*serviceMark
}

// podMark is what is remembered of a pod.
type podMark struct {
	workload, template string
	restarts           int
}

// workloadMark is what is remembered of a workload: its pods by template.
type workloadMark struct {
	pods   map[string]int
	shape  map[string]string // template -> images and ports
	latest string            // template of the last rollout
}

type serviceMark struct {
	slices map[string]bool
	ready  int
	ports  string
	known  bool
}

// NewJournal makes a Journal beside m, whose owner must be the same goroutine.
func NewJournal(m *Model) *Journal {
	return &Journal{
		m: m, pods: map[string]podMark{}, workloads: map[string]*workloadMark{}, policies: map[string]*NetworkPolicy{},
		nodes: map[string]*Node{}, slices: map[string]*EndpointSlice{}, services: map[string]*serviceMark{},
	}
}

// Synced says that what was there at the start has been told: from now on all is change.
func (j *Journal) Synced() { j.synced = true }

// Observe takes one event, after the Model did, and returns what it changed. The
// slice is valid until the next call.
func (j *Journal) Observe(nowMs int64, e Event) []Change {
	j.out = j.out[:0]
	switch {
	case e.Pod != nil:
		j.pod(nowMs, e.Pod, e.Delete)
	case e.NetworkPolicy != nil:
		j.policy(nowMs, e.NetworkPolicy, e.Delete)
	case e.Node != nil:
		j.node(nowMs, e.Node, e.Delete)
	case e.Endpoints != nil:
		j.endpoints(nowMs, e.Endpoints, e.Delete)
	}
	return j.out
}

// tell adds a change. bornMs is the object's own time where it has one.
func (j *Journal) tell(nowMs, bornMs int64, c Change) {
	c.TimeMs = nowMs
	if !j.synced {
		if bornMs <= 1 || nowMs-bornMs > recent {
			return
		}
		c.TimeMs = bornMs
	} else if bornMs > 1 && bornMs <= nowMs && nowMs-bornMs < recent {
		c.TimeMs = bornMs
	}
	c.Identify()
	j.out = append(j.out, c)
}

func (j *Journal) pod(now int64, p *Pod, del bool) {
	k := p.Namespace + "/" + p.Name
	old, had := j.pods[k]
	if del || p.Done {
		if had {
			j.leave(old)
			delete(j.pods, k)
		}
		return
	}
	mark := podMark{p.Namespace + "\x00" + j.m.workload(p), p.TemplateHash, p.Restarts}
	if had && (old.workload != mark.workload || old.template != mark.template) {
		j.leave(old)
		had = false
	}
	j.pods[k] = mark
	if !had {
		j.join(now, p, mark)
	} else if mark.restarts > old.restarts {
		j.tell(now, 0, Change{
			Kind: ChangeRestart, Namespace: p.Namespace, Object: "Pod/" + p.Name, Bad: true,
			What: fmt.Sprintf("restarted a container (%d restarts)", mark.restarts),
		})
	}
}

func (j *Journal) leave(m podMark) {
	w := j.workloads[m.workload]
	if w == nil {
		return
	}
	if w.pods[m.template]--; w.pods[m.template] <= 0 {
		delete(w.pods, m.template)
		if m.template != w.latest {
			delete(w.shape, m.template)
		}
	}
	if len(w.pods) == 0 && len(w.shape) == 0 {
		delete(j.workloads, m.workload)
	}
}

// join counts a pod, and tells of a rollout where it is the first of a new template.
// A bare pod is no rollout, nor is a workload that had none before it.
func (j *Journal) join(now int64, p *Pod, mark podMark) {
	w := j.workloads[mark.workload]
	if w == nil {
		w = &workloadMark{pods: map[string]int{}, shape: map[string]string{}}
		j.workloads[mark.workload] = w
	}
	w.pods[mark.template]++
	_, object, _ := strings.Cut(mark.workload, "\x00")
	if w.pods[mark.template] > 1 || mark.template == w.latest && w.shape[mark.template] != "" || strings.HasPrefix(object, "Pod/") {
		return
	}
	shape := shapeOf(p)
	before := w.shape[w.latest]
	first := len(w.shape) == 0
	prev := w.latest
	w.shape[mark.template], w.latest = shape, mark.template
	if prev != mark.template && w.pods[prev] == 0 {
		delete(w.shape, prev)
	}
	if first {
		j.tell(now, p.StartMs, Change{Kind: ChangeRollout, Namespace: p.Namespace, Object: object, What: "first pods: " + shape})
		return
	}
	what := "rolled out " + p.Name + ": " + shape
	if before != "" && before != shape {
		what += ", was " + before
	}
	j.tell(now, p.StartMs, Change{Kind: ChangeRollout, Namespace: p.Namespace, Object: object, What: what})
}

// shapeOf says what matters of a pod's template: its images and its ports.
func shapeOf(p *Pod) string {
	var ports []string
	for _, c := range p.Ports {
		s := fmt.Sprint(c.Number)
		switch c.Proto {
		case ProtoUDP:
			s += "/udp"
		case ProtoSCTP:
			s += "/sctp"
		}
		ports = append(ports, s)
	}
	s := "image " + strings.Join(p.Images, ", ")
	if len(p.Images) == 0 {
		s = "template " + p.TemplateHash
	}
	if len(ports) > 0 {
		s += ", port " + strings.Join(ports, ", ")
	}
	return s
}

func (j *Journal) policy(now int64, p *NetworkPolicy, del bool) {
	k := p.Namespace + "/" + p.Name
	old := j.policies[k]
	c := Change{Kind: ChangePolicy, Namespace: p.Namespace, Object: "NetworkPolicy/" + p.Name}
	switch {
	case del:
		if old == nil {
			return
		}
		delete(j.policies, k)
		c.What = "deleted"
		j.tell(now, 0, c)
		return
	case old == nil || old.UID != p.UID:
		c.What = "created: " + policyText(p)
		j.tell(now, p.StartMs, c)
	case policyText(old) != policyText(p):
		c.What = "changed: " + policyText(p) + "; was: " + policyText(old)
		j.tell(now, 0, c)
	}
	j.policies[k] = p
}

// policyText says what a policy does, in a form that differs where two policies do.
func policyText(p *NetworkPolicy) string {
	pods := "all pods"
	if len(p.Pods) > 0 {
		pods = p.Pods.String()
	}
	var parts []string
	for _, d := range []struct {
		on    bool
		name  string
		rules []PolicyRule
	}{{p.Ingress, "ingress", p.IngressRules}, {p.Egress, "egress", p.EgressRules}} {
		if !d.on {
			continue
		}
		if len(d.rules) == 0 {
			parts = append(parts, "no "+d.name)
			continue
		}
		var rules []string
		for i := range d.rules {
			rules = append(rules, d.rules[i].String())
		}
		parts = append(parts, d.name+" "+strings.Join(rules, " and "))
	}
	return pods + ": " + strings.Join(parts, ", ")
}

// String writes a rule as "app=web at TCP 80".
func (r *PolicyRule) String() string {
	var peers, ports []string
	for i := range r.Peers {
		peers = append(peers, r.Peers[i].String())
	}
	for i := range r.Ports {
		ports = append(ports, r.Ports[i].String())
	}
	s := "all"
	if len(peers) > 0 {
		s = strings.Join(peers, " or ")
	}
	if len(ports) > 0 {
		s += " at " + strings.Join(ports, " or ")
	}
	return s
}

// String says whom a peer selects.
func (p *PolicyPeer) String() string {
	if p.Block.IsValid() {
		s := p.Block.String()
		for _, e := range p.Except {
			s = fmt.Sprintf("%s without %s", s, e)
		}
		return s
	}
	pods := "all pods"
	if p.Pods != nil && len(*p.Pods) > 0 {
		pods = p.Pods.String()
	}
	switch {
	case p.Namespaces == nil:
		return pods
	case len(*p.Namespaces) == 0:
		return pods + " in all namespaces"
	}
	return pods + " in namespaces with " + p.Namespaces.String()
}

// String writes a port as "TCP 80", "TCP http", "UDP 53-55" or "SCTP".
func (p *PolicyPort) String() string {
	proto := fmt.Sprint(p.Proto)
	switch p.Proto {
	case ProtoTCP:
		proto = "TCP"
	case ProtoUDP:
		proto = "UDP"
	case ProtoSCTP:
		proto = "SCTP"
	}
	switch {
	case p.Name != "":
		return proto + " " + p.Name
	case p.From == 0 && p.To == 0:
		return proto
	case p.From == p.To:
		return fmt.Sprintf("%s %d", proto, p.From)
	}
	return fmt.Sprintf("%s %d-%d", proto, p.From, p.To)
}

func (j *Journal) node(now int64, n *Node, del bool) {
	old := j.nodes[n.Name]
	c := Change{Kind: ChangeNode, Object: "Node/" + n.Name}
	switch {
	case del:
		if old == nil {
			return
		}
		delete(j.nodes, n.Name)
		c.What, c.Bad = "removed from the cluster", true
		j.tell(now, 0, c)
		return
	case old == nil:
		c.What = "joined the cluster"
		j.tell(now, n.StartMs, c)
	case old.NotReady != n.NotReady && n.NotReady:
		c.What, c.Bad = "is not ready", true
		j.tell(now, 0, c)
	case old.NotReady != n.NotReady:
		c.What = "is ready again"
		j.tell(now, 0, c)
	}
	j.nodes[n.Name] = n
}

func (j *Journal) endpoints(now int64, s *EndpointSlice, del bool) {
	if s.Service == "" {
		return
	}
	k, svc := s.Namespace+"/"+s.Name, s.Namespace+"/"+s.Service
	mark := j.services[svc]
	if mark == nil {
		if del {
			return
		}
		mark = &serviceMark{slices: map[string]bool{}}
		j.services[svc] = mark
	}
	if del {
		delete(j.slices, k)
		delete(mark.slices, k)
	} else {
		j.slices[k], mark.slices[k] = s, true
	}
	ready, ports := j.count(mark)
	c := Change{Kind: ChangeEndpoints, Namespace: s.Namespace, Object: "Service/" + s.Service}
	switch {
	case !mark.known:
	case mark.ready > 0 && ready == 0:
		c.What, c.Bad = fmt.Sprintf("has no ready endpoint (had %d)", mark.ready), true
		j.tell(now, 0, c)
	case mark.ready == 0 && ready > 0:
		c.What = fmt.Sprintf("has %d ready endpoints again", ready)
		j.tell(now, 0, c)
	case mark.ports != ports && ports != "" && mark.ports != "":
		c.What = "endpoints moved to port " + ports + ", was " + mark.ports
		j.tell(now, 0, c)
	}
	mark.ready, mark.known = ready, true
	if ports != "" {
		mark.ports = ports
	}
	if len(mark.slices) == 0 {
		delete(j.services, svc)
	}
}

// count adds up what a Service's slices have ready, and where it listens.
func (j *Journal) count(mark *serviceMark) (ready int, ports string) {
	have := map[netip.Addr]bool{}
	var list []string
	for k := range mark.slices {
		s := j.slices[k]
		for _, a := range s.Addresses {
			if !slices.Contains(s.Unready, a) {
				have[a] = true
			}
		}
		for _, p := range s.Ports {
			if t := fmt.Sprint(p.Number); !slices.Contains(list, t) {
				list = append(list, t)
			}
		}
	}
	slices.Sort(list)
	return len(have), strings.Join(list, ", ")
}
