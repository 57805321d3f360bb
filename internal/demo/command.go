package demo

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Command is `weirctl demo`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Bring up a small world in network namespaces and watch its flows",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(downCommand(), podCommand())
	return cmd
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove whatever the demo left: processes, namespaces, files",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return down() },
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
			ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return newGenerator(w, args[0]).run(ctx)
		},
	}
}
