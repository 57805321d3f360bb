package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/weirnet/weir/api/flow"
)

// Caller is who asks, and what he may see.
type Caller struct {
	Name string
	// All says that he sees everything. Otherwise he sees connections with an end in
	// Namespaces, and of their other end the namespace and the Service only.
	All        bool
	Namespaces []string
	// Peer says that he is another aggregator, which asks for its own callers: their limits
	// hold there.
	Peer bool
}

// Visible is the caller's part of the flows; nil for all of them.
func (c *Caller) Visible() *flow.Visibility {
	if c.All {
		return nil
	}
	return flow.Confine(c.Namespaces)
}

// Reviewer knows bearer tokens that no file has: Kubernetes'.
type Reviewer interface {
	// Review says whose token it is; nil for a token that is nobody's, or of one who may
	// see nothing. An error says that it could not be found out.
	Review(ctx context.Context, token string) (*Caller, error)
}

type callerKey struct{}

// callerOf gives who asks. A request without one, which Handler never lets through,
// sees nothing.
func callerOf(r *http.Request) *Caller {
	if c, ok := r.Context().Value(callerKey{}).(*Caller); ok {
		return c
	}
	return &Caller{}
}

// errNobody is of a request that shows no right to be answered.
var errNobody = errors.New("a token or a client certificate is needed: weirctl --token-file FILE, or --cert-file and --key-file")

// authenticate finds out who asks.
func (s *Server) authenticate(r *http.Request) (*Caller, error) {
	if s.Auth == AuthNone {
		return &Caller{Name: "local", All: true}, nil
	}
	if (s.Auth == AuthMTLS || s.Auth == AuthAny) && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return &Caller{Name: r.TLS.VerifiedChains[0][0].Subject.CommonName, All: true, Peer: forPeer(r) && s.peer(r, "")}, nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" || s.Auth != AuthToken && s.Auth != AuthAny {
		return nil, errNobody
	}
	if s.Tokens != nil {
		if c := s.Tokens.caller(token); c != nil {
			c.Peer = c.All && forPeer(r) && s.peer(r, token)
			return c, nil
		}
	}
	if s.Reviewer == nil {
		return nil, errNobody
	}
	c, err := s.Reviewer.Review(r.Context(), token)
	if err != nil {
		return nil, fmt.Errorf("the API server was asked whose token this is and did not answer: %w", err)
	}
	if c == nil {
		return nil, errNobody
	}
	return c, nil
}

// peer reports whether one who sees everything is another aggregator: by the token that
// this one shows to those, or by a certificate for one of the hosts in api.peers.
func (s *Server) peer(r *http.Request, token string) bool {
	for i := range s.Peers {
		p := &s.Peers[i]
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			host, _, err := net.SplitHostPort(p.Name)
			if err == nil && r.TLS.VerifiedChains[0][0].VerifyHostname(host) == nil {
				return true
			}
		}
		if token == "" || p.Token == nil {
			continue
		}
		own, err := p.Token()
		a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(own))
		if err == nil && subtle.ConstantTimeCompare(a[:], b[:]) == 1 {
			return true
		}
	}
	return false
}

// forPeer reports whether a request asks for a part of an answer for another aggregator.
func forPeer(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "application/vnd.weir.part+")
}

// CallerLimits bound what one caller may do; a token of the file, a user of the
// cluster and a certificate's name are a caller each.
type CallerLimits struct {
	Queries int     // at once
	Streams int     // at once
	Rate    float64 // requests a second, on average
	Burst   int     // requests at once, beyond that
}

// DefaultCallerLimits suit a person with two pages open.
func DefaultCallerLimits() CallerLimits {
	return CallerLimits{Queries: 4, Streams: 20, Rate: 20, Burst: 60}
}

// maxCallers is how many callers are kept apart. One who did nothing lately makes room.
const maxCallers = 4096

// usage is what each caller does now.
type usage struct {
	mu sync.Mutex
	by map[string]*used
}

type used struct {
	rate             *rate.Limiter
	queries, streams atomic.Int64
	last             time.Time
}

// of finds a caller's; nil where there are too many callers, all of them busy.
func (u *usage) of(name string, l CallerLimits, now time.Time) *used {
	u.mu.Lock()
	defer u.mu.Unlock()
	if x := u.by[name]; x != nil {
		x.last = now
		return x
	}
	if u.by == nil {
		u.by = map[string]*used{}
	}
	if len(u.by) >= maxCallers {
		for n, x := range u.by {
			if now.Sub(x.last) > time.Minute && x.queries.Load() == 0 && x.streams.Load() == 0 {
				delete(u.by, n)
			}
		}
		if len(u.by) >= maxCallers {
			return nil
		}
	}
	x := &used{rate: rate.NewLimiter(rate.Limit(l.Rate), l.Burst), last: now}
	u.by[name] = x
	return x
}

// pace refuses a request of a caller who asks too often.
func (s *Server) pace(w http.ResponseWriter, c *Caller) bool {
	if c.Peer {
		return true
	}
	now := time.Now()
	u := s.usage.of(c.Name, s.Caller, now)
	if u != nil && u.rate.AllowN(now, 1) {
		return true
	}
	s.Stats.Paced.Add(1)
	w.Header().Set("Retry-After", "1")
	fail(w, http.StatusTooManyRequests, fmt.Sprintf("more than %g requests a second of %s: wait a second, or raise api.callerRate", s.Caller.Rate, c.Name))
	return false
}

// take counts one more of n while there are fewer than limit.
func take(n *atomic.Int64, limit int) bool {
	if n.Add(1) > int64(limit) {
		n.Add(-1)
		return false
	}
	return true
}
