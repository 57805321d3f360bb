package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/internal/canary"
)

// errBroken is the end of a `verify` that found a hop that is not right.
var errBroken = errors.New("not every hop booked every canary: see above")

type verify struct {
	env       *Env
	api       *client
	node      *client // of the agent
	agent     string
	netns     string
	addresses []string
	output    string
	wait      time.Duration
	lastRuns  bool
}

func verifyCommand(env *Env, c *client) *cobra.Command {
	own := *env
	own.Getenv = func(string) string { return "" } // what the environment says is of the aggregator
	v := &verify{env: env, api: c, node: &client{env: &own, timeout: 2 * askFor, flag: "agent", program: "weir-agent"}}
	cmd := &cobra.Command{
		Use: "verify", Short: "Open canary connections and check that every hop booked them exactly", Args: noArgs,
		Long: `Open canary connections of known size and end (answered, echoed, refused, unanswered) and
check that every hop booked them exactly, with the right outcome and names: the kernel, the
agent (conntrack, track, send), the aggregator (collect, correlate, live) and each sink.
Where one did not, it is named, with what to do, and the exit status is 1.

Run it on a node, in the network namespace that the agent reads (or with --netns), as root.
Canaries go to ports 61980 to 61999 of the node itself and, where its agent knows a way
(probe.interval, probe.namespace), to another node, from pod to pod, through a Service and
to a server outside. Their records have canary=true.

With --last it opens nothing: it shows what became of the runs that the agents make by
themselves (probe.interval), as the aggregator judged them.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", v.output, "table", "json"); err != nil {
				return err
			}
			if v.lastRuns {
				return v.last(cmd.Context())
			}
			if v.node.server = v.agent; v.agent != "" {
				if err := v.node.open(cmd.Context()); err != nil {
					return err
				}
			}
			return v.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.agent, "agent", defaultAgent, "metrics address of this node's agent as HOST:PORT or URL; empty to leave its hops out")
	f.StringVar(&v.node.tokenFile, "agent-token-file", "", "file with a bearer token for the agent, or for what stands before it")
	f.StringVar(&v.node.ca, "agent-ca-file", "", "certificates that may have signed the agent's (metrics.certFile)")
	f.StringVar(&v.node.cert, "agent-cert-file", "", "client certificate for the agent")
	f.StringVar(&v.node.key, "agent-key-file", "", "key of --agent-cert-file")
	f.StringVar(&v.node.serverName, "agent-server-name", "", "name that the agent's certificate must hold")
	f.StringVar(&v.netns, "netns", "", "path of the network namespace that the agent reads (/run/netns/node-1)")
	f.StringSliceVar(&v.addresses, "address", nil, "address of this node, one a family (default the first of each)")
	f.StringVarP(&v.output, "output", "o", "table", "table or json")
	f.DurationVar(&v.wait, "wait", 10*time.Second, "how long the canaries may take to every hop")
	f.BoolVar(&v.lastRuns, "last", false, "show what became of each node's own last run, and open nothing")
	return cmd
}

const (
	askEvery = 250 * time.Millisecond
	askFor   = 2 * time.Second
)

func (v *verify) run(ctx context.Context) error {
	if hereIsNoNode != "" {
		return usagef("verify: %s: run it on a node; --last shows what became of the runs of the agents", hereIsNoNode)
	}
	var addrs []netip.Addr
	for _, s := range v.addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return usagef("--address: %q is no IP address", s)
		}
		addrs = append(addrs, a)
	}
	began := time.Now()
	sent, skipped, err := openCanaries(ctx, v.netns, addrs, v.plan(ctx))
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	verdict := v.judge(ctx, sent, began.Add(v.wait))
	verdict.Skipped = skipped
	if v.output == "json" {
		err = writeJSON(v.env.Out, verdict)
	} else {
		_, err = io.WriteString(v.env.Out, verdictText(&verdict, time.Since(began)))
	}
	switch {
	case err != nil:
		return fmt.Errorf("write: %w", err)
	case verdict.Broken != "":
		return errBroken
	}
	return nil
}

// judge asks until all is well or the time is over.
func (v *verify) judge(ctx context.Context, sent []canary.Sent, until time.Time) canary.Verdict {
	for {
		agent := v.askAgent(ctx)
		agg := v.askAggregator(ctx)
		verdict := canary.Judge(sent, &agent, &agg)
		// What the kernel did not track, nothing mends any more.
		if verdict.Broken == "" || verdict.Broken == canary.HopKernel || time.Now().After(until) || ctx.Err() != nil {
			return verdict
		}
		select {
		case <-ctx.Done():
		case <-time.After(askEvery):
		}
	}
}

// agentState is what verify reads of an agent's /debug/state.
type agentState struct {
	Canaries *canary.View `json:"canaries"`
	Probe    probePlan    `json:"probe"`
}

// plan is which ways the agent's own canaries go. Without an agent that answers there
// are none: the judgement will say that it does not.
func (v *verify) plan(ctx context.Context) probePlan {
	var state agentState
	if v.agent == "" || v.getAgent(ctx, &state) != nil {
		return probePlan{}
	}
	return state.Probe
}

func (v *verify) askAgent(ctx context.Context) canary.Asked {
	a := canary.Asked{Skip: v.agent == "", AtMs: time.Now().UnixMilli()}
	if a.Skip {
		return a
	}
	var state agentState
	err := v.getAgent(ctx, &state)
	switch {
	case err != nil:
		a.Err = err.Error()
	case state.Canaries == nil:
		a.Err = "it is older than this weirctl and notes no canaries"
	default:
		a.View = *state.Canaries
	}
	return a
}

func (v *verify) getAgent(ctx context.Context, into *agentState) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	err := v.node.getJSON(ctx, "/debug/state", nil, into)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("no answer within %s: it is stopped, or stalled", askFor)
	}
	return err
}

func (v *verify) askAggregator(ctx context.Context) canary.Asked {
	a := canary.Asked{AtMs: time.Now().UnixMilli()}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	if err := v.api.getJSON(ctx, "/api/v1/canaries", nil, &a.View); err != nil {
		a.Err = err.Error()
	}
	return a
}
