package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/weirnet/weir/api/query"
)

// Peer is another aggregator of the same agents. Agents spread connections over all
// aggregators evenly by a hash, both ends of one to the same.
type Peer struct {
	Name   string // for people: HOST:PORT
	URL    string // https://HOST:PORT
	Token  func() (string, error)
	Client *http.Client
}

// maxPart is the largest part that is read of a peer.
const maxPart = 256 << 20

// ask fans a query out over this aggregator and its peers and merges what comes. A peer
// that fails is missing and named; this one's own failure is the query's.
func (s *Server) ask(ctx context.Context, a *query.Answer) ([]query.Missing, error) {
	parts := make([]*query.Part, len(s.Peers))
	errs := make([]error, len(s.Peers))
	var wg sync.WaitGroup
	for i := range s.Peers {
		wg.Go(func() { parts[i], errs[i] = s.Peers[i].part(ctx, a) })
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
		s.Stats.PeersMissing.Add(1)
		share := 1 / float64(len(s.Peers)+1)
		missing = append(missing, query.Missing{Name: s.Peers[i].Name, Error: errs[i].Error(), Share: &share})
	}
	return missing, nil
}

// part asks a peer for its part of an answer.
func (p *Peer) part(ctx context.Context, a *query.Answer) (*query.Part, error) {
	form := url.Values{
		"q": {query.Format(a.Query)}, "part": {"true"},
		"since": {strconv.FormatInt(a.Since, 10)}, "until": {strconv.FormatInt(a.Until, 10)},
	}
	if a.Visible != nil {
		if form["visible"] = a.Visible.Namespaces(); len(form["visible"]) == 0 {
			form.Set("visible", "") // sees nothing, which is not everything
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/api/v1/query", bytes.NewBufferString(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.Token != nil {
		token, err := p.Token()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := p.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body := io.LimitReader(res.Body, maxPart)
	if res.StatusCode != http.StatusOK {
		var f Failure
		if err := json.NewDecoder(io.LimitReader(body, 1<<16)).Decode(&f); err != nil || f.Error == "" {
			f.Error = res.Status
		}
		return nil, fmt.Errorf("it says: %s", f.Error)
	}
	part := &query.Part{}
	if err := json.NewDecoder(body).Decode(part); err != nil {
		return nil, fmt.Errorf("read its answer: %w", err)
	}
	return part, nil
}
