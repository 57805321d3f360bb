package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Command is `weirctl demo`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Bring up a small world in network namespaces and watch its flows",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(runCommand(), upCommand(), incidentCommand(), downCommand(), podCommand())
	return cmd
}

// untilSignal is a context that SIGINT and SIGTERM end, and SIGPIPE, so that
// `demo run | head` takes the world down too. A second signal kills at once; the
// next start, or down, clears what that leaves.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func runCommand() *cobra.Command {
	var length time.Duration
	var script string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Bring the demo up, stream its flows, and take it down at Ctrl-C",
		Long: `Bring the demo up, stream its flows, and take it down at Ctrl-C or after --for.

After 45 s an incident is staged: a rollout listens on a wrong port, a NetworkPolicy
is tightened, a node's link loses 3 % of its packets.

With --for it ends with a report: what was made, what arrived, with which outcome,
and the books. It exits 0 only if every shape of traffic that conntrack can see
arrived with an outcome that is right for it before the incident and after it, what
the incident changed and lost was told, each command that the demo printed answered
within 15 s of it, and the books balance. Less than 90s has no incident.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(context.WithoutCancel(cmd.Context()))
			defer stop()
			if os.Geteuid() != 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "the demo's network namespaces need root: without it, a recorded conntrack stream of one node is replayed through the same binaries (30 s)")
				return replay(ctx, cmd.OutOrStdout())
			}
			e, err := engineOf(script)
			if err != nil {
				return err
			}
			return run(ctx, cmd.OutOrStdout(), length, e)
		},
	}
	cmd.Flags().StringVar(&script, "engine", "", "script that serves a database or a broker, which is fed and asked too (test/demo)")
	cmd.Flags().DurationVar(&length, "for", 0, "end by itself after this time, with a report (0: at Ctrl-C)")
	return cmd
}

func upCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Bring the demo up and leave it running; `weirctl demo down` ends it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("demo up needs root for network namespaces: run it with sudo")
			}
			only, err := lock()
			if err != nil {
				return err
			}
			defer func() { _ = only.Close() }()
			ctx, stop := untilSignal(context.WithoutCancel(cmd.Context()))
			defer stop()
			if _, err := bringUp(ctx, cmd.OutOrStdout(), engine{}); err != nil {
				return errors.Join(err, down())
			}
			return nil
		},
	}
}

func incidentCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "incident",
		Short: "Stage the incident in a demo that `weirctl demo up` left running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case os.Geteuid() != 0:
				return errors.New("demo incident needs root, as the demo did: run it with sudo")
			case !isFile(madeFile(outside)):
				return errors.New("no demo runs: start one with `weirctl demo up`")
			case isFile(begunFile()):
				return errors.New("this demo has had its incident: `weirctl demo down` and `up` begin anew")
			}
			only, err := lock()
			if err != nil {
				return err
			}
			defer func() { _ = only.Close() }()
			ctx, stop := untilSignal(context.WithoutCancel(cmd.Context()))
			defer stop()
			w, err := readWorld(false)
			if err != nil {
				return err
			}
			began := time.Now()
			staged, err := stage(ctx, w, func(time.Time) {})
			if err != nil {
				return fmt.Errorf("stage the incident: %w: `weirctl demo down` clears up", err)
			}
			announce(cmd.OutOrStdout(), began, staged, self())
			return nil
		},
	}
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove whatever the demo left: processes, namespaces, files",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if os.Geteuid() != 0 {
				return errors.New("demo down needs root, as the demo did: run it with sudo")
			}
			return down()
		},
	}
}

// podCommand is what the demo runs inside each pod's namespace.
func podCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "pod NAME",
		Short:  "Serve and dial as one pod of the world",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := readWorld(isFile(begunFile()))
			if err != nil {
				return err
			}
			if args[0] != outside && w.pod(args[0]) == nil {
				return errNoPod(args[0])
			}
			ctx, stop := untilSignal(context.WithoutCancel(cmd.Context()))
			defer stop()
			return newGenerator(w, args[0]).run(ctx)
		},
	}
}
