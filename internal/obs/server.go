// Package obs is how a process is watched: its logger, its registry of metrics and
// the HTTP server of /metrics, /healthz, /livez, /readyz, /version and
// /debug/state.
//
// In: readers of the components' numbers. Out: text and JSON. It keeps no numbers
// of its own and decides nothing. If the server dies, the process ends, because a
// daemon that cannot be watched must not go on unseen.
package obs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weirnet/weir/internal/version"
)

// Config is where the process can be watched.
type Config struct {
	Listen string `json:"listen" flag:"metrics-listen" doc:"address of /metrics, /healthz, /livez, /readyz, /version and /debug/state; empty for none"`
	Pprof  bool   `json:"pprof" flag:"pprof" doc:"serve /debug/pprof/ too"`
	Cert   string `json:"certFile" doc:"certificate of this server; empty for plain HTTP"`
	Key    string `json:"keyFile" doc:"private key of this server"`
}

// Validate checks what can be checked without opening anything.
func (c *Config) Validate() error {
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return fmt.Errorf("listen: %q is no host:port: %w", c.Listen, err)
		}
	}
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("certFile and keyFile go together: set both or none")
	}
	return nil
}

// Server serves the state of a process; it is a daemon.Task.
type Server struct {
	Config   Config
	TLS      *tls.Config // nil for plain HTTP
	Log      *slog.Logger
	Registry *Registry
	Version  version.Info
	NotReady func() []string       // names of the tasks that are not ready
	State    map[string]func() any // what /debug/state shows, as JSON

	addr atomic.Pointer[net.TCPAddr]
}

// String is the task's name.
func (s *Server) String() string { return "metrics server" }

// Ready reports whether the server listens, or has nothing to do.
func (s *Server) Ready() bool { return s.Config.Listen == "" || s.addr.Load() != nil }

// Addr is where the server listens, nil before it does.
func (s *Server) Addr() net.Addr {
	if a := s.addr.Load(); a != nil {
		return a
	}
	return nil
}

// SecureHeaders sets what keeps an answer that is no page from being run, framed, kept or
// read by other pages (OWASP Secure Headers).
func SecureHeaders(h http.Header, overTLS bool) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if overTLS {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// Handler gives the routes.
func (s *Server) Handler() http.Handler {
	mux := s.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SecureHeaders(w.Header(), r.TLS != nil)
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Registry.Registry, promhttp.HandlerOpts{}))
	alive := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if names := s.NotReady(); len(names) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready: "+strings.Join(names, ", "))
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Version) })
	mux.HandleFunc("GET /debug/state", func(w http.ResponseWriter, _ *http.Request) {
		state := map[string]any{"version": s.Version, "not_ready": s.NotReady()}
		for k, f := range s.State {
			state[k] = f()
		}
		writeJSON(w, state)
	})
	if s.Config.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client went away
}

// Run serves until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	if s.Config.Listen == "" {
		<-ctx.Done()
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.Config.Listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w: stop what uses the address, or set another", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		s.addr.Store(a)
	}
	if s.TLS != nil {
		l = tls.NewListener(l, s.TLS)
	}
	s.Log.Info("metrics are served", "address", l.Addr().String(), "tls", s.TLS != nil)
	return ServeHTTP(ctx, l, s.Handler(), s.Log)
}

// ServeHTTP serves h on l with the time limits of a server that strangers reach,
// until ctx is done; then requests have five seconds to end.
func ServeHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with the task
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(sctx); err != nil {
		_ = srv.Close()
	}
	return nil
}
