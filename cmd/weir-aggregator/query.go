package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/engine"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/config"
)

// answers is the API's Engine: the history, and what the correlator has not told yet.
type answers struct {
	history *store.Store
	live    *api.Live
	limits  query.Limits
}

// Answer implements api.Engine.
func (e *answers) Answer(ctx context.Context, a *query.Answer) error {
	req := e.request(a)
	var sc store.Scanned
	var err error
	add := func(r *flow.Record) error { return a.Add(0, r) }
	switch t := a.Table(); {
	case t != nil:
		var own *query.Table
		if own, sc, err = engine.Stats(ctx, e.history, req); err == nil {
			err = t.Merge(own)
		}
	case a.Streams():
		sc, err = engine.Stream(ctx, e.history, req, a.Shown(), add)
	default:
		_, sc, err = engine.List(ctx, e.history, req, a.Wanted(), add)
	}
	return told(a, sc, err)
}

// Facets implements api.Faceter.
func (e *answers) Facets(ctx context.Context, list []*query.Answer) error {
	a := list[0]
	stages := make([]*query.Stats, 0, len(list))
	for _, x := range list {
		stages = append(stages, x.Query.Stats())
	}
	tables, sc, err := engine.Facets(ctx, e.history, e.request(a), stages)
	for i := 0; i < len(tables) && err == nil; i++ {
		err = list[i].Table().Merge(tables[i])
	}
	return told(a, sc, err)
}

func (e *answers) request(a *query.Answer) *engine.Request {
	return &engine.Request{
		Query: a.Query, Since: a.Since, Until: a.Until, Live: e.live.Records, Visible: a.Visible,
		MaxGroups: e.limits.Groups, MaxConns: e.limits.Fold,
	}
}

// told notes in an answer what it cost, and what it lacks.
func told(a *query.Answer, sc store.Scanned, err error) error {
	a.Scanned.Add(query.Scanned{
		Rows: sc.Rows, Segments: uint64(sc.Segments), Rollups: uint64(sc.Rollups), Bytes: sc.Bytes,
	})
	if a.Visible != nil { // what else there is, and is lacking, is not his to know
		if errors.Is(err, store.ErrMemory) {
			return store.ErrMemory
		}
		return err
	}
	if sc.Damaged > 0 {
		a.Note(fmt.Sprintf("%d segments of the history are damaged and were left out", sc.Damaged))
	}
	if sc.Short && sc.Oldest > 0 {
		a.Note("the history begins at " + query.FormatTime(sc.Oldest))
	}
	return err
}

// both gives the newest records to live streams, and to queries those that were told.
func both(hub *api.Hub, live *api.Live) func([]flow.Record) {
	return func(recs []flow.Record) {
		hub.Publish(recs)
		live.Told(recs, time.Now())
	}
}

// pending gives queries what is not told yet; nil where there is no history to ask, and no
// sink that could become one.
func pending(cfg *config.Aggregator, live *api.Live) func([]flow.Record) {
	if !cfg.History.Enabled && cfg.LongHistory() == nil {
		return nil
	}
	return func(recs []flow.Record) { live.Publish(recs, time.Now()) }
}

// serveQueries gives the API its engine and its peers.
func serveQueries(web *api.Server, cfg *config.API, tls *certificates, history *store.Store) {
	web.Limits = api.DefaultQueryLimits()
	web.Limits.AtOnce, web.Limits.Timeout = cfg.Queries, cfg.QueryTimeout
	web.Limits.Exports, web.Limits.Export = cfg.Exports, cfg.ExportTimeout
	if history != nil {
		web.Engine, web.OwnBegins = &answers{history, web.Live, web.Limits.Answer}, history.Begins
	}
	for _, p := range cfg.Peers {
		transport := &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second}
		peer := api.Peer{Name: p, URL: "http://" + p, Client: &http.Client{Transport: transport}}
		if tls.peers != nil {
			host, _, err := net.SplitHostPort(p)
			if err != nil {
				host = p
			}
			transport.TLSClientConfig, peer.URL = tls.peers(host), "https://"+p
		}
		if cfg.PeerTokenFile != "" {
			peer.Token = func() (string, error) { return readToken(cfg.PeerTokenFile) }
		}
		web.Peers = append(web.Peers, peer)
	}
}

// readToken gives the first token of a file.
func readToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read api.peerTokenFile: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line, nil
		}
	}
	return "", fmt.Errorf("read api.peerTokenFile: %s holds no token", path)
}
