package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weirnet/weir/aggregator"
	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/collect"
	"github.com/weirnet/weir/aggregator/correlate"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/daemon"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/obs"
	buildinfo "github.com/weirnet/weir/internal/version"
)

// parts are what wire made.
type parts struct {
	group *daemon.Group
	reg   *obs.Registry
	book  *ledger.Book
	birds *canaries

	reload *reload
}

func wire(cfg *config.Aggregator, log *slog.Logger, v buildinfo.Info) (*parts, error) {
	if err := os.MkdirAll(filepath.Join(cfg.DataDir, "spool"), 0o750); err != nil {
		return nil, fmt.Errorf("dataDir: %w: make it writable for this user, or name another with --data-dir", err)
	}
	book, last, err := openBooks(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	reg, err := obs.NewRegistry(v)
	if err != nil {
		return nil, err
	}
	tls, err := openCerts(cfg, log)
	if err != nil {
		return nil, err
	}
	birds := newCanaries()
	sinks, err := newFanout(cfg, log, book, reg.Registry, birds)
	if err != nil {
		return nil, err
	}
	hub, live := api.NewHub(cfg.API.Backlog), api.NewLive(cfg.API.Live)
	history, keeper, err := openHistory(cfg, log, historyDeps{book, reg.Registry, birds, live})
	if err != nil {
		return nil, err
	}
	if keeper != nil {
		sinks.add(*keeper)
	}
	former, err := closeFormer(cfg.DataDir, last, book)
	if err != nil {
		return nil, err
	}
	world, err := openWorld(cfg, log)
	if err != nil {
		return nil, err
	}
	var col collector
	var fit nodesHealth
	agg, err := aggregator.New(loopConfig(cfg), aggregator.Deps{
		Stage: book.Stage("correlate"), Logger: log, Live: birds.live(both(hub, live)), Out: birds.out(sinks),
		Pending: pending(cfg, live),
		Health:  func() []correlate.Health { return fit.now(col) },
	})
	if err != nil {
		return nil, err
	}
	col, err = makeCollector(cfg, collect.Deps{Log: log, Book: book, Handler: take{birds, agg.TakeBatch}, ServerTLS: tls.collect, Former: former.Notes})
	if err != nil {
		return nil, err
	}

	g := &daemon.Group{Log: log, StopTimeout: cfg.StopTimeout}
	books := func() api.Books {
		n := birds.Seen()
		return api.Books{Time: time.Now(), Stages: book.Snapshot(), Former: former.Stages, Agents: agentBooks(col), Canaries: &n}
	}
	perMinute := &minutes{ledger.NewMinutes(), books}
	web := &api.Server{
		Listen: cfg.API.Listen, Auth: api.Auth(cfg.API.Auth), MaxClients: cfg.API.Clients, TLS: tls.api,
		Log: log, Hub: hub, Version: v, Books: books, Minutes: perMinute.last, Coverage: func() api.Coverage { return nodeCoverage(col) },
		Canaries: func() canary.View { return birds.view(sinks) }, NotReady: g.NotReady, Changes: world.changes, Nodes: nodes(col), Gather: world.gather(col), Cluster: world.known(), Live: live,
	}
	judge := newVerify(birds, sinks, col)
	web.Verify = judge.list
	serveQueries(web, &cfg.API, tls, history)
	older, err := newLonger(web, cfg, sinks)
	if err := errors.Join(err, identify(web, &cfg.API, world)); err != nil {
		return nil, err
	}
	watch := &obs.Server{
		Config: cfg.Metrics, TLS: tls.metrics, Log: log, Registry: reg, Version: v, NotReady: g.NotReady,
		State: states(book, former, col, agg),
	}
	p := &parts{g, reg, book, birds, &reload{now: cfg, sinks: sinks, longer: older, log: log}}
	world.agents, world.tables = agentStates(col), tableStates(col)
	more := slices.Concat(world.metrics(), judge.metrics(), p.reload.metrics(), watchHistory(watch, history))
	if err := errors.Join(register(p, agg, col, web, tls), reg.Add(more...)); err != nil {
		return nil, err
	}
	g.Add(watch, tls, perMinute, older, web, judge)
	if history != nil {
		g.Add(history)
	}
	g.Add(world.tasks()...)
	g.Add(sinks, p.reload)
	g.Add(agg, col)
	return p, nil
}
