// Package certs loads certificates from files and loads them again when the files
// change, for both sides of mutual TLS.
//
// In: paths of PEM files. Out: tls.Configs that always use what was read last. A new
// file that cannot be used is logged and counted, and the old certificate stays in
// use. If the process dies, the next one reads the files again.
package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/internal/limitfile"
)

// Files are the PEM files of one side: its certificate and key, and the CA that
// must have signed the other side's. A server that asks no client for a certificate
// leaves CA empty.
type Files struct{ CA, Cert, Key string }

type loaded struct {
	raw  [3][]byte
	cert *tls.Certificate
	pool *x509.CertPool
}

// Store holds what was read last. It is safe for concurrent use.
type Store struct {
	files Files
	log   *slog.Logger
	cur   atomic.Pointer[loaded]

	Reloads, Failures atomic.Uint64
}

// Open reads the files. The error names the file and what to do.
func Open(files Files, log *slog.Logger) (*Store, error) {
	s := &Store{files: files, log: log}
	l, err := load(files, time.Now())
	if err != nil {
		return nil, err
	}
	s.cur.Store(l)
	return s, nil
}

func load(f Files, now time.Time) (*loaded, error) {
	l := &loaded{}
	for i, p := range []string{f.CA, f.Cert, f.Key} {
		if p == "" {
			continue
		}
		b, err := limitfile.Read(p, 4<<20)
		if err != nil {
			return nil, fmt.Errorf("read certificate file: %w", err)
		}
		l.raw[i] = b
	}
	if f.Cert != "" {
		c, err := tls.X509KeyPair(l.raw[1], l.raw[2])
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w: the two must be PEM and belong together", f.Cert, f.Key, err)
		}
		if c.Leaf != nil && now.After(c.Leaf.NotAfter) {
			return nil, fmt.Errorf("certificate %s expired at %s: renew it", f.Cert, c.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		l.cert = &c
	}
	if f.CA != "" {
		l.pool = x509.NewCertPool()
		if !l.pool.AppendCertsFromPEM(l.raw[0]) {
			return nil, fmt.Errorf("CA file %s holds no PEM certificate", f.CA)
		}
	}
	return l, nil
}

// Run looks at the files every interval until ctx ends.
func (s *Store) Run(ctx context.Context, every time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			s.Check(now)
		}
	}
}

// Check reads the files now and takes them if they changed and are good.
func (s *Store) Check(now time.Time) {
	l, err := load(s.files, now)
	if err != nil {
		s.Failures.Add(1)
		s.log.Warn("certificates not reloaded, the old ones stay in use", "error", err)
		return
	}
	old := s.cur.Load()
	for i := range l.raw {
		if !bytes.Equal(l.raw[i], old.raw[i]) {
			s.cur.Store(l)
			s.Reloads.Add(1)
			s.log.Info("certificates reloaded", "cert", s.files.Cert)
			return
		}
	}
}

var errNoPeerCert = errors.New("the other side showed no certificate")

// Server gives a config that asks clients for a certificate of the CA, if there is one.
func (s *Store) Server() *tls.Config {
	base := &tls.Config{MinVersion: tls.VersionTLS12}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		l := s.cur.Load()
		c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*l.cert}}
		if l.pool != nil {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, l.pool
		}
		return c, nil
	}
	return base
}

// Client gives a config for dialling a server whose certificate must hold that name.
func (s *Store) Client(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: serverName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := s.cur.Load().cert; c != nil {
				return c, nil
			}
			return &tls.Certificate{}, nil
		},
		// The check is VerifyConnection's, so that a reloaded CA counts at once.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection below does all of it
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return errNoPeerCert
			}
			o := x509.VerifyOptions{Roots: s.cur.Load().pool, DNSName: serverName, Intermediates: x509.NewCertPool()}
			for _, c := range cs.PeerCertificates[1:] {
				o.Intermediates.AddCert(c)
			}
			if _, err := cs.PeerCertificates[0].Verify(o); err != nil {
				return fmt.Errorf("certificate of %s is not good by CA file %s: %w", serverName, s.files.CA, err)
			}
			return nil
		},
	}
}
