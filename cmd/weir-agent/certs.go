package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/weirnet/weir/internal/certs"
	"github.com/weirnet/weir/internal/config"
)

// certificates holds every certificate of the process.
type certificates struct {
	certs.Watch
	send    func(host string) *tls.Config // client side of the transport
	metrics *tls.Config
}

func openCerts(cfg *config.Agent, log *slog.Logger) (*certificates, error) {
	c := &certificates{}
	if cfg.Send.Transport == "tls" {
		s, err := c.Open(certs.Files{CA: cfg.Send.CA, Cert: cfg.Send.Cert, Key: cfg.Send.Key}, log)
		if err != nil {
			return nil, fmt.Errorf("send: %w", err)
		}
		c.send = func(host string) *tls.Config {
			if cfg.Send.ServerName != "" {
				host = cfg.Send.ServerName
			}
			return s.Client(host)
		}
	}
	if cfg.Metrics.Cert != "" {
		s, err := c.Open(certs.Files{Cert: cfg.Metrics.Cert, Key: cfg.Metrics.Key}, log)
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		c.metrics = s.Server()
	}
	return c, nil
}
