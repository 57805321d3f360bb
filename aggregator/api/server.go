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
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/aggregator/why"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/dashboards/web"
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
	// Canaries is how many of the connections that came in since the start are the
	// probe's; nil where that is not known.
	Canaries *uint64 `json:"canaries,omitempty"`
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
	Reviewer   Reviewer     // of bearer tokens that Tokens do not know; nil for none
	Caller     CallerLimits // of each caller; zero for the default
	TLS        *tls.Config  // nil for plain HTTP
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
	Nodes      func() []findings.Node                                     // as they are now; nil for none
	Gather     func(f *why.Facts, src, dst End, visible *flow.Visibility) // adds what is known besides flows; nil for none
	Cluster    Cluster                                                    // nil for none
	Engine     Engine                                                     // nil for none
	Limits     QueryLimits
	OwnBegins  func() int64 // when the engine's history begins, ms since the epoch, 0 while it is empty; nil for none
	Live       *Live        // what the engine and the long history read besides; nil for none
	Peers      []Peer       // other aggregators of the same agents

	addr    atomic.Pointer[net.TCPAddr]
	clients atomic.Int64
	queries atomic.Int64
	exports atomic.Int64 // long answers that are being sent
	parts   atomic.Int64 // queries that other aggregators ask
	partsOf atomic.Int64 // long answers that are being sent to other aggregators
	usage   usage
	briefs  briefs

	aliveEvery time.Duration        // for tests; zero for the constant
	long       atomic.Pointer[Long] // what is older than the engine's history; see SetLong
	longBegins begins
	Stats      Stats
}

// Stats are the server's numbers, for /metrics.
type Stats struct {
	Requests, Denied, StreamsRefused atomic.Uint64
	Sent, Skipped                    atomic.Uint64 // records sent to streams; records that streams were too slow for
	Queries, QueriesRefused          atomic.Uint64
	QueriesFailed                    atomic.Uint64 // without an answer, for the query's or the server's sake
	PeersMissing                     atomic.Uint64 // answers that lacked a peer's part
	Exports, ExportedRows            atomic.Uint64 // lists that were sent as they were found; and their rows
	LongQueries, LongFailures        atomic.Uint64 // queries that the long history answered; and failed to answer
	Paced                            atomic.Uint64 // requests refused because their caller asks too often
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
	if s.Caller == (CallerLimits{}) {
		s.Caller = DefaultCallerLimits()
	}
	mux := http.NewServeMux()
	var paths []string
	methods := map[string][]string{}
	for _, x := range s.routes() {
		h := x.checked()
		if x.whole {
			h = wholeCluster(h)
		}
		mux.HandleFunc(x.method+" "+prefix+x.path, h)
		methods[prefix+x.path] = append(methods[prefix+x.path], x.method)
		if !slices.Contains(paths, x.path) {
			paths = append(paths, x.path)
		}
	}
	page, err := web.Handler()
	if err != nil { // the build that is embedded is not whole, which web's tests tell
		page = http.NotFoundHandler()
		s.Log.Error("the page is not served", "error", err)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if m := methods[r.URL.Path]; m != nil {
			w.Header().Set("Allow", strings.Join(m, ", "))
			fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s, not %s", r.URL.Path, strings.Join(m, " and "), r.Method))
			return
		}
		fail(w, http.StatusNotFound, fmt.Sprintf("nothing at %s %s: the API is below %s: %s", r.Method, r.URL.Path, prefix, strings.Join(paths, ", ")))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Stats.Requests.Add(1)
		h := w.Header()
		obs.SecureHeaders(h, r.TLS != nil)
		// A page of another origin that a person has open must not read flows from
		// an API that listens on loopback without a token (DNS rebinding too).
		if !sameOrigin(r) || s.Auth == AuthNone && !loopbackHost(r.Host) {
			s.Stats.Denied.Add(1)
			fail(w, http.StatusForbidden, "requests of other origins are not answered")
			return
		}
		if !strings.HasPrefix(r.URL.Path, "/api/") { // the page's files tell nothing: no token is asked for
			page.ServeHTTP(w, r)
			return
		}
		c, err := s.authenticate(r)
		if err != nil {
			s.Stats.Denied.Add(1)
			code := http.StatusServiceUnavailable
			if errors.Is(err, errNobody) {
				h.Set("WWW-Authenticate", `Bearer realm="weir"`)
				code = http.StatusUnauthorized
			}
			fail(w, code, err.Error())
			return
		}
		if s.pace(w, c) {
			mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
		}
	})
}

// prefix is where the API begins.
const prefix = "/api/v1/"

// route is one operation of the API.
type route struct {
	method, path string
	whole        bool   // for callers who see the whole cluster
	params       string // that may be given: once, with a star several times, with a minus not told
	handle       http.HandlerFunc
}

// routes are all operations; openapi.json describes each.
func (s *Server) routes() []route {
	return []route{
		{"GET", "flows", false, "query where* last since follow", s.flows},
		{"GET", "query", false, askedParams, s.query},
		{"POST", "query", false, askedParams, s.query},
		{"GET", "complete", false, "text cursor since until", s.complete},
		{"GET", "findings", false, "since until summary", s.findings},
		{"GET", "map", false, "q level compare since until summary", s.topology},
		{"GET", "why", false, "src dst port conn since until", s.why},
		{"GET", "differences", false, "q from to against since until", s.differences},
		{"POST", "simulate", false, "q since until namespace remove*", s.simulate},
		{"GET", "changes", false, "since until kind* ns* limit", s.changes},
		{"GET", "ledger", true, "", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Books()) }},
		{"GET", "ledger/minutes", true, "last", s.minutes},
		{"GET", "coverage", true, "", s.coverage},
		{"GET", "canaries", true, "", s.canaries},
		{"GET", "verify", true, "", s.verify},
		{"GET", "fields", false, "", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, fields()) }},
		{"GET", "version", false, "", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Version) }},
		{"GET", "health", false, "", s.health},
		{"GET", "openapi.json", false, "", openapi},
	}
}

// checked refuses parameters that the operation does not have, and those given twice.
func (x *route) checked() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := url.ParseQuery(r.URL.RawQuery)
		if err == nil {
			err = known(v, x.params)
		}
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		x.handle(w, r)
	}
}

// known refuses parameters that are not in the list, and those given twice.
func known(v url.Values, params string) error {
	var told []string
	for p := range strings.FieldsSeq(params) {
		name, often := strings.CutSuffix(p, "*")
		name, quiet := strings.CutPrefix(name, "-")
		if !quiet {
			told = append(told, name)
		}
		if n := len(v[name]); n > 1 && !often {
			return fmt.Errorf("%s: it is given %d times: give it once", name, n)
		}
		delete(v, name)
	}
	rest := slices.Sorted(maps.Keys(v))
	switch {
	case len(rest) == 0:
		return nil
	case len(told) == 0:
		return fmt.Errorf("unknown parameter %q: there are none here", rest[0])
	default:
		return fmt.Errorf("unknown parameter %q: use %s", rest[0], strings.Join(told, ", "))
	}
}

// wholeCluster keeps what tells of all namespaces from callers who see some.
func wholeCluster(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if c := callerOf(r); !c.All {
			fail(w, http.StatusForbidden, fmt.Sprintf("%s tells of the whole cluster and %s sees some namespaces only: use a token without namespaces=, or one with get on flows.weir.dev in all namespaces", r.URL.Path, c.Name))
			return
		}
		h(w, r)
	}
}

// Health is the answer of /api/v1/health.
type Health struct {
	Ready    bool     `json:"ready"`
	NotReady []string `json:"not_ready"`
	// Records were published since the start, Streams are open: for those who see the
	// whole cluster.
	Records *uint64 `json:"records,omitempty"`
	Streams *int64  `json:"streams,omitempty"`
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	waiting := s.NotReady()
	x := Health{Ready: len(waiting) == 0, NotReady: waiting}
	if waiting == nil {
		x.NotReady = []string{}
	}
	if callerOf(r).All {
		n, streams := s.Hub.Seq(), s.Streams()
		x.Records, x.Streams = &n, &streams
	}
	code := http.StatusOK
	if !x.Ready {
		code = http.StatusServiceUnavailable
	}
	reply(w, code, x)
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

// sameOrigin reports whether a request comes from this server's own page, or from no
// page: browsers name the origin of what a page of another origin asks (Fetch, 3.2).
func sameOrigin(r *http.Request) bool {
	o := r.Header.Get("Origin")
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return o == "" || o == scheme+r.Host
}

func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func reply(w http.ResponseWriter, code int, v any) { replyAs(w, jsonMedia, code, v) }

func replyAs(w http.ResponseWriter, media string, code int, v any) {
	w.Header().Set("Content-Type", media)
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
