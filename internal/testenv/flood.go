package testenv

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Flood is the address of a server that answers whoever connects with head, and then with
// bytes without an end.
func Flood(t testing.TB, head []byte, then byte) string {
	t.Helper()
	return accept(t, func(c net.Conn) {
		go func() { _, _ = io.Copy(io.Discard, c) }()
		_, err := c.Write(head)
		for rest := bytes.Repeat([]byte{then}, 64<<10); err == nil; {
			_, err = c.Write(rest)
		}
	})
}

// FloodHTTP is the URL of a server that answers every request with head and then with
// spaces without an end. Where the client takes gzip they come compressed, a thousandth of
// their size.
func FloodHTTP(t testing.TB, status int, head string) string {
	t.Helper()
	spaces := bytes.Repeat([]byte{' '}, 1<<20)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() { _, _ = io.Copy(io.Discard, r.Body) }()
		var out io.Writer = w
		if r.Header.Get("Accept-Encoding") != "" {
			w.Header().Set("Content-Encoding", "gzip")
			out = gzip.NewWriter(w)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.WriteHeader(status)
		_, err := io.WriteString(out, head)
		for err == nil && r.Context().Err() == nil {
			_, err = out.Write(spaces)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}
