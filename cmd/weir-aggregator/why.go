package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/aggregator/why"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

// gather adds to the facts of a pair what the aggregator knows besides flows. One who
// sees some namespaces gets the Service, the policies and the changes of his own, and
// nothing of nodes.
func (w *world) gather(c collector) func(f *why.Facts, src, dst api.End, visible *flow.Visibility) {
	return func(f *why.Facts, src, dst api.End, visible *flow.Visibility) {
		index := w.model.Index()
		if s := index.ServiceNamed(dst.Namespace, dst.Name); s != nil && visible.Has(dst.Namespace) {
			f.Service = &why.Service{Name: dst.String(), Ready: s.Ready, Unready: s.Unready, Ports: s.Ports, EndpointPorts: s.EndpointPorts}
		}
		if visible.Has(src.Namespace) && visible.Has(dst.Namespace) {
			f.Policy = w.policy(index, f, src, dst)
		}
		q := api.ChangeQuery{FromMs: f.FromMs - time.Hour.Milliseconds(), ToMs: f.ToMs, Limit: 1000, Visible: visible}
		f.Changes, _ = w.journal.Range(q.FromMs, q.ToMs, q.Limit, func(c *cluster.Change) bool { return q.Wants(c) && touches(c, f, src, dst) })
		if visible == nil {
			addNodes(f, nodeCoverage(c), time.Now())
		}
	}
}

// touches says whether a change is one of either end, or of a node of theirs.
func touches(c *cluster.Change, f *why.Facts, ends ...api.End) bool {
	_, name, _ := strings.Cut(c.Object, "/")
	for _, e := range ends {
		if e.Namespace != "" && c.Namespace != e.Namespace {
			continue
		}
		if name == e.Name || strings.HasPrefix(name, e.Name+"-") || c.Kind == cluster.ChangePolicy && c.Namespace != "" && e.Namespace != "" {
			return true
		}
	}
	if c.Kind == cluster.ChangeNode || c.Kind == cluster.ChangeAgent || c.Kind == cluster.ChangeConntrack {
		for i := range f.Conns {
			if name == f.Conns[i].SrcNode || name == f.Conns[i].DstNode {
				return true
			}
		}
	}
	return false
}

// policy judges the pair by the policies in force at PolicyMs, for the first
// pod of each end, or for the address of one that is no pod; nil where an end or the port
// is not known.
func (w *world) policy(index *cluster.Index, f *why.Facts, src, dst api.End) *why.Policy {
	a, b := sideOf(index, podOf(index, src), src), sideOf(index, podOf(index, dst), dst)
	p := eval.Packet{Proto: cluster.ProtoTCP, Port: f.Port}
	if len(f.Conns) > 0 {
		r := &f.Conns[0]
		if a == nil {
			a = outside(r.SrcKind, r.SrcIP, r.SrcNode)
		}
		if b == nil {
			b = sideOf(index, atAddress(index, nil, r), dst)
		}
		if b == nil {
			b = outside(r.DstKind, r.DstIP, r.DstNode)
		}
		p.Proto, p.Port = r.Proto, r.DstPort
	}
	if a == nil || b == nil || p.Port == 0 || !a.Selectable && !b.Selectable {
		return nil
	}
	p.Src, p.Dst = *a, *b
	at := min(time.Now().UnixMilli(), cmp.Or(f.PolicyMs, f.ToMs))
	from, to := inForce(index, a.Namespace, at), inForce(index, b.Namespace, at)
	return &why.Policy{Decision: eval.Evaluate(from, to, &p), Steps: eval.Trace(from, to, &p)}
}

// sideOf is an end that is a pod, or an address; nil for others.
func sideOf(index *cluster.Index, p *cluster.PodState, e api.End) *eval.Side {
	if p != nil {
		s := side(index, p)
		return &s
	}
	if a, err := netip.ParseAddr(e.Name); err == nil && e.Namespace == "" {
		return &eval.Side{Addr: a.Unmap()}
	}
	return nil
}

// outside is an end that a record says is no pod; nil for others.
func outside(kind flow.EndKind, a netip.Addr, node string) *eval.Side {
	if kind != flow.EndExternal && kind != flow.EndNode || !a.IsValid() {
		return nil
	}
	return &eval.Side{Addr: a.Unmap(), Node: node, IsNode: kind == flow.EndNode}
}

func inForce(index *cluster.Index, namespace string, ms int64) []*cluster.NetworkPolicy {
	if s := index.Policies(namespace, ms); s != nil {
		return s.Policies
	}
	return nil
}

// podOf finds a pod that an end names, itself or by its workload.
func podOf(index *cluster.Index, e api.End) *cluster.PodState {
	for _, p := range index.Pods(e.Namespace) {
		_, workload, _ := strings.Cut(p.Workload, "/")
		if !p.Done && len(p.IPs) > 0 && (p.Name == e.Name || workload == e.Name) {
			return p
		}
	}
	return nil
}

// atAddress is the pod that a connection reached: an end that is a Service names none.
func atAddress(index *cluster.Index, p *cluster.PodState, r *flow.Record) *cluster.PodState {
	if p != nil || r.DstPod == "" {
		return p
	}
	return podOf(index, api.End{Namespace: r.DstNS, Name: r.DstPod})
}

func side(index *cluster.Index, p *cluster.PodState) eval.Side {
	return eval.Side{
		Addr: p.IPs[0], Selectable: p.Kind == flow.EndPod, Namespace: p.Namespace, Name: p.Name, Node: p.Node(),
		Labels: cluster.ParseLabels(p.Labels), NamespaceLabels: cluster.ParseLabels(index.NamespaceLabels(p.Namespace)),
		Ports: p.Ports, IsNode: p.Kind == flow.EndHostPod,
	}
}

// stillNow is how old the end of a range may be for what nodes say now to hold for it.
const stillNow = 2 * time.Minute

// addNodes adds what is known of the nodes on which both ends ran. What they say now is
// nothing to a range that is long over.
func addNodes(f *why.Facts, c api.Coverage, now time.Time) {
	if now.Sub(time.UnixMilli(f.ToMs)) > stillNow {
		return
	}
	names := map[string]bool{}
	for i := range f.Conns {
		for _, n := range []string{f.Conns[i].SrcNode, f.Conns[i].DstNode} {
			if n != "" {
				names[n] = true
			}
		}
	}
	told := 0
	for i := range c.Tables {
		t := &c.Tables[i]
		if len(names) > 0 && !names[t.Node] {
			continue
		}
		told++
		if names[t.Node] {
			f.Nodes = append(f.Nodes, why.Node{Name: t.Node, HeardMs: t.At.UnixMilli(), Silent: t.Silent, Table: tableOf(t)})
		}
		for _, r := range t.Rows {
			if r.Seen == coverage.SeenNo || r.Seen == coverage.SeenPartly {
				f.Blind = append(f.Blind, fmt.Sprintf("%s, %s %s: %s", t.Node, r.Class, r.Family, r.Why))
			}
		}
	}
	f.Covered = told > 0 && told >= len(names)
}

// tableOf is a node's conntrack table, nil where it does not tell of one.
func tableOf(t *api.NodeCoverage) *why.Table {
	p := t.Pressure
	if p == nil || p.Max == 0 || t.Silent {
		return nil
	}
	return &why.Table{FillPct: int(100 * p.Fill()), Drops: p.Drops, EarlyDrops: p.EarlyDrops, Window: time.Duration(p.WindowMs) * time.Millisecond}
}

// nodes are the nodes as the findings want them.
func nodes(c collector) func() []findings.Node {
	return func() []findings.Node { return nodesOf(nodeCoverage(c)) }
}

func nodesOf(c api.Coverage) (out []findings.Node) {
	for i := range c.Tables {
		t := &c.Tables[i]
		n := findings.Node{Name: t.Node, Silent: t.Silent, SilentFor: c.Time.Sub(t.At).Round(time.Second).String(), FillPct: -1, ClockOff: time.Duration(t.ClockMs) * time.Millisecond}
		if x := tableOf(t); x != nil {
			n.FillPct, n.Drops, n.EarlyDrops, n.Within = x.FillPct, x.Drops, x.EarlyDrops, x.Window.Round(time.Second).String()
			if p := t.Pressure; p.FullInMs > 0 {
				n.FullInSecs = p.FullInMs / 1000
				n.FullIn = (time.Duration(n.FullInSecs) * time.Second).String()
			}
		}
		out = append(out, n)
	}
	return out
}
