// Command weir-agent observes the connections of its node and sends them to the
// aggregators.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/exporter"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/send"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/daemon"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/obs"
	buildinfo "github.com/weirnet/weir/internal/version"
)

//go:generate go test . -run TestMetricsAreInTheDocs -update

var version string // set by the linker

func main() {
	cfg := config.DefaultAgent()
	cmd := config.Command{
		Name: "weir-agent", Short: "Observe the connections of this node and send them to the aggregators.",
		Kind: config.AgentKind, Config: cfg, Version: buildinfo.Get(version), Out: os.Stdout, Err: os.Stderr,
	}
	run, status := cmd.Parse(os.Args[1:])
	if !run {
		os.Exit(status)
	}
	log, err := obs.NewLogger(os.Stderr, cfg.Log)
	if err == nil {
		daemon.LimitMemory(log)
		ctx, stop := daemon.Signals(context.Background())
		err = start(ctx, cfg, log, cmd.Version)
		stop()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "weir-agent: %v\n", err)
		os.Exit(1)
	}
}

// start wires the parts and runs them until ctx is done.
func start(ctx context.Context, cfg *config.Agent, log *slog.Logger, v buildinfo.Info) error {
	if cfg.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("nodeName: %w: set it or --node-name", err)
		}
		cfg.NodeName = host
	}
	src, restore, err := openSource(cfg, log) //nolint:contextcheck // the source ends with Stop
	if err != nil {
		return err
	}
	defer restore()
	p, err := wire(cfg, log, v, src) //nolint:contextcheck // the kernel is asked with a time of its own
	if err != nil {
		return err
	}
	log.Info("weir-agent starts", "version", v.String(), "node", cfg.NodeName, "aggregators", cfg.Send.Aggregators, "transport", cfg.Send.Transport)
	return p.group.Run(ctx)
}

// parts are what wire made.
type parts struct {
	group *daemon.Group
	reg   *obs.Registry
}

// wire connects source -> exporter (track, enrich) -> send. What is added first
// stops last.
func wire(cfg *config.Agent, log *slog.Logger, v buildinfo.Info, src source) (*parts, error) {
	book := ledger.NewBook()
	for _, stage := range []string{"conntrack", "outcome", "track", "send"} { // the order in which flows pass them
		book.Stage(stage)
	}
	reg, err := obs.NewRegistry(v)
	if err != nil {
		return nil, err
	}
	keep, err := openCerts(cfg, log)
	if err != nil {
		return nil, err
	}
	seen := openPackets(cfg, log)
	names, err := openNames(cfg, log, seen.dns)
	if err != nil {
		return nil, err
	}
	socks := openSockets(cfg, log, seen)
	look := newCoverage(cfg, seen.evidence)
	birds := &canaries{Trail: canary.NewTrail(canariesKept), clock: exporter.SteadyClock()}
	runs := newProbe(cfg, log, birds, names)
	look.tried = func() []coverage.Tried { return runs.tried(false) }
	sender, err := makeSender(cfg, log, book, keep, func(aggregator string) []ipfix.FactRow {
		return append(look.facts(), runs.facts(aggregator)...)
	})
	if err != nil {
		return nil, err
	}
	loop, err := exporter.New(exporter.Config{
		Source: src.Source, Track: trackConfig(cfg, src), Poll: cfg.Conntrack.PollInterval, Enrich: withSockets(socks, names.enricher.Fill), Owner: names.owner,
		Sink: birds.sink(sender), Book: book, Log: log, Clock: birds.clock, Canary: birds.conn,
	})
	if err != nil {
		return nil, err
	}
	look.loop = loop
	runs.ready = func() bool { return loop.State().Ready && sender.Ready() }
	joinEvidence(seen, loop.Observed)
	g := &daemon.Group{Log: log, StopTimeout: cfg.StopTimeout}
	watch := &obs.Server{
		Config: cfg.Metrics, TLS: keep.metrics, Log: log, Registry: reg, Version: v, NotReady: g.NotReady,
		State: map[string]func() any{
			"ledger":   func() any { return book.Snapshot() },
			"exporter": func() any { return loop.State() },
			"names":    names.status,
			"coverage": func() any { return look.now() },
			"canaries": func() any { return birds.view(sender, book) },
			"packets":  seen.state,
			"probe":    func() any { return runs.ways.plan(false) },
			"sockets":  func() any { return socks.Status() },
		},
	}
	list := append(append(loop.Metrics(), toldMetrics(src.memory)...), sendMetrics(sender)...)
	list = append(append(append(list, names.metrics()...), look.metrics()...), append(seen.metrics(), append(socks.Metrics(), append(birds.metrics(), runs.metrics()...)...)...)...)
	if err := reg.Add(append(append(list, keep.Metrics()...), obs.LedgerMetrics(book)...)...); err != nil {
		return nil, err
	}
	g.Add(watch, keep)
	g.Add(names.tasks()...)
	g.Add(sender, look, seen, socks, runs, newAttempts(socks.Table(), loop.Observed), exportTask{loop, names, src.finite})
	return &parts{g, reg}, nil
}

func makeSender(cfg *config.Agent, log *slog.Logger, book *ledger.Book, keep *certificates, facts func(string) []ipfix.FactRow) (*send.Sender, error) {
	c := send.DefaultConfig()
	c.Aggregators, c.Transport, c.Queue, c.TemplateInterval = cfg.Send.Aggregators, cfg.Send.Transport, cfg.Send.Queue, cfg.Send.Template
	c.Observer, c.Instance, c.StopTimeout = cfg.NodeName, fmt.Sprintf("%x", time.Now().UnixNano()), cfg.StopTimeout*2/3
	c.Domain = domain(cfg)
	if cfg.Probe.Interval > 0 { // the wait holds several tellings
		c.FactInterval = min(c.FactInterval, cfg.Probe.Wait/4)
	}
	return send.New(c, send.Deps{Log: log, Book: book, TLS: keep.send, Facts: facts})
}
