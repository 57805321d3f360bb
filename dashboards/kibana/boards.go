package kibana

import (
	"maps"
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

//go:generate go run github.com/weirnet/weir/internal/gen/kibanagen -out weir.ndjson

// Board is a dashboard.
type Board struct {
	ID, Title, Doc string
	Panels         []Panel
	Records        bool // with the saved search of flow records below
}

// Controls are the fields by which every dashboard is narrowed.
var Controls = []flow.FieldID{flow.FClusterID, flow.FSrcNS, flow.FSrcWorkload, flow.FDstNS, flow.FDstWorkload, flow.FScope}

// Columns of the saved search, in documents' names.
var Columns = []string{
	"src.ns", "src.workload", "src.ip", "dst.ns", "dst.workload", "dst.name", "dst.ip", "dst.port", "service.name", "outcome", mapping.Verdict, "bytes_delta", "reverse.bytes_delta", "rtt", "conn_id",
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// failed are the outcomes without success that no policy wanted.
var failed = []string{"refused", "reset", "timed_out", "unanswered", "path_loss", "attempt"}

func term(field, v string) object { return object{"term": object{field: v}} }

func exists(fields ...string) object {
	list := []any{}
	for _, f := range fields {
		list = append(list, object{"exists": object{"field": f}})
	}
	return object{"bool": object{"filter": list}}
}

var (
	isFailed  = Clause{"outcome in (refused, reset, timed_out, unanswered, path_loss, attempt)", object{"terms": object{"outcome": failed}}}
	isDenied  = Clause{"verdict = denied", term(mapping.Verdict, "denied")}
	toPod     = Clause{"dst.kind = pod not has service", object{"bool": object{"filter": []any{term("dst.kind", "pod")}, "must_not": []any{exists("service.name")}}}}
	toService = Clause{"has service", exists("service.name")}
	outside   = Clause{"dst.kind = external", term("dst.kind", "external")}
)

var outcomeColors = map[string]string{
	"ok": "#54b399", "refused": "#e7664c", "reset": "#da8b45", "timed_out": "#d6bf57", "unanswered": "#b9a888", "denied": "#9170b8", "path_loss": "#aa6556", "attempt": "#d36086", "unknown": "#98a2b3",
}

var actionColors = map[string]string{"allow": "#54b399", "drop": "#9170b8", "reject": "#d36086"}

// Boards are all dashboards, in the order of a tour.
func Boards() []Board {
	return []Board{overview(), records(), edges(), nodes(), policy()}
}

func overview() Board {
	return Board{ID: "weir-overview", Title: "Weir / Overview", Doc: "Is anything wrong, where, and who moves how much.", Panels: []Panel{
		{ID: "weir-overview-now", Title: "In the range", Doc: "Each number opens Weir's page with its query.", Kind: Tiles, W: 48, H: 6, Tiles: []Tile{
			{"connections opened", Clause{}, Connections},
			{"failed", isFailed, Connections},
			{"denied by policy", isDenied, Connections},
			{"moved", Clause{}, Bytes},
			{"to external", outside, Bytes},
		}},
		{ID: "weir-overview-bytes", Title: "Traffic by client's namespace", Doc: "Bytes of both directions; a record counts where it ends.", Kind: Time, W: 24, H: 14, By: []flow.FieldID{flow.FSrcNS}, Most: []int{12}, Metric: Bytes},
		{ID: "weir-overview-failed", Title: "Connections that failed", Doc: "By what became of them; what a policy stopped is not among them.", Kind: Time, W: 24, H: 14, Clause: isFailed, By: []flow.FieldID{flow.FOutcome}, Most: []int{9}, Metric: Connections, Colors: outcomeColors, Only: failed},
		{ID: "weir-overview-talkers", Title: "Who moves most", Doc: "Client workloads, to pods and out of the cluster.", Kind: Bars, W: 24, H: 16, By: []flow.FieldID{flow.FSrcWorkload, flow.FDstKind}, Most: []int{12, 6}, Metric: Bytes},
		{ID: "weir-overview-worst", Title: "Servers whose connections fail", Doc: "By outcome.", Kind: Bars, W: 24, H: 16, Clause: isFailed, By: []flow.FieldID{flow.FDstWorkload, flow.FOutcome}, Most: []int{12, 9}, Metric: Connections, Colors: outcomeColors, Only: failed},
	}}
}

func records() Board {
	return Board{ID: "weir-records", Title: "Weir / Flow records", Doc: "The records themselves, newest first.", Records: true, Panels: []Panel{
		{ID: "weir-records-scope", Title: "Connections opened, by how far they go", Doc: "On one node, between nodes or zones, or out of the cluster.", Kind: Time, W: 48, H: 10, By: []flow.FieldID{flow.FScope}, Most: []int{5}, Metric: Connections},
	}}
}

func edges() Board {
	return Board{ID: "weir-edges", Title: "Weir / Edges", Doc: "Who talks to whom: pods with each other, through Services, and out of the cluster.", Panels: []Panel{
		{ID: "weir-edges-pods", Title: "Pod to pod", Doc: "Client and server workloads, without those that a Service was dialled for.", Kind: Heat, W: 24, H: 18, Clause: toPod, By: []flow.FieldID{flow.FSrcWorkload, flow.FDstWorkload}, Most: []int{15, 15}, Metric: Bytes},
		{ID: "weir-edges-services", Title: "Pod to Service", Doc: "Client workloads and the Services that they dialled.", Kind: Heat, W: 24, H: 18, Clause: toService, By: []flow.FieldID{flow.FSrcWorkload, flow.FSvcPortName}, Most: []int{15, 15}, Metric: Bytes},
		{ID: "weir-edges-external", Title: "Pod to external", Doc: "Client workloads and names outside; addresses without a name are not here.", Kind: Bars, W: 24, H: 16, Clause: outside, By: []flow.FieldID{flow.FSrcWorkload, flow.FDstName}, Most: []int{12, 8}, Metric: Bytes},
		{ID: "weir-edges-ports", Title: "Ports of external servers", Doc: "Connections opened.", Kind: Bars, W: 24, H: 16, Clause: outside, By: []flow.FieldID{flow.FDstPort, flow.FOutcome}, Most: []int{12, 9}, Metric: Connections, Colors: outcomeColors},
	}}
}

func nodes() Board {
	return Board{ID: "weir-nodes", Title: "Weir / Nodes", Doc: "What moves between nodes.", Panels: []Panel{
		{ID: "weir-nodes-time", Title: "Traffic by client's node", Doc: "Bytes of both directions.", Kind: Time, W: 48, H: 12, By: []flow.FieldID{flow.FSrcNode}, Most: []int{12}, Metric: Bytes},
		{ID: "weir-nodes-pairs", Title: "Between nodes", Doc: "Client's node and server's node.", Kind: Heat, W: 24, H: 18, By: []flow.FieldID{flow.FSrcNode, flow.FDstNode}, Most: []int{40, 40}, Metric: Bytes},
		{ID: "weir-nodes-failed", Title: "Failed connections by server's node", Doc: "One node that stands out is that node's trouble; all alike are the servers'.", Kind: Bars, W: 24, H: 18, Clause: isFailed, By: []flow.FieldID{flow.FDstNode, flow.FOutcome}, Most: []int{20, 9}, Metric: Connections, Colors: outcomeColors, Only: failed},
	}}
}

func policy() Board {
	return Board{ID: "weir-policy", Title: "Weir / Policy and outcome", Doc: "What policies decide, and what becomes of connections.", Panels: []Panel{
		{ID: "weir-policy-denied", Title: "Denied connections by client's namespace", Doc: "The policy worked, so it is no error; who is stopped that was not before?", Kind: Time, W: 24, H: 14, Clause: isDenied, By: []flow.FieldID{flow.FSrcNS}, Most: []int{12}, Metric: Connections},
		{ID: "weir-policy-outcome", Title: "Connections by outcome", Doc: "Of all, policies or not.", Kind: Time, W: 24, H: 14, By: []flow.FieldID{flow.FOutcome}, Most: []int{9}, Metric: Connections, Colors: outcomeColors},
		{ID: "weir-policy-ingress", Title: "Ingress policies", Doc: "What the policy at the server said.", Kind: Bars, W: 24, H: 16, By: []flow.FieldID{flow.FIngressPolicy, flow.FIngressAction}, Most: []int{20, 4}, Metric: Connections, Colors: actionColors},
		{ID: "weir-policy-egress", Title: "Egress policies", Doc: "What the policy at the client said.", Kind: Bars, W: 24, H: 16, By: []flow.FieldID{flow.FEgressPolicy, flow.FEgressAction}, Most: []int{20, 4}, Metric: Connections, Colors: actionColors},
		{ID: "weir-policy-rules", Title: "Rules that deny", Doc: "The server's namespace and the rule.", Kind: Bars, W: 24, H: 14, Clause: isDenied, By: []flow.FieldID{flow.FDstNS, flow.FIngressRule}, Most: []int{20, 10}, Metric: Connections},
		{ID: "weir-policy-servers", Title: "Outcome by server's workload", Doc: "The servers with most connections.", Kind: Bars, W: 24, H: 14, By: []flow.FieldID{flow.FDstWorkload, flow.FOutcome}, Most: []int{15, 9}, Metric: Connections, Colors: outcomeColors},
	}}
}
