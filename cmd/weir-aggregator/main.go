// Command weir-aggregator collects IPFIX, joins both ends of each connection, feeds
// the sinks and serves the API.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/daemon"
	"github.com/weirnet/weir/internal/obs"
	buildinfo "github.com/weirnet/weir/internal/version"
)

//go:generate go test . -run TestMetricsAreInTheDocs -update

var version string // set by the linker

func main() {
	cfg := config.DefaultAggregator()
	cmd := config.Command{
		Name: "weir-aggregator", Short: "Collect flows from agents, join both ends, feed sinks and serve them.",
		Kind: config.AggregatorKind, Config: cfg, Version: buildinfo.Get(version), Out: os.Stdout, Err: os.Stderr,
	}
	run, status := cmd.Parse(os.Args[1:])
	if !run {
		os.Exit(status)
	}
	log, err := obs.NewLogger(os.Stderr, cfg.Log)
	if err == nil {
		daemon.LimitMemory(log)
		ctx, stop := daemon.Signals(context.Background())
		err = start(ctx, &cmd, cfg, log)
		stop()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "weir-aggregator: %v\n", err)
		os.Exit(1)
	}
}

// start wires the parts and runs them until ctx is done. What is added first
// stops last: collect, then correlate, then the sinks, then the API.
func start(ctx context.Context, cmd *config.Command, cfg *config.Aggregator, log *slog.Logger) error {
	p, err := wire(cfg, log, cmd.Version) //nolint:contextcheck // Run hands the context to every task
	if err != nil {
		return err
	}
	log.Info("weir-aggregator starts", "version", cmd.Version.String(), "data_dir", cfg.DataDir, "sinks", len(cfg.Sinks))
	p.reload.cmd = cmd
	return p.group.Run(ctx)
}
