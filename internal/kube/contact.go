package kube

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
)

// contact watches the API server's connection: which resources have an open watch.
// An informer tells of failed lists, but not of a watch that has come back, so the
// requests themselves are observed.
type contact struct {
	mu      sync.Mutex
	open    map[string]int
	changed func(open int, err error) // called with mu held by nobody
}

// wrap observes the requests that go through rt.
func (c *contact) wrap(rt http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := rt.RoundTrip(req)
		if req.Method != http.MethodGet {
			return resp, err
		}
		resource := path.Base(req.URL.Path)
		switch {
		case err != nil:
			if req.Context().Err() == nil {
				c.failed(fmt.Errorf("%s: %w", resource, err))
			}
		case resp.StatusCode >= 400 && resp.StatusCode != http.StatusGone:
			c.failed(fmt.Errorf("%s: the API server says %s", resource, resp.Status))
		case isWatch(req):
			c.add(resource, 1)
			resp.Body = &watchBody{ReadCloser: resp.Body, c: c, resource: resource}
		}
		return resp, err
	})
}

func isWatch(req *http.Request) bool {
	w := req.URL.Query().Get("watch")
	return w == "1" || w == "true"
}

func (c *contact) failed(err error) { c.changed(c.count(), err) }

// count is the number of resources with an open watch.
func (c *contact) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, k := range c.open {
		if k > 0 {
			n++
		}
	}
	return n
}

func (c *contact) add(resource string, d int) {
	c.mu.Lock()
	if c.open == nil {
		c.open = map[string]int{}
	}
	c.open[resource] += d
	c.mu.Unlock()
	c.changed(c.count(), nil)
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// watchBody is the stream of one watch; its end is the watch's end.
type watchBody struct {
	io.ReadCloser
	c        *contact
	resource string
	ended    atomic.Bool
}

func (w *watchBody) end() {
	if w.ended.CompareAndSwap(false, true) {
		w.c.add(w.resource, -1)
	}
}

// Read implements io.Reader.
func (w *watchBody) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil {
		w.end()
	}
	return n, err
}

// Close implements io.Closer.
func (w *watchBody) Close() error {
	w.end()
	return w.ReadCloser.Close()
}
