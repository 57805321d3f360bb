package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/api/query"
)

func mapCommand(env *Env, c *client) *cobra.Command {
	a := &answer{env: env, api: c}
	var level string
	cmd := &cobra.Command{
		Use: "map [CONDITION]", Short: "Show who talks to whom", ValidArgsFunction: c.completeCondition,
		Example: "  weirctl map\n  weirctl map 'outcome != ok' -o mermaid\n  weirctl map --level namespace -o dot | dot -Tsvg > map.svg",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.edges(cmd.Context(), strings.Join(args, " "), level)
		},
	}
	a.bind(cmd, "1h", "table", "dot", "mermaid", "json")
	cmd.Flags().StringVar(&level, "level", "workload", "what an end is: namespace, workload or pod")
	return cmd
}

func (a *answer) edges(ctx context.Context, cond, level string) error {
	if err := oneOf("output", a.output, "table", "dot", "mermaid", "json"); err != nil {
		return err
	}
	if err := oneOf("level", level, "namespace", "workload", "pod"); err != nil {
		return err
	}
	if _, err := query.ParseExpr(cond); err != nil {
		return usageError{fmt.Errorf("condition: %w", err)}
	}
	var m api.Map
	if err := a.get(ctx, "/api/v1/map", url.Values{"q": {cond}, "level": {level}}, &m); err != nil {
		return err
	}
	var err error
	switch a.output {
	case "json":
		err = writeJSON(a.env.Out, &m)
	case "dot":
		err = writeDot(a.env.Out, m.Edges)
	case "mermaid":
		err = writeMermaid(a.env.Out, m.Edges)
	default:
		err = writeEdges(a.env.Out, m.Edges)
	}
	if m.More > 0 {
		fmt.Fprintf(a.env.Err, "%d edges more: narrow the condition, or take --level namespace\n", m.More)
	}
	a.basis(&m.Basis)
	if err == nil && a.fail && len(m.Edges) == 0 {
		return errEmpty
	}
	return err
}

// nodeName is an end of an edge; one that is not known has a dash.
func nodeName(s string) string {
	if s == "" {
		return "-"
	}
	return clean(findings.EndText(s))
}

// failing says which connections of an edge failed, "" for none.
func failing(e *api.MapEdge) string {
	var parts []string
	for o, n := range e.Failed {
		parts = append(parts, fmt.Sprintf("%d %s", n, clean(strings.ReplaceAll(o, "_", " "))))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func writeEdges(out io.Writer, edges []api.MapEdge) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FROM\tTO\tCONNS\tACTIVE\tBYTES\tRTT P95\tFAILED")
	for i := range edges {
		e := &edges[i]
		bytes, back, p95, failed := "-", "-", "-", "-"
		if e.Bytes != nil {
			bytes = size(*e.Bytes)
		}
		if e.Reverse != nil {
			back = size(*e.Reverse)
		}
		if e.RTT95 != nil {
			p95 = strconv.FormatFloat(*e.RTT95/1000, 'f', 1, 64) + " ms"
		}
		if f := failing(e); f != "" {
			failed = f
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s/%s\t%s\t%s\n", nodeName(e.Src), nodeName(e.Dst), e.Conns, e.Active, bytes, back, p95, failed)
	}
	return w.Flush()
}

// edgeLabel is what stands at an edge of a drawing.
func edgeLabel(e *api.MapEdge) string {
	if f := failing(e); f != "" {
		return fmt.Sprintf("%d, %s", e.Conns, f)
	}
	return strconv.FormatUint(e.Conns, 10)
}

// writeDot draws for Graphviz.
func writeDot(out io.Writer, edges []api.MapEdge) error {
	quote := func(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
	var b strings.Builder
	b.WriteString("digraph weir {\n  rankdir=LR;\n  node [shape=box];\n")
	for i := range edges {
		e := &edges[i]
		red := ""
		if len(e.Failed) > 0 {
			red = ", color=red"
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%s%s];\n", quote(nodeName(e.Src)), quote(nodeName(e.Dst)), quote(edgeLabel(e)), red)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// writeMermaid draws for Markdown.
func writeMermaid(out io.Writer, edges []api.MapEdge) error {
	quote := func(s string) string { // Mermaid's entities
		return `"` + strings.NewReplacer("#", "#35;", `"`, "#quot;", "|", "#124;").Replace(s) + `"`
	}
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[string]string{}
	node := func(s string) string {
		s = nodeName(s)
		if id, ok := ids[s]; ok {
			return id
		}
		ids[s] = "n" + strconv.Itoa(len(ids))
		return ids[s] + "[" + quote(s) + "]"
	}
	for i := range edges {
		e := &edges[i]
		arrow := "-->"
		if len(e.Failed) > 0 {
			arrow = "-.->"
		}
		src := node(e.Src)
		fmt.Fprintf(&b, "  %s %s|%s| %s\n", src, arrow, quote(edgeLabel(e)), node(e.Dst))
	}
	_, err := io.WriteString(out, b.String())
	return err
}
