package probe

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/cluster"
)

// Plan is which ways the canaries go besides those of the node to itself.
type Plan struct {
	Node    string           `json:"node,omitempty"` // name of this node
	Targets []Target         `json:"targets"`
	Ends    []End            `json:"ends,omitempty"` // who may answer behind a Service
	Skipped []canary.Skipped `json:"skipped,omitempty"`
}

// Target is one way, on which canaries of some kinds go.
type Target struct {
	canary.Path
	NetNS string        `json:"netns,omitempty"` // where they are opened; empty for the node's own
	From  netip.Addr    `json:"from"`
	To    netip.Addr    `json:"to"`
	Port  uint16        `json:"port,omitempty"` // 0 for those at which agents answer
	Kinds []canary.Kind `json:"kinds"`
}

// Family is v4 or v6.
func (t *Target) Family() string { return familyOf(t.To) }

// End is who has an address.
type End struct {
	Addr netip.Addr `json:"addr"`
	Name string     `json:"name"` // NAMESPACE/POD or a node's
	Node string     `json:"node"`
}

// Cluster is what a plan is made of.
type Cluster interface {
	Nodes() []*cluster.Node
	Pods(namespace string) []*cluster.PodState
	Services(namespace string) []*cluster.ServiceState
}

// Planner makes plans.
type Planner struct {
	Node      string
	Addresses []netip.Addr // of this node
	Peers     []netip.Addr // other nodes' addresses; empty for those that the cluster knows
	Namespace string       // of the canary pods; empty for none
	External  []netip.AddrPort
	Cluster   Cluster
	// NetNS gives the network namespace of an address of this node's; false where it is not
	// found.
	NetNS func(netip.Addr) (string, bool)
}

// good are the kinds for which somebody answers at another end, and the one for which
// nobody does.
func good() []canary.Kind { return []canary.Kind{canary.TCP, canary.UDP, canary.Refused} }

// Make gives the ways of one run. Each run goes to one other node and to one pod there;
// turn says whose turn it is.
func (p *Planner) Make(turn int) Plan {
	plan := Plan{Node: p.Node, Targets: []Target{}}
	p.nodes(&plan, turn)
	if p.Namespace == "" {
		return plan
	}
	here, there := p.pods()
	for _, list := range [][]End{here, there} {
		plan.Ends = append(plan.Ends, list...)
	}
	for _, family := range []string{"v4", "v6"} {
		p.family(&plan, family, of(here, family), of(there, family), turn)
	}
	return plan
}

func of(list []End, family string) (out []End) {
	for _, e := range list {
		if familyOf(e.Addr) == family {
			out = append(out, e)
		}
	}
	return out
}

// nodes adds the way to another node.
func (p *Planner) nodes(plan *Plan, turn int) {
	var others []End
	for _, a := range p.Peers {
		others = append(others, End{Addr: a})
	}
	if len(p.Peers) == 0 && p.Cluster != nil {
		for _, n := range p.Cluster.Nodes() {
			if n.Name == p.Node || n.NotReady {
				continue
			}
			for _, a := range n.Addresses {
				others = append(others, End{a, n.Name, n.Name})
			}
		}
	}
	for _, from := range p.Addresses {
		list := of(others, familyOf(from))
		if len(list) == 0 {
			continue
		}
		to := list[turn%len(list)]
		path := canary.Self(p.Node)
		path.Dst, path.DstNode = to.Name, to.Node
		plan.Targets = append(plan.Targets, Target{Path: path, From: from, To: to.Addr, Kinds: good()})
	}
}

// pods gives the addresses of the canary pods on this node and on others.
func (p *Planner) pods() (here, there []End) {
	for _, pod := range p.Cluster.Pods(p.Namespace) {
		if pod.Done || pod.Node() == "" {
			continue
		}
		for _, a := range pod.IPs {
			e := End{a, pod.Namespace + "/" + pod.Name, pod.Node()}
			if pod.Node() == p.Node {
				here = append(here, e)
			} else {
				there = append(there, e)
			}
		}
	}
	return here, there
}

// family adds the ways of one family from the first canary pod of this node.
func (p *Planner) family(plan *Plan, family string, here, there []End, turn int) {
	if len(here) == 0 {
		if len(there) > 0 {
			plan.skip("same-node", family, "no canary pod of "+p.Namespace+" is on this node", "let its DaemonSet run on every node")
		}
		return
	}
	from := here[0]
	netns, ok := p.NetNS(from.Addr)
	if !ok {
		why := fmt.Sprintf("the network namespace of %s (%s) is not found", from.Name, from.Addr)
		plan.skip("same-node", family, why, "sockets.netns must name it, and the agent needs CAP_SYS_ADMIN")
		return
	}
	way := Target{Path: canary.Path{Src: from.Name, SrcNode: p.Node}, NetNS: netns, From: from.Addr, Kinds: good()}
	add := func(class string, to End) {
		t := way
		t.Class, t.Dst, t.DstNode, t.To = class, to.Name, to.Node, to.Addr
		plan.Targets = append(plan.Targets, t)
	}
	if i := slices.IndexFunc(here, func(e End) bool { return e.Name != from.Name }); i >= 0 {
		add("same-node", here[i])
	}
	if len(there) > 0 {
		add("cross-node", there[turn%len(there)])
	}
	p.services(plan, way, family)
	for _, x := range p.External {
		if familyOf(x.Addr()) == family {
			way.Class, way.To, way.Port, way.Kinds = canary.External, x.Addr(), x.Port(), []canary.Kind{canary.TCP}
			plan.Targets = append(plan.Targets, way)
		}
	}
}

// services adds the way through each Service that has a port at which agents answer.
func (p *Planner) services(plan *Plan, way Target, family string) {
	for _, s := range p.Cluster.Services(p.Namespace) {
		var kinds []canary.Kind
		for _, x := range s.Ports {
			for k, proto := range map[canary.Kind]uint8{canary.TCP: cluster.ProtoTCP, canary.UDP: cluster.ProtoUDP} {
				if x.Proto == proto && x.Number == k.Answered() {
					kinds = append(kinds, k)
				}
			}
		}
		slices.Sort(kinds)
		for _, a := range s.ClusterIPs {
			if familyOf(a) == family && len(kinds) > 0 {
				way.Class, way.To, way.Kinds, way.Service = "service", a, kinds, s.Namespace+"/"+s.Name
				plan.Targets = append(plan.Targets, way)
			}
		}
	}
}

func (plan *Plan) skip(class, family, why, remedy string) {
	plan.Skipped = append(plan.Skipped, canary.Skipped{Path: canary.Path{Class: class}, Family: family, Why: why, Remedy: remedy})
}
