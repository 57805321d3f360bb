package elastic

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
)

// client speaks to the hosts of one cluster. The transport is go-elasticsearch's own, which
// keeps the pool of hosts; the checks of the client above it would refuse OpenSearch.
// It is not safe for concurrent use.
type client struct {
	cfg   *Config
	plain *http.Transport // under it
	pool  *elastictransport.Client
	tls   string // what tells whether the files of certificates have changed
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// answer is what a host said, whatever its status.
type answer struct {
	status  int
	product string // header X-Elastic-Product
	body    []byte
	host    string
	unsure  bool // a host that gave no answer before may have done what was asked
}

// statusError is an answer that is no success.
type statusError struct {
	status int
	host   string
	typ    string // error.type, where there is one
	reason string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d %s: %s", e.host, e.status, e.typ, e.reason)
}

// unsureError is the end of a request that a host may have carried out.
type unsureError struct{ err error }

func (e unsureError) Error() string { return e.err.Error() }
func (e unsureError) Unwrap() error { return e.err }

// open makes the transport, anew where certificates have changed.
func (c *client) open() error {
	tc, sum, err := c.certificates()
	if err != nil {
		return err
	}
	if c.pool != nil && sum == c.tls {
		return nil
	}
	c.close()
	c.plain = &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialContext:     (&net.Dialer{Timeout: c.cfg.DialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig: tc, TLSHandshakeTimeout: c.cfg.DialTimeout, ResponseHeaderTimeout: c.cfg.RequestTimeout,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	urls := make([]*url.URL, 0, len(c.cfg.Hosts))
	for _, h := range c.cfg.Hosts {
		u, err := url.Parse(h)
		if err != nil {
			return err
		}
		urls = append(urls, u)
	}
	// No retries beneath: whether a request may have been carried out has to be known here.
	c.pool, err = elastictransport.NewClient(
		elastictransport.WithUserAgent("weir/"+c.cfg.Version), elastictransport.WithURLs(urls...),
		elastictransport.WithDisableRetry(), elastictransport.WithTransport(c.plain),
	)
	c.tls = sum
	return err
}

func (c *client) close() {
	if c.plain != nil {
		c.plain.CloseIdleConnections()
	}
	c.pool = nil
}

// certificates reads the files, and gives what tells two readings apart.
func (c *client) certificates() (*tls.Config, string, error) {
	tc, err := c.cfg.tls().Config()
	if err != nil {
		return nil, "", err
	}
	sum := ""
	if len(tc.Certificates) > 0 {
		sum = string(bytes.Join(tc.Certificates[0].Certificate, nil))
	}
	if tc.RootCAs != nil {
		sum += string(bytes.Join(tc.RootCAs.Subjects(), nil)) //nolint:staticcheck // of a pool that was read from a file
	}
	return tc, sum, nil
}

// authorization gives the header, with what the reference holds now.
func (c *client) authorization() (string, error) {
	if c.cfg.apiKey().Given() {
		key, err := c.cfg.apiKey().Read()
		return "ApiKey " + strings.TrimSpace(key), err
	}
	if c.cfg.Username == "" {
		return "", nil
	}
	pass, err := c.cfg.password().Read()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.cfg.Username+":"+pass)), err
}

// request is what is asked of any host.
type request struct {
	method, path string // with its query
	body         []byte
	gzip         bool
	lines        bool // the body is newline-delimited JSON
}

// do asks one host after another until one answers. The error of a request that a host may
// have carried out is an unsureError.
func (c *client) do(ctx context.Context, r request) (answer, error) {
	if err := c.open(); err != nil {
		return answer{}, err
	}
	auth, err := c.authorization()
	if err != nil {
		return answer{}, err
	}
	var errs []error
	unsure := false
	for range c.cfg.Hosts {
		a, err := c.ask(ctx, r, auth)
		if err == nil && a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
			a.unsure = unsure
			return a, nil
		}
		if err == nil {
			err = failure(a)
		}
		unsure = unsure || !neverSent(err)
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	err = errors.Join(errs...)
	if unsure {
		err = unsureError{err}
	}
	return answer{}, err
}

// ask asks the next host.
func (c *client) ask(ctx context.Context, r request, auth string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout+c.cfg.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.path, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/json")
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	switch {
	case r.lines:
		req.Header.Set("Content-Type", "application/x-ndjson")
	case r.body != nil:
		req.Header.Set("Content-Type", "application/json")
	}
	if r.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := c.pool.Perform(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, err
	}
	if len(body) > maxAnswer {
		return answer{}, fmt.Errorf("%s answers more than %d MiB: is it Elasticsearch, and nothing else at that address? lower spool.batchSize if it is", req.URL.Host, maxAnswer>>20)
	}
	return answer{status: res.StatusCode, product: res.Header.Get("X-Elastic-Product"), body: body, host: req.URL.Host}, nil
}

// neverSent says whether a request ended before a host could have read it.
func neverSent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	_, badCert := errors.AsType[*tls.CertificateVerificationError](err)
	return badCert || errors.Is(err, syscall.ECONNREFUSED)
}

// call asks and wants a success; a body that it gives is decoded into out.
func (c *client) call(ctx context.Context, method, path string, body []byte, out any) error {
	a, err := c.do(ctx, request{method: method, path: path, body: body})
	if err != nil {
		return err
	}
	return decode(a, out)
}

// decode reads the body of a success; out may be nil.
func decode(a answer, out any) error {
	if a.status/100 != 2 {
		return failure(a)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return fmt.Errorf("answer of %s: %w", a.host, err)
	}
	return nil
}

// failure reads what an answer says of an error.
func failure(a answer) error {
	e := &statusError{status: a.status, host: a.host}
	var full struct {
		Error struct {
			Type, Reason string
			RootCause    []struct{ Type, Reason string } `json:"root_cause"`
		}
	}
	var text struct{ Error string }
	switch {
	case json.Unmarshal(a.body, &full) == nil && full.Error.Type != "":
		e.typ, e.reason = full.Error.Type, full.Error.Reason
	case json.Unmarshal(a.body, &text) == nil && text.Error != "":
		e.reason = text.Error
	default:
		e.reason = head(string(a.body))
	}
	return e
}

// head is the beginning of a text, for errors.
func head(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + " ..."
	}
	return s
}

func statusOf(err error) (status int, typ string) {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status, e.typ
	}
	return 0, ""
}
