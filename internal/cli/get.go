package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/nearest"
)

var getOutputs = []string{"table", "json", "csv", "markdown"}

// things are what `weirctl get` lists of the history: by a field of either end.
var things = []struct {
	name, doc string
	fields    []string // after src. and dst.
	single    string   // a field of the connection, where it is of no end
}{
	{"namespaces", "namespaces with connections in the range", []string{"ns"}, ""},
	{"workloads", "workloads with connections in the range", []string{"ns", "workload"}, ""},
	{"pods", "pods with connections in the range", []string{"ns", "pod"}, ""},
	{"hosts", "names outside of the cluster with connections in the range", []string{"name"}, ""},
	{"services", "Services that were dialled in the range", nil, "service"},
}

func getCommand(env *Env, c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "get WHAT", Short: "List what there is: fields, changes, nodes, agents, namespaces, workloads ...",
		Args: func(cmd *cobra.Command, args []string) error {
			var words []string
			for _, x := range cmd.Commands() {
				words = append(words, x.Name())
			}
			if len(args) == 0 {
				return usagef("name what to list: %s", strings.Join(words, ", "))
			}
			return oneOfArgs("what to list", args[0], words)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, x := range things {
		a := &answer{env: env, api: c}
		sub := &cobra.Command{
			Use: x.name + " [CONDITION]", Short: "List " + x.doc, ValidArgsFunction: c.completeCondition,
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.things(cmd.Context(), strings.ToUpper(strings.TrimSuffix(x.name, "s")), x.fields, x.single, strings.Join(args, " "))
			},
		}
		a.bind(sub, "1h", getOutputs...)
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(getFields(env, c), getChanges(env, c), getNodes(env, c), getAgents(env, c))
	return cmd
}

func oneOfArgs(what, got string, words []string) error {
	if near := nearest.Word(got, words); near != "" {
		return usagef("%s: %q is unknown: did you mean %s?", what, got, near)
	}
	return usagef("%s: %q is unknown: use %s", what, got, strings.Join(words, ", "))
}

// show prints rows as the flag says, or v as JSON.
func (a *answer) show(t *grid, v any) error {
	if a.output == "json" {
		return writeJSON(a.env.Out, v)
	}
	if err := t.write(a.env.Out, a.output); err != nil {
		return err
	}
	if a.fail && len(t.rows) == 0 {
		return errEmpty
	}
	return nil
}

// listed is what a command without a range has of answer.
func listed(env *Env, c *client, use, short string, run func(context.Context, *answer) error) *cobra.Command {
	a := &answer{env: env, api: c}
	cmd := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := oneOf("output", a.output, getOutputs...); err != nil {
			return err
		}
		return run(cmd.Context(), a)
	}}
	a.outputs(cmd, getOutputs...)
	return cmd
}

func getFields(env *Env, c *client) *cobra.Command {
	return listed(env, c, "fields", "List the fields of a record, as queries name them", func(ctx context.Context, a *answer) error {
		var list []api.FieldInfo
		if err := c.getJSON(ctx, "/api/v1/fields", nil, &list); err != nil {
			return err
		}
		t := &grid{heads: []string{"NAME", "TYPE", "UNIT", "ALIASES", "MEANING"}}
		for _, f := range list {
			kind := f.Type
			if len(f.Words) > 0 {
				kind = strings.Join(f.Words, ", ")
			}
			t.add(f.Name, kind, f.Unit, strings.Join(f.Aliases, ", "), f.Doc)
		}
		return a.show(t, list)
	})
}

func getAgents(env *Env, c *client) *cobra.Command {
	return listed(env, c, "agents", "List the agents that sent records, and when they were heard", func(ctx context.Context, a *answer) error {
		var b api.Books
		if err := c.getJSON(ctx, "/api/v1/ledger", nil, &b); err != nil {
			return err
		}
		t := &grid{heads: []string{"AGENT", "INSTANCE", "HEARD", "CONNECTIONS", "SENT RECORDS", "LOST RECORDS"}}
		for i := range b.Agents {
			x := &b.Agents[i]
			var lost uint64
			sent, conns := "", ""
			for k := range x.Stages {
				s := &x.Stages[k]
				for _, n := range s.Lost {
					lost += n.Records
				}
				switch s.Stage {
				case "send":
					sent = strconv.FormatUint(s.Out.Records, 10)
				case "track":
					conns = strconv.FormatUint(s.In.Connections, 10)
				}
			}
			t.add(x.Agent, x.Instance, a.at(x.Time), conns, sent, strconv.FormatUint(lost, 10))
		}
		return a.show(t, b.Agents)
	})
}

// at is a moment, a dash where it is not known.
func (a *answer) at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return a.when(t.UnixMilli())
}

func getNodes(env *Env, c *client) *cobra.Command {
	return listed(env, c, "nodes", "List the nodes, when they were heard, and what can be seen of them", func(ctx context.Context, a *answer) error {
		var x api.Coverage
		if err := c.getJSON(ctx, "/api/v1/coverage", nil, &x); err != nil {
			return err
		}
		t := &grid{heads: []string{"NODE", "HEARD", "STATE", "SEEN", "EVIDENCE", "CONNTRACK"}}
		for i := range x.Tables {
			n := &x.Tables[i]
			state, fill := "speaks", ""
			if n.Silent {
				state = "silent"
			}
			if p := n.Pressure; p != nil && p.Max > 0 {
				fill = strconv.FormatFloat(100*float64(p.Count)/float64(p.Max), 'f', 1, 64) + " %"
			}
			seen := map[string]int{}
			for _, r := range n.Rows {
				seen[r.Seen.String()]++
			}
			var words, evidence []string
			for _, w := range []string{"yes", "partly", "no", "unknown"} {
				if seen[w] > 0 {
					words = append(words, fmt.Sprintf("%d %s", seen[w], w))
				}
			}
			for _, e := range n.Evidence {
				if e.On {
					evidence = append(evidence, e.Name)
				}
			}
			t.add(n.Node, a.at(n.At), state, strings.Join(words, ", "), strings.Join(evidence, ", "), fill)
		}
		if err := a.show(t, x.Tables); err != nil {
			return err
		}
		fmt.Fprintln(env.Err, clean(x.Summary))
		return nil
	})
}

func getChanges(env *Env, c *client) *cobra.Command {
	a := &answer{env: env, api: c}
	var kinds, namespaces []string
	var words []string
	for _, k := range cluster.ChangeKinds {
		words = append(words, string(k))
	}
	cmd := &cobra.Command{
		Use: "changes", Short: "List what happened in the cluster: rollouts, policies, endpoints, nodes, restarts, agents", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", a.output, getOutputs...); err != nil {
				return err
			}
			for _, k := range kinds {
				if err := oneOf("kind", k, words...); err != nil {
					return err
				}
			}
			var x api.Changes
			if err := a.get(cmd.Context(), "/api/v1/changes", url.Values{"kind": kinds, "ns": namespaces}, &x); err != nil {
				return err
			}
			t := &grid{heads: []string{"TIME", "KIND", "OBJECT", "WHAT"}}
			for i := range x.Changes {
				h := &x.Changes[i]
				t.add(a.when(h.TimeMs), string(h.Kind), strings.TrimPrefix(h.Namespace+"/"+h.Object, "/"), h.What)
			}
			err := a.show(t, x.Changes)
			if n := x.Total - len(x.Changes); n > 0 {
				fmt.Fprintf(env.Err, "%s more, before these: take a shorter range\n", plural(uint64(n), "change"))
			}
			fmt.Fprintln(env.Err, "from: "+clean(x.Source))
			return err
		},
	}
	a.bind(cmd, "1h", getOutputs...)
	cmd.Flags().StringArrayVar(&kinds, "kind", nil, "of this kind: "+strings.Join(words, ", ")+" (several times)")
	cmd.Flags().StringArrayVarP(&namespaces, "namespace", "n", nil, "of this namespace (several times)")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("namespace", c.completeValues("ns"))
	return cmd
}

// thing is one thing that a list of the history has.
type thing struct {
	Name     string `json:"name"`
	AsClient role   `json:"as_client"`
	AsServer role   `json:"as_server"`
}

// role are the connections alive in the range in which a thing is the client, or the server.
type role struct {
	Conns  uint64 `json:"conns"`
	Failed uint64 `json:"failed"` // with an outcome that is neither ok nor unknown
}

// things lists the values of a field with the connections that have them.
func (a *answer) things(ctx context.Context, head string, fields []string, single, cond string) error {
	if err := oneOf("output", a.output, getOutputs...); err != nil {
		return err
	}
	expr, err := query.ParseExpr(cond)
	if err != nil {
		return usageError{fmt.Errorf("condition: %w", err)}
	}
	if cond = ""; expr != nil {
		cond = "(" + query.FormatExpr(expr) + ") "
	}
	byName := map[string]*thing{}
	count := func(by []string, into func(*thing) *role) error {
		return a.counted(ctx, cond, by, byName, into)
	}
	asClient := func(t *thing) *role { return &t.AsClient }
	asServer := func(t *thing) *role { return &t.AsServer }
	if single != "" {
		err = count([]string{single}, asServer)
	} else {
		err = count(prefixed("src.", fields), asClient)
		if err == nil {
			err = count(prefixed("dst.", fields), asServer)
		}
	}
	if err != nil {
		return err
	}
	list := sortedThings(byName)
	t := &grid{heads: []string{head, "AS CLIENT", "FAILED AS CLIENT", "AS SERVER", "FAILED AS SERVER"}}
	for _, x := range list {
		cells := []string{x.Name}
		for _, n := range []uint64{x.AsClient.Conns, x.AsClient.Failed, x.AsServer.Conns, x.AsServer.Failed} {
			cells = append(cells, strconv.FormatUint(n, 10))
		}
		t.add(cells...)
	}
	return a.show(t, list)
}

func prefixed(p string, fields []string) (out []string) {
	for _, f := range fields {
		out = append(out, p+f)
	}
	return out
}

// counted adds the connections by the fields of one end.
func (a *answer) counted(ctx context.Context, cond string, by []string, byName map[string]*thing, into func(*thing) *role) error {
	text := cond + "has " + by[len(by)-1] + " | stats active by " + strings.Join(by, ", ") + ", outcome"
	v := url.Values{"q": {text}}
	if err := a.time.put(v, a.env.Now(), zone(a.utc)); err != nil {
		return err
	}
	body, err := a.api.postQuery(ctx, v)
	if err != nil {
		return err
	}
	defer body.Close()
	var bad error
	_, tail, err := readAnswer(a.api, body, func(*api.Head) error { return nil }, func(_ *api.Head, r *query.Row) error {
		var parts []string
		for i := range by {
			if s, ok := r.Values[i].(string); ok {
				parts = append(parts, s)
			}
		}
		n, _ := r.Values[len(r.Values)-1].(json.Number)
		count, err := strconv.ParseUint(n.String(), 10, 64)
		if err != nil {
			bad = fmt.Errorf("%s: the answer has no number: %w", a.api.base.Host, err)
		}
		name := strings.Join(parts, "/")
		t := byName[name]
		if t == nil {
			t = &thing{Name: name}
			byName[name] = t
		}
		into(t).Conns += count
		if o, ok := r.Values[len(by)].(string); ok && o != "ok" && o != "unknown" {
			into(t).Failed += count
		}
		return nil
	})
	if err != nil {
		return err
	}
	if tail.Cut {
		fmt.Fprintf(a.env.Err, "only the first %d rows are counted: narrow the condition\n", tail.Rows)
	}
	for i := range tail.Partial {
		fmt.Fprintln(a.env.Err, missing(&tail.Partial[i]))
	}
	return bad
}

func sortedThings(m map[string]*thing) []thing {
	out := make([]thing, 0, len(m))
	for _, t := range m {
		out = append(out, *t)
	}
	slices.SortFunc(out, func(x, y thing) int {
		return cmp.Or(-cmp.Compare(x.AsClient.Conns+x.AsServer.Conns, y.AsClient.Conns+y.AsServer.Conns), strings.Compare(x.Name, y.Name))
	})
	return out
}
