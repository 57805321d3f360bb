package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/kube"
)

// identify gives the API what it needs to tell callers apart.
func identify(web *api.Server, cfg *config.API, w *world) (err error) {
	web.Caller = api.CallerLimits{Queries: cfg.CallerQueries, Streams: cfg.CallerStreams, Rate: float64(cfg.CallerRate), Burst: 3 * cfg.CallerRate}
	if cfg.Listen == "" {
		return nil
	}
	if cfg.TokenFile != "" {
		if web.Tokens, err = api.LoadTokens(cfg.TokenFile); err != nil {
			return err
		}
	}
	if cfg.TokenReview {
		if w.kube == nil {
			return errors.New("api.tokenReview: tokens of Kubernetes need an API server: set cluster.source: kubernetes")
		}
		web.Reviewer = reviewer{w.kube.Access(w.model.Index().Namespaces), web.Log}
	}
	return nil
}

// reviewer makes callers of the holders of Kubernetes' tokens.
type reviewer struct {
	access *kube.Access
	log    *slog.Logger
}

// Review implements api.Reviewer.
func (r reviewer) Review(ctx context.Context, token string) (*api.Caller, error) {
	h, err := r.access.Review(ctx, token)
	if h == nil || err != nil {
		return nil, err
	}
	if h.Unasked > 0 {
		r.log.Warn("a caller's right to some namespaces was not asked about: there are too many; give the right in all of them, or a token in api.tokenFile", "caller", h.Name, "unasked", h.Unasked)
	}
	return &api.Caller{Name: h.Name, All: h.All, Namespaces: h.Namespaces}, nil
}
