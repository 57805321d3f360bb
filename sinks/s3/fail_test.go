package s3_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/s3"
	"github.com/weirnet/weir/sinks/sinktest"
)

// stopper is a proxy before the endpoint that holds one request, or its answer, for ever.
type stopper struct {
	*httptest.Server
	mu   sync.Mutex
	hold func(r *http.Request) (before, after bool)
	held bool
	end  chan struct{}
}

func newStopper(t *testing.T, srv *testenv.S3) *stopper {
	t.Helper()
	to, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := &stopper{end: make(chan struct{})}
	// The name of the host is signed, and so is passed on as it is.
	pass := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = to.Scheme, to.Host, p.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before, after := s.holds(r)
		if before {
			<-s.end
			return
		}
		if after {
			pass.ServeHTTP(httptest.NewRecorder(), r) // done, and nobody hears of it
			s.mu.Lock()
			s.held = true
			s.mu.Unlock()
			<-s.end
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		close(s.end)
		s.Close()
	})
	return s
}

func (s *stopper) holds(r *http.Request) (before, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold == nil {
		return false, false
	}
	before, after = s.hold(r)
	s.held = s.held || before
	return before, after
}

func (s *stopper) holding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

func (s *stopper) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = nil
}

// testKilledUpload: Weir is killed by SIGKILL while an upload is at some point. What can be
// seen then is whole, and in the end each record is there once and no part is left.
func testKilledUpload(t *testing.T, srv *testenv.S3) {
	t.Helper()
	puts := 0
	for name, c := range map[string]struct {
		hold  func(r *http.Request) (before, after bool)
		parts bool // some are left by the kill
	}{
		"in the second part":              {func(r *http.Request) (bool, bool) { return r.URL.Query().Get("partNumber") == "2", false }, true},
		"parts there, not put together":   {func(r *http.Request) (bool, bool) { return r.Method == "POST" && r.URL.Query().Has("uploadId"), false }, true},
		"object there, answer on its way": {func(r *http.Request) (bool, bool) { return false, r.Method == "POST" && r.URL.Query().Has("uploadId") }, false},
		"first object there, second begins": {func(r *http.Request) (bool, bool) {
			return strings.Contains(r.URL.Path, "hour=06") && r.Method != "GET", false
		}, false},
		"all objects there, all but one answered": {func(r *http.Request) (bool, bool) {
			if r.Method == "PUT" && !r.URL.Query().Has("partNumber") {
				puts++
			}
			return false, puts == 3
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := makeBucket(t, srv, "jsonl")
			a.Plain = true // so that objects have parts
			proxy := newStopper(t, srv)
			proxy.hold = c.hold
			a.URL = proxy.URL
			g := target(t, srv, a)
			const total = 40_000
			sinktest.Child(t, g, total, func(_, _ int) bool { return proxy.holding() })
			if !proxy.holding() {
				t.Fatal("nothing was held: the upload was not killed")
			}
			var whole int
			for name, b := range read(t, srv, a.Bucket) {
				whole += len(numbers(t, name, b)) // fails at a line that is cut
			}
			parts := len(unfinished(t, srv, a.Bucket))
			t.Logf("after the kill: %d records can be seen, %d unfinished uploads", whole, parts)
			if (parts > 0) != c.parts {
				t.Errorf("%d unfinished uploads after the kill", parts)
			}
			proxy.free()
			sinktest.Child(t, g, total, nil)
			seen := map[uint64]int{}
			for _, n := range g.Stored(t) {
				seen[n]++
				if seen[n] > 1 {
					t.Fatalf("record %d is there twice", n)
				}
			}
			if len(seen) != total {
				t.Errorf("%d records, want %d", len(seen), total)
			}
		})
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not say %q: %v", p, err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// upload sends a few records now.
func upload(ctx context.Context, s *s3.Sink, from int) error {
	return errors.Join(s.WriteAt(ctx, uint64(from), sinktest.Samples(from, 10)), s.Store(ctx))
}

func testAccess(t *testing.T, srv *testenv.S3) {
	t.Helper()
	a := makeBucket(t, srv, "parquet")
	for name, c := range map[string]struct {
		set  func(*s3.Config)
		want []string
	}{
		"right":          {func(*s3.Config) {}, nil},
		"wrong secret":   {func(c *s3.Config) { write(t, c.SecretKey.File, "wrong") }, []string{"refuses the signature: check the secretKey in "}},
		"unknown key":    {func(c *s3.Config) { write(t, c.AccessKey.File, "NOBODY") }, []string{"does not know the access key: check the accessKey in "}},
		"no secret file": {func(c *s3.Config) { c.SecretKey.File += ".none" }, []string{"secretKeyFile: "}},
		"no bucket":      {func(c *s3.Config) { c.Bucket = "nothing-here" }, []string{`there is no bucket "nothing-here"`}},
		"nobody there":   {func(c *s3.Config) { c.Endpoint = "http://127.0.0.1:1" }, []string{"connection refused"}},
		"TLS to plain":   {func(c *s3.Config) { c.Endpoint = strings.Replace(c.Endpoint, "http:", "https:", 1) }, []string{"server gave HTTP response to HTTPS client"}},
		"deaf":           {func(c *s3.Config) { c.Endpoint, c.Timeout = "http://"+testenv.Deaf(t), time.Second }, []string{"no answer in time", "is it an S3 endpoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := a.config(t)
			c.set(&cfg)
			err := upload(t.Context(), newSink(t, cfg, "spool-"+strings.ReplaceAll(name, " ", "-")), 0)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.want...)
		})
	}
	t.Run("rotated", func(t *testing.T) {
		cfg := a.config(t)
		write(t, cfg.SecretKey.File, "old")
		s := newSink(t, cfg, "rotated")
		wantError(t, upload(t.Context(), s, 0), "check the secretKey in")
		write(t, cfg.SecretKey.File, srv.Secret)
		if err := upload(t.Context(), s, 0); err != nil {
			t.Errorf("with the new secret: %v", err)
		}
	})
}

// TestHalfDead: the endpoint stands still with its connections open, then its certificate
// expires, then it is mended: records wait in the spool, memory stays, errors say what it
// is, and in the end each record is there once.
func TestHalfDead(t *testing.T) {
	srv := testenv.StartS3(t, testenv.S3OverTLS)
	a := makeBucket(t, srv, "parquet")
	cfg := a.config(t)
	cfg.TLS, cfg.Timeout, cfg.MaxRecords, cfg.Interval = remote.TLS{CA: srv.CA.File}, time.Second, 5000, time.Second
	s, err := s3.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := sinktest.StartOutage(t, s)
	o.Offer(t, 10_000)
	o.Drain(t)
	srv.Signal(t, syscall.SIGSTOP)
	o.Offer(t, 40_000)
	o.Says(t, "no answer in time")
	o.Memory(t, 150<<20)
	srv.Signal(t, syscall.SIGCONT)
	o.Drain(t)
	srv.Stop()
	srv.Certificate(t, time.Now().Add(-time.Hour))
	srv.Start(t)
	o.Offer(t, 10_000)
	o.Says(t, "certificate has expired")
	srv.Stop()
	srv.Certificate(t, time.Now().Add(24*time.Hour)) // renewed
	srv.Start(t)
	o.Drain(t)
	o.End(t)
	once(t, srv, a, o.Total)
}

// once checks that each record is there once.
func once(t *testing.T, srv *testenv.S3, a address, total int) {
	t.Helper()
	seen := map[uint64]bool{}
	g := target(t, srv, a)
	list := g.Stored(t)
	for _, n := range list {
		seen[n] = true
	}
	if len(seen) != total || len(list) != total {
		t.Errorf("%d records, %d different ones, want %d", len(list), len(seen), total)
	}
}

// TestFullDisk: the endpoint's disk is full, and later Weir's: an error says so, records
// wait in the spool, and arrive when there is room.
func TestFullDisk(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	mount := func(dir, size string, flags uintptr) {
		t.Helper()
		if err := unix.Mount("weir-test", dir, "tmpfs", flags, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	mount(dir, "12m", 0)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	srv := testenv.StartS3(t, testenv.S3ByGateway, testenv.S3On(dir))
	a := makeBucket(t, srv, "jsonl")
	a.Plain = true // 1.3 kB a record
	cfg := a.config(t)
	cfg.MaxRecords, cfg.Interval = 2000, time.Second
	small := t.TempDir()
	mount(small, "64k", 0)
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	cfg.StateFile = small + "/upload.json"
	s, err := s3.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := sinktest.StartOutage(t, s)
	o.Offer(t, 20_000)
	o.Says(t, "No space left on device")
	if h := o.Held(); h.Records == 0 {
		t.Error("nothing is held while the disk is full")
	}
	mount(dir, "500m", unix.MS_REMOUNT)
	o.Drain(t)
	if err := os.WriteFile(small+"/ballast", make([]byte, 64<<10), 0o600); err == nil {
		t.Fatal("the small file system is not full")
	}
	o.Offer(t, 5000)
	o.Says(t, "state of the uploads")
	if err := os.Remove(small + "/ballast"); err != nil {
		t.Fatal(err)
	}
	o.Drain(t)
	o.End(t)
	once(t, srv, a, o.Total)
}

// TestEndlessAnswer: what an endpoint sends without an end is read to a bound.
func TestEndlessAnswer(t *testing.T) {
	for name, status := range map[string]int{"success": 200, "failure": 400, "busy": 503} {
		t.Run(name, func(t *testing.T) {
			a := address{testenv.FloodHTTP(t, status, "<Error><Code>"), "a", "b", "flows", "parquet", false}
			sinktest.Endless(t, func(ctx context.Context) error {
				s, err := s3.New(a.config(t), nil, nil)
				if err != nil {
					return err
				}
				defer func() { _ = s.Close() }()
				if _, _, err := s.Resume(ctx, "spool"); err != nil {
					return err
				}
				return s.WriteAt(ctx, 0, sinktest.Samples(0, 10))
			})
		})
	}
}
