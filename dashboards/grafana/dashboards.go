package grafana

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

//go:generate go run github.com/weirnet/weir/internal/gen/dashgen -out .

// Board is a dashboard: rows of panels over flows, or over the pipeline's own metrics.
type Board struct {
	UID, Title, Doc string
	Panels          []Panel
	Health          []Health
}

// Tag is on all of Weir's dashboards.
const Tag = "weir"

// edgeFields tell the two ends of an edge.
var edgeFields = []string{"src.ns", "src.workload", "dst.ns", "dst.workload", "dst.name"}

func edge(more ...string) []string { return append(append([]string{}, edgeFields...), more...) }

var edgeAggs = []string{"sum(bytes)", "sum(reverse.bytes)", "active", "p95(rtt)"}

// Boards are all dashboards, in the order of a tour.
func Boards() []Board {
	return []Board{overview(), flowRecords(), edges(), nodes(), policy(), health()}
}

func overview() Board {
	return Board{
		UID: "weir-overview", Title: "Weir / Overview", Doc: "Is anything wrong, where, and who moves how much.",
		Panels: []Panel{
			{Title: "Connections opened", Doc: "Connections that were opened in the range.", Kind: Stat, W: 5, H: 3, Aggs: []string{"conns"}, Unit: "short"},
			{
				Title: "Failed", Doc: "Share of the connections that were refused, reset, unanswered, lost, timed out, or never came to be.", Kind: Stat, W: 5, H: 3,
				Cond: Failed, Of: &Cond{}, Aggs: []string{"active"}, Unit: "percentunit", Alarm: []float64{0.01, 0.05},
			},
			{Title: "Denied by policy", Doc: "Connections that a policy stopped: it worked, so it is no error.", Kind: Stat, W: 5, H: 3, Cond: Denied, Aggs: []string{"active"}, Unit: "short"},
			{Title: "Moved", Doc: "Bytes from clients to servers and back.", Kind: Stat, W: 5, H: 3, Aggs: []string{"sum(bytes)", "sum(reverse.bytes)"}, Unit: "bytes"},
			{Title: "Round trip p95", Doc: "Of 95 % of the connections whose sockets were read, the smoothed round trip is at most this.", Kind: Stat, W: 4, H: 3, Aggs: []string{"p95(rtt)"}, Unit: "µs"},
			{
				Title: "Traffic by client's namespace", Doc: "Bytes a second, both directions; the largest eight, and the rest as other. A record counts where it ends.", Kind: Bars, W: 12, H: 9,
				Aggs: []string{"sum(bytes)", "sum(reverse.bytes)"}, By: []string{"src.ns"}, Most: 8, Unit: "binBps",
			},
			{
				Title: "Connections without success", Doc: "By what became of them. Denied is violet: the policy worked.", Kind: Bars, W: 12, H: 9,
				Cond: Unsuccessful, Aggs: []string{"active"}, By: []string{"outcome"}, Unit: "short", Colors: outcomeColors,
			},
			{Title: "Edges that fail most", Doc: "Who fails to reach whom.", Kind: Table, W: 12, H: 9, Cond: Failed, Aggs: []string{"active"}, By: edge("dst.port", "outcome"), Most: 10},
			{Title: "Largest edges", Doc: "Who sends most to whom; answered is what came back.", Kind: Table, W: 12, H: 9, Aggs: edgeAggs[:3], By: edge(), Most: 10},
		},
	}
}

func flowRecords() Board {
	return Board{
		UID: "weir-flows", Title: "Weir / Flow records", Doc: "The connections themselves, newest first.",
		Panels: []Panel{
			{
				Title: "Connections opened by scope", Doc: "How far they go: on one node, between nodes or zones, or out of the cluster.", Kind: Bars, W: 24, H: 7,
				Aggs: []string{"conns"}, By: []string{"scope"}, Unit: "short", Colors: scopeColors,
			},
			{
				Title: "Newest connections", Doc: "A row a connection, with what moved in the range.", Kind: Table, W: 24, H: 20, Most: 200,
				List: []string{"end", "src.ns", "src.workload", "src.ip", "dst.ns", "dst.workload", "dst.name", "dst.ip", "dst.port", "service", "outcome", "bytes", "reverse.bytes", "rtt"},
			},
		},
	}
}

func edges() Board {
	b := Board{UID: "weir-edges", Title: "Weir / Edges", Doc: "Who talks to whom: pods with each other, through Services, and out of the cluster."}
	for _, g := range []struct {
		what string
		cond Cond
		name []string
		by   []string
	}{
		{"pod to pod", Cond{"dst.kind = pod not has service", "{dst.kind} = 'pod' AND {service} IS NULL"}, edgeFields, edge("dst.port")},
		{"pod to Service", Cond{"has service", "{service} IS NOT NULL"}, []string{"service"}, []string{"src.ns", "src.workload", "service"}},
		{"pod to external", Cond{"dst.kind = external", "{dst.kind} = 'external'"}, []string{"dst.name"}, []string{"src.ns", "src.workload", "dst.name", "dst.port"}},
	} {
		b.Panels = append(
			b.Panels,
			Panel{
				Title: "Traffic, " + g.what, Doc: "Bytes a second, both directions; the largest six, and the rest as other.", Kind: Bars, W: 9, H: 8,
				Cond: g.cond, Aggs: []string{"sum(bytes)", "sum(reverse.bytes)"}, By: g.name, Most: 6, Unit: "binBps",
			},
			Panel{Title: "Edges, " + g.what, Doc: "The largest by bytes that the client sent; none where no socket was read.", Kind: Table, W: 15, H: 8, Cond: g.cond, Aggs: edgeAggs, By: g.by, Most: 50},
		)
	}
	return b
}

func nodes() Board {
	both := Cond{"has src.node has dst.node", "{src.node} IS NOT NULL AND {dst.node} IS NOT NULL"}
	return Board{
		UID: "weir-nodes", Title: "Weir / Nodes", Doc: "What moves between nodes, and what is lost on the way.",
		Panels: []Panel{
			{
				Title: "Traffic between nodes", Doc: "Bytes a second, both directions; the largest eight pairs, and the rest as other.", Kind: Bars, W: 12, H: 10,
				Cond: both, Aggs: []string{"sum(bytes)", "sum(reverse.bytes)"}, By: []string{"src.node", "dst.node"}, Most: 8, Unit: "binBps",
			},
			{
				Title: "Failed connections by server's node", Doc: "One node that stands out is that node's trouble; all alike are the servers'.", Kind: Bars, W: 12, H: 10,
				Cond: Failed, Aggs: []string{"active"}, By: []string{"dst.node"}, Most: 8, Unit: "short",
			},
			{
				Title: "Packets lost between nodes", Doc: "What the client's node sent and the server's node did not get. Below zero: sent again.", Kind: Table, W: 12, H: 13, Most: 20,
				Cond: Cond{"has loss.packets has src.node has dst.node", "{loss.packets} IS NOT NULL AND " + both.SQL},
				Aggs: []string{"sum(loss.packets)", "sum(src.packets)", "active"}, By: []string{"src.node", "dst.node"},
			},
			{
				Title: "Retransmits and round trips between nodes", Doc: "From the clients' sockets.", Kind: Table, W: 12, H: 13, Most: 20,
				Cond: both, Aggs: []string{"sum(src.retransmits)", "p95(rtt)", "active"}, By: []string{"src.node", "dst.node"},
			},
		},
	}
}

func policy() Board {
	rule := func(dir string) []string {
		return []string{dir + ".policy_ns", dir + ".policy", dir + ".rule", dir + ".action"}
	}
	return Board{
		UID: "weir-policy", Title: "Weir / Policy and outcome", Doc: "What policies decide, what they stop, and what nobody decides.",
		Panels: []Panel{
			{Title: "Denied", Doc: "Connections that a policy stopped.", Kind: Stat, W: 8, H: 3, Cond: Denied, Aggs: []string{"active"}, Unit: "short"},
			{Title: "Denied share", Doc: "Of all connections.", Kind: Stat, W: 8, H: 3, Cond: Denied, Of: &Cond{}, Aggs: []string{"active"}, Unit: "percentunit"},
			{
				Title: "Without a verdict", Doc: "Share of the connections on which no policy had a say: unprotected, or seen where the datapath does not tell its rules.", Kind: Stat, W: 8, H: 3,
				Cond: Neither, Of: &Cond{}, Aggs: []string{"active"}, Unit: "percentunit",
			},
			{
				Title: "Connections by verdict", Doc: "Denied where the outcome or a rule says so, allowed where a rule did and none denied, none where no policy had a say.", Kind: Bars, W: 12, H: 9,
				Aggs: []string{"active"}, Split: []Part{{"denied", Denied}, {"allowed", Allowed}, {"none", Neither}}, Unit: "short", Colors: verdictColors,
			},
			{
				Title: "Connections by outcome", Doc: "What became of them; unknown while they last and nothing is proven.", Kind: Bars, W: 12, H: 9,
				Aggs: []string{"active"}, By: []string{"outcome"}, Unit: "short", Colors: outcomeColors,
			},
			{Title: "Denied edges", Doc: "Who was kept from whom.", Kind: Table, W: 9, H: 8, Cond: Denied, Aggs: []string{"active"}, By: edge("dst.port"), Most: 20},
			{Title: "Edges without a verdict", Doc: "The largest edges on which no policy had a say.", Kind: Table, W: 15, H: 8, Cond: Neither, Aggs: edgeAggs[:3], By: edge("dst.port"), Most: 20},
			{
				Title: "Ingress rules", Doc: "What each rule at the servers decided.", Kind: Table, W: 12, H: 7, Most: 30,
				Cond: Cond{"has ingress.policy", "{ingress.policy} IS NOT NULL"}, Aggs: []string{"active", "sum(bytes)", "sum(reverse.bytes)"}, By: rule("ingress"),
			},
			{
				Title: "Egress rules", Doc: "What each rule at the clients decided.", Kind: Table, W: 12, H: 7, Most: 30,
				Cond: Cond{"has egress.policy", "{egress.policy} IS NOT NULL"}, Aggs: []string{"active", "sum(bytes)", "sum(reverse.bytes)"}, By: rule("egress"),
			},
		},
	}
}

// Build makes the dashboard.
func (b *Board) Build() (Model, error) {
	d := dashboard.NewDashboardBuilder(b.Title).Uid(b.UID).Description(b.Doc).Tags([]string{Tag}).Readonly().Timezone("browser"). //nolint:staticcheck // see Model
																	Tooltip(dashboard.DashboardCursorSyncCrosshair).Time("now-1h", "now").Refresh("1m").
																	Link(dashboard.NewDashboardLinkBuilder("Weir").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{Tag}).AsDropdown(true).IncludeVars(true).KeepTime(true))
	vars, err := flowVariables()
	if b.Health != nil {
		vars, err = healthVariables(), nil
	}
	if err != nil {
		return Model{}, err
	}
	for _, v := range vars {
		d.WithVariable(v)
	}
	id := uint32(0)
	place := placer{}
	add := func(p cog.Builder[dashboard.Panel], w, h uint32) error {
		built, err := p.Build()
		if err != nil {
			return err
		}
		id++
		built.Id = new(id)
		built.GridPos = new(place.next(w, h))
		d.WithPanel(done{built})
		return nil
	}
	for i := range b.Panels {
		p, err := b.Panels[i].Build()
		if err == nil {
			err = add(p, b.Panels[i].W, b.Panels[i].H)
		}
		if err != nil {
			return Model{}, fmt.Errorf("%s: %w", b.Title, err)
		}
	}
	for i := range b.Health {
		if err := add(b.Health[i].Build(), b.Health[i].W, b.Health[i].H); err != nil {
			return Model{}, fmt.Errorf("%s: %w", b.Title, err)
		}
	}
	return d.Build()
}

// done is a panel that is built.
type done struct{ panel dashboard.Panel }

// Build implements cog.Builder.
func (d done) Build() (dashboard.Panel, error) { return d.panel, nil }

// placer puts panels side by side in the 24 columns of the grid, row after row.
type placer struct{ x, y, h uint32 }

func (p *placer) next(w, h uint32) dashboard.GridPos {
	if p.x+w > 24 {
		p.x, p.y, p.h = 0, p.y+p.h, 0
	}
	at := dashboard.GridPos{X: p.x, Y: p.y, W: w, H: h}
	p.x += w
	p.h = max(p.h, h)
	return at
}
