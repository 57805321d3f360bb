// Package api is the aggregator's HTTP API: live flows, the books, the fields.
//
// In: records that the correlator publishes to the Hub, and readers of the books.
// Out: JSON, and streams of JSON lines or server-sent events. It stores nothing
// but the newest records in a ring; history is the store's. If it dies, clients
// reconnect and nothing else notices.
package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/obs"
	"github.com/weirnet/weir/internal/version"
)

// Auth says how clients show who they are.
type Auth string

// The ways.
const (
	AuthNone  Auth = "none"
	AuthToken Auth = "token"
	AuthMTLS  Auth = "mtls"
	AuthAny   Auth = "any"
)

// Books is the answer of /api/v1/ledger.
type Books struct {
	Time   time.Time     `json:"time"`
	Stages []ledger.Line `json:"stages"`           // the aggregator's own
	Former []ledger.Line `json:"former,omitempty"` // of its predecessors with the same data directory, together
	Agents []AgentBooks  `json:"agents,omitempty"` // what the agents told last
}

// AgentBooks are the books of one agent.
type AgentBooks struct {
	Agent    string        `json:"agent"`
	Instance string        `json:"instance"` // changes at each start of the agent
	Time     time.Time     `json:"time"`
	Stages   []ledger.Line `json:"stages"`
}

// Server serves the API; it is a daemon.Task.
type Server struct {
	Listen     string
	Auth       Auth
	Tokens     *Tokens
	TLS        *tls.Config // nil for plain HTTP
	MaxClients int
	Log        *slog.Logger
	Hub        *Hub
	Version    version.Info
	Books      func() Books
	Minutes    func(last int) []ledger.MinuteBook
	Coverage   func() Coverage    // nil for none
	Canaries   func() canary.View // nil for none
	Verify     func() []canary.NodeRuns
	Changes    func(ChangeQuery) Changes
	NotReady   func() []string
	Engine     Engine // nil for none
	Limits     QueryLimits
	Live       *Live  // what the engine reads besides the history; nil for none
	Peers      []Peer // other aggregators of the same agents

	addr    atomic.Pointer[net.TCPAddr]
	clients atomic.Int64
	queries atomic.Int64
	Stats   Stats
}

// Stats are the server's numbers, for /metrics.
type Stats struct {
	Requests, Denied, StreamsRefused atomic.Uint64
	Sent, Skipped                    atomic.Uint64 // records sent to streams; records that streams were too slow for
	Queries, QueriesRefused          atomic.Uint64
	QueriesFailed                    atomic.Uint64 // without an answer, for the query's or the server's sake
	PeersMissing                     atomic.Uint64 // answers that lacked a peer's part
}

// Streams is the number of live streams now.
func (s *Server) Streams() int64 { return s.clients.Load() }

// String is the task's name.
func (s *Server) String() string { return "api" }

// Ready reports whether the server listens, or has nothing to do.
func (s *Server) Ready() bool { return s.Listen == "" || s.addr.Load() != nil }

// Addr is where the server listens, nil before it does.
func (s *Server) Addr() net.Addr {
	if a := s.addr.Load(); a != nil {
		return a
	}
	return nil
}

// Run serves until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	if s.Listen == "" {
		<-ctx.Done()
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("api.listen: %w: stop what uses the address, or set another", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		if s.Auth == AuthNone && !a.IP.IsLoopback() {
			_ = l.Close()
			return fmt.Errorf("api.auth: none is for loopback only and %s is not: set auth: token with tokenFile", a)
		}
		s.addr.Store(a)
	}
	if s.TLS != nil {
		l = tls.NewListener(l, s.TLS)
	}
	s.Log.Info("api is served", "address", l.Addr().String(), "tls", s.TLS != nil, "auth", string(s.Auth))
	return obs.ServeHTTP(ctx, l, s.Handler(), s.Log)
}

// Handler gives the routes behind authentication and security headers.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/flows", s.flows)
	mux.HandleFunc("GET /api/v1/query", s.query)
	mux.HandleFunc("POST /api/v1/query", s.query)
	mux.HandleFunc("GET /api/v1/complete", s.complete)
	mux.HandleFunc("GET /api/v1/ledger", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Books()) })
	mux.HandleFunc("GET /api/v1/ledger/minutes", s.minutes)
	mux.HandleFunc("GET /api/v1/coverage", s.coverage)
	mux.HandleFunc("GET /api/v1/changes", s.changes)
	mux.HandleFunc("GET /api/v1/canaries", s.canaries)
	mux.HandleFunc("GET /api/v1/verify", s.verify)
	mux.HandleFunc("GET /api/v1/fields", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, fields()) })
	mux.HandleFunc("GET /api/v1/version", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Version) })
	mux.HandleFunc("GET /api/v1/health", func(w http.ResponseWriter, _ *http.Request) {
		waiting := s.NotReady()
		code := http.StatusOK
		if len(waiting) > 0 {
			code = http.StatusServiceUnavailable
		}
		reply(w, code, map[string]any{"ready": len(waiting) == 0, "not_ready": waiting, "records": s.Hub.Seq(), "streams": s.Streams()})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Sprintf("nothing at %s: the API is below /api/v1/: flows, query, complete, ledger, ledger/minutes, coverage, canaries, verify, changes, fields, health, version", r.URL.Path))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Stats.Requests.Add(1)
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		// A page of another origin that a person has open must not read flows from
		// an API that listens on loopback without a token (DNS rebinding too).
		if r.Header.Get("Origin") != "" || s.Auth == AuthNone && !loopbackHost(r.Host) {
			s.Stats.Denied.Add(1)
			fail(w, http.StatusForbidden, "requests of other origins are not answered")
			return
		}
		if !s.allowed(r) {
			s.Stats.Denied.Add(1)
			h.Set("WWW-Authenticate", `Bearer realm="weir"`)
			fail(w, http.StatusUnauthorized, "a token or a client certificate is needed: weirctl --token-file FILE, or --cert-file and --key-file")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

const maxMinutes = 1440

// minutes answers with the books of the last minutes (?last=, 60 where it is not given).
func (s *Server) minutes(w http.ResponseWriter, r *http.Request) {
	last := 60
	if q := r.URL.Query().Get("last"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 || n > maxMinutes {
			fail(w, http.StatusBadRequest, fmt.Sprintf("last: %q is no number of minutes between 1 and %d", q, maxMinutes))
			return
		}
		last = n
	}
	books := s.Minutes(last)
	if books == nil {
		books = []ledger.MinuteBook{}
	}
	reply(w, http.StatusOK, books)
}

func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client went away
}

// Failure is the body of an answer that is no success.
type Failure struct {
	Error  string `json:"error"`
	Column int    `json:"column,omitempty"` // of a query, from 1
	Near   string `json:"near,omitempty"`   // the nearest name
}

func fail(w http.ResponseWriter, code int, msg string) { reply(w, code, Failure{Error: msg}) }

// FieldInfo is one row of /api/v1/fields.
type FieldInfo struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Unit   string   `json:"unit,omitempty"`
	Words  []string `json:"words,omitempty"`
	Doc    string   `json:"doc"`
	Absent string   `json:"absent"`
	// Aliases are the other names that queries may use, Units those of its numbers.
	Aliases []string `json:"aliases,omitempty"`
	Units   []string `json:"units,omitempty"`
}

var typeWords = map[flow.Type]string{
	flow.TypeU8: "uint8", flow.TypeU16: "uint16", flow.TypeU32: "uint32", flow.TypeU64: "uint64", flow.TypeI32: "int32", flow.TypeI64: "int64",
	flow.TypeBool: "bool", flow.TypeMillis: "time", flow.TypeString: "string", flow.TypeAddr: "address", flow.TypeUUID: "uuid",
}

func fields() []FieldInfo {
	var out []FieldInfo
	for i, f := range flow.Fields {
		out = append(out, FieldInfo{f.Name, typeWords[f.Type], f.Unit, flow.EnumWords[i], f.Doc, f.Absent, query.AliasesOf(flow.FieldID(i)), query.Units(flow.FieldID(i))})
	}
	return out
}
