package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/weirnet/weir/internal/certs"
	"github.com/weirnet/weir/internal/config"
)

// certificates holds every certificate of the process.
type certificates struct {
	certs.Watch
	collect, api, metrics *tls.Config
	peers                 func(host string) *tls.Config // nil for plain HTTP
}

func openCerts(cfg *config.Aggregator, log *slog.Logger) (*certificates, error) {
	c := &certificates{}
	open := func(key string, f certs.Files, into **tls.Config) error {
		if f.Cert == "" {
			return nil
		}
		s, err := c.Open(f, log)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		*into = s.Server()
		return nil
	}
	a, m := &cfg.API, &cfg.Metrics
	err := errors.Join(
		open("collect", certs.Files{CA: cfg.Collect.ClientCA, Cert: cfg.Collect.Cert, Key: cfg.Collect.Key}, &c.collect),
		open("api", certs.Files{CA: a.ClientCA, Cert: a.Cert, Key: a.Key}, &c.api),
		open("metrics", certs.Files{Cert: m.Cert, Key: m.Key}, &c.metrics),
	)
	if len(a.Peers) > 0 && a.PeerCA != "" {
		s, e := c.Open(certs.Files{CA: a.PeerCA, Cert: a.Cert, Key: a.Key}, log)
		if err = errors.Join(err, e); e == nil {
			c.peers = s.Client
		}
	}
	if c.api != nil && a.Auth == "any" { // a client without a certificate may have a token
		inner := c.api.GetConfigForClient
		c.api.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			t, err := inner(h)
			if err == nil && t.ClientAuth == tls.RequireAndVerifyClientCert {
				t.ClientAuth = tls.VerifyClientCertIfGiven
			}
			return t, err
		}
	}
	return c, err
}
