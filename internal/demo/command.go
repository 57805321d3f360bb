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
	cmd.AddCommand(runCommand(), upCommand(), downCommand(), podCommand())
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
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Bring the demo up, stream its flows, and take it down at Ctrl-C",
		Long: `Bring the demo up, stream its flows, and take it down at Ctrl-C or after --for.

With --for it ends with a report: what was made, what arrived, with which outcome,
and the books. It exits 0 only if every shape of traffic that conntrack can see
arrived with an outcome that is right for it and the books balance.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(context.WithoutCancel(cmd.Context()))
			defer stop()
			if os.Geteuid() != 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "the demo's network namespaces need root: without it, a recorded conntrack stream of one node is replayed through the same binaries (30 s)")
				return replay(ctx, cmd.OutOrStdout())
			}
			return run(ctx, cmd.OutOrStdout(), length)
		},
	}
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
			if _, err := bringUp(ctx, cmd.OutOrStdout()); err != nil {
				return errors.Join(err, down())
			}
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
			w, err := readWorld()
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
