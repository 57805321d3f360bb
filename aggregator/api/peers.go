package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirnet/weir/api/query"
)

// Peer is another aggregator of the same agents. Agents spread connections over all
// aggregators evenly by a hash, both ends of one to the same.
type Peer struct {
	Name   string // for people: HOST:PORT
	URL    string // https://HOST:PORT
	Token  func() (string, error)
	Client *http.Client
	// Patience is how long it may work without a sign of life; zero for 5 s.
	Patience time.Duration
}

// maxPart is the largest part that is read of a peer.
const maxPart = 256 << 20

// ask fans a query out over this aggregator and its peers and merges what comes. A peer
// that fails is missing and named; this one's own failure is the query's.
func (s *Server) ask(ctx context.Context, a *query.Answer) ([]query.Missing, error) {
	if a.Streams() {
		return s.merge(ctx, a)
	}
	parts := make([]*query.Part, len(s.Peers))
	errs := make([]error, len(s.Peers))
	var wg sync.WaitGroup
	early, cancel := before(ctx)
	defer cancel()
	for i := range s.Peers {
		wg.Go(func() { parts[i], errs[i] = s.Peers[i].part(early, a) })
	}
	err := s.own(ctx, a)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	var missing []query.Missing
	for i, p := range parts {
		if errs[i] == nil {
			if err := a.Merge(p); err != nil {
				return nil, fmt.Errorf("merge what %s answers: %w", s.Peers[i].Name, err)
			}
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		missing = append(missing, s.missing(&s.Peers[i], errs[i]))
	}
	return missing, nil
}

// before leaves a quarter of the time for the rest of an answer, so that a peer that takes
// too long is missing from it and not its end.
func before(ctx context.Context) (context.Context, context.CancelFunc) {
	until, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, until.Add(-time.Until(until)/4), errPeerLate)
}

var errPeerLate = errors.New("it gave no answer in the time there was: take a shorter range or a narrower condition, or raise api.queryTimeout")

// missing names a peer that failed.
func (s *Server) missing(p *Peer, err error) query.Missing {
	s.Stats.PeersMissing.Add(1)
	share := 1 / float64(len(s.Peers)+1)
	return query.Missing{Name: p.Name, Error: err.Error(), Share: &share}
}

// part asks a peer for its part of an answer, or with live for records besides.
func (p *Peer) part(ctx context.Context, a *query.Answer, more ...string) (*query.Part, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := p.watch(ctx, cancel)
	defer stop()
	res, err := p.ask(ctx, a, partMedia, more...)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	defer res.Body.Close()
	part := &query.Part{}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxPart)).Decode(part); err != nil {
		return nil, orCause(ctx, fmt.Errorf("read its answer: %w", err))
	}
	return part, nil
}

const (
	// defaultPatience is how long a peer may work on a query before it is asked for a sign of life.
	defaultPatience = 5 * time.Second
	// signWithin is how long it has to give it.
	signWithin = 3 * time.Second
)

// watch tells a peer that works from one that hangs: every so often it asks for the
// version, which takes no time, and ends the wait where nothing comes.
func (p *Peer) watch(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	after := cmp.Or(p.Patience, defaultPatience)
	var t *time.Timer
	t = time.AfterFunc(after, func() {
		if err := p.sign(ctx); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("it answers neither the query within %v nor what asks for its version (%w): is it hung, or cut off from here?", after, err))
			return
		}
		if ctx.Err() == nil {
			t.Reset(after)
		}
	})
	return func() { t.Stop() }
}

// sign asks for any answer.
func (p *Peer) sign(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signWithin)
	defer cancel()
	req, err := p.request(ctx, http.MethodGet, "version", nil)
	if err != nil {
		return err
	}
	res, err := p.Client.Do(req)
	if err != nil {
		return p.explain(err)
	}
	return res.Body.Close()
}

// ask asks a peer for its part in one of the forms of parts, with more parameters, KEY=VALUE
// or KEY for true; the caller closes the body.
func (p *Peer) ask(ctx context.Context, a *query.Answer, media string, more ...string) (*http.Response, error) {
	form := url.Values{
		"q": {query.Format(a.Query)}, "part": {"true"},
		"since": {strconv.FormatInt(a.Since, 10)}, "until": {strconv.FormatInt(a.Until, 10)},
	}
	for _, m := range more {
		k, v, ok := strings.Cut(m, "=")
		if !ok {
			v = "true"
		}
		form.Add(k, v)
	}
	if a.Streams() {
		form.Set("limit", strconv.Itoa(a.StreamLimit()))
	}
	if a.Visible != nil {
		if form["visible"] = a.Visible.Namespaces(); len(form["visible"]) == 0 {
			form.Set("visible", "") // sees nothing, which is not everything
		}
	}
	req, err := p.request(ctx, http.MethodPost, "query", bytes.NewBufferString(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", media)
	res, err := p.Client.Do(req)
	if err != nil {
		return nil, p.explain(err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return nil, p.refused(res)
	}
	return res, nil
}

// request makes a request that shows who asks.
func (p *Peer) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.URL+prefix+path, body)
	if err != nil || p.Token == nil {
		return req, err
	}
	token, err := p.Token()
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req, nil
}

// refused says what is to be done about an answer that is none.
func (p *Peer) refused(res *http.Response) error {
	var f Failure
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&f); err != nil || f.Error == "" {
		f.Error = res.Status
	}
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return errors.New("it does not know this aggregator: put the token of api.peerTokenFile into its api.tokenFile, or let its api.clientCAFile be one that signed this one's certificate (auth: mtls or any)")
	case http.StatusForbidden:
		return fmt.Errorf("it says: %s: the token of api.peerTokenFile must see all namespaces there", f.Error)
	}
	return fmt.Errorf("it says: %s", f.Error)
}

// explain adds the remedy to what commonly goes wrong between aggregators.
func (p *Peer) explain(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var op *net.OpError
	alert, refused := errors.AsType[tls.AlertError](err)
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: name the CA that signed its certificate in api.peerCAFile", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: renew its certificate (api.certFile there)", err)
	case errors.As(err, &host):
		return fmt.Errorf("%w: its certificate must name the host that api.peers gives for it", err)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("it speaks plain HTTP: set api.certFile and api.keyFile there, or leave out api.peerCAFile here")
	case refused, errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("it refuses this aggregator's certificate (%w): api.certFile here must be valid and signed by a CA of api.clientCAFile there", cmp.Or(error(alert), err))
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%w: is weir-aggregator running there, and may this one reach it?", err)
	case strings.Contains(err.Error(), "TLS handshake timeout"):
		return fmt.Errorf("it takes the connection and says nothing (%w): is it hung?", err)
	}
	return err
}
