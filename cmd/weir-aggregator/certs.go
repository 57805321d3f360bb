package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/certs"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
)

// certificates holds every certificate of the process; as a task it reads the files
// again when they change or SIGHUP says so.
type certificates struct {
	stores                []*certs.Store
	collect, api, metrics *tls.Config
}

func openCerts(cfg *config.Aggregator, log *slog.Logger) (*certificates, error) {
	c := &certificates{}
	open := func(key string, f certs.Files, into **tls.Config) error {
		if f.Cert == "" {
			return nil
		}
		s, err := certs.Open(f, log)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		c.stores = append(c.stores, s)
		*into = s.Server()
		return nil
	}
	a, m := &cfg.API, &cfg.Metrics
	err := errors.Join(
		open("collect", certs.Files{CA: cfg.Collect.ClientCA, Cert: cfg.Collect.Cert, Key: cfg.Collect.Key}, &c.collect),
		open("api", certs.Files{CA: a.ClientCA, Cert: a.Cert, Key: a.Key}, &c.api),
		open("metrics", certs.Files{Cert: m.Cert, Key: m.Key}, &c.metrics),
	)
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

func (c *certificates) String() string { return "certificates" }
func (c *certificates) Ready() bool    { return true }

// Run looks at the files every ten seconds and at SIGHUP.
func (c *certificates) Run(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		case <-t.C:
		}
		for _, s := range c.stores {
			s.Check(time.Now())
		}
	}
}

func (c *certificates) metricList() []obs.Metric {
	sum := func(f func(*certs.Store) uint64) func(func(float64, ...string)) {
		return obs.Value(func() (n float64) {
			for _, s := range c.stores {
				n += float64(f(s))
			}
			return n
		})
	}
	return []obs.Metric{
		{Name: "weir_certificate_reloads_total", Help: "Certificates that were read again because a file changed.", Kind: obs.Counter, Read: sum(func(s *certs.Store) uint64 { return s.Reloads.Load() })},
		{Name: "weir_certificate_reload_failures_total", Help: "Changed certificate files that could not be used; the old ones stay in use.", Kind: obs.Counter, Read: sum(func(s *certs.Store) uint64 { return s.Failures.Load() })},
	}
}
